"""Roles: named sets of scopes, and what only who leads may do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient
from support.cli import ringwatch
from support.served import in_process

from api.keys import FILE, ROLES, SCOPES, KeyFile
from ringwatch.errors import BadInput

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with in_process(tmp_path_factory.mktemp("roles") / "data", snapshot_interval_s=3600.0) as client:
        yield client


def as_role(client: Any, role: str, name: str) -> dict[str, str]:
    return {"x-api-key": client.here.access.keys.create("default", name, (), role=role)[1]}


def ask(client: TestClient, headers: dict[str, str], query: str, **variables: Any) -> Any:
    return client.post("/graphql", json={"query": query, "variables": variables}, headers=headers).json()


def test_each_role_is_of_known_scopes_and_admin_of_all() -> None:
    assert set(ROLES) == {"viewer", "investigator", "lead", "admin", "service"}
    assert all(set(scopes) <= set(SCOPES) for scopes in ROLES.values())
    assert ROLES["admin"] == SCOPES
    assert set(ROLES["lead"]) - set(ROLES["investigator"]) == {"lead"}


def test_a_key_of_a_role_has_its_scopes_and_names_it(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path, lambda: 1000.0)
    key, token = keys.create("acme", "anna", (), role="investigator")
    assert (key.role, keys.caller(token).scopes) == ("investigator", ROLES["investigator"])
    with pytest.raises(BadInput, match="leed") as refused:
        keys.create("acme", "ben", (), role="leed")
    assert "lead" in refused.value.hint


def test_keys_of_before_there_were_roles_keep_working(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path, lambda: 1000.0)
    _, token = keys.create("acme", "old", ("read", "act"))
    entries: list[dict[str, Any]] = msgspec.json.decode((tmp_path / FILE).read_bytes())
    for entry in entries:
        del entry["role"]
    (tmp_path / FILE).write_bytes(msgspec.json.encode(entries))
    who = KeyFile(tmp_path, lambda: 1000.0).caller(token)
    assert (who.scopes, who.leads) == (("read", "act"), False)


def test_the_command_takes_a_role_or_scopes_and_lists_both(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = ringwatch("keys", "create", "--name", "anna", "--role", "investigator", "--data-dir", data)
    assert "investigator, may read, label, act" in made.err
    ringwatch("keys", "create", "--name", "ci", "--data-dir", data)
    both = ringwatch("keys", "create", "--name", "x", "--role", "lead", "--scopes", "read", "--data-dir", data)
    assert both.code == 2
    assert ringwatch("keys", "create", "--name", "x", "--role", "boss", "--data-dir", data).code == 2
    listed = ringwatch("keys", "list", "--json", "--data-dir", data).json()
    assert [(k["role"], k["scopes"]) for k in listed] == [
        ("investigator", ["read", "label", "act"]), (None, ["score", "read", "label"]),
    ]  # fmt: skip
    assert "role investigator" in ringwatch("keys", "list", "--data-dir", data).out


def test_who_leads_undoes_what_others_decided_and_others_only_their_own(client: TestClient) -> None:
    anna, ben = as_role(client, "investigator", "anna"), as_role(client, "investigator", "ben")
    lead = as_role(client, "lead", "lena")
    decide = """mutation($u: String!) { decide(input: {verdict: "block", kind: "user", id: $u, reason: "why"}) {
      ... on Act { id } } }"""
    undo = 'mutation($a: String!) { undo(actId: $a, reason: "no") { ... on Act { undoneBy } ... on Refused { code } } }'
    act = ask(client, anna, decide, u="u-1")["data"]["decide"]["id"]
    refused = ask(client, ben, undo, a=act)
    assert refused["errors"][0]["extensions"]["code"] == "denied"
    assert ask(client, lead, undo, a=act)["data"]["undo"]["undoneBy"].startswith("key:")
    own = ask(client, anna, decide, u="u-2")["data"]["decide"]["id"]
    assert ask(client, anna, undo, a=own)["data"]["undo"]["undoneBy"].startswith("key:")


def test_who_leads_takes_over_a_claim(client: TestClient) -> None:
    anna, ben = as_role(client, "investigator", "anna"), as_role(client, "investigator", "ben")
    lead, admin = as_role(client, "lead", "lena"), as_role(client, "admin", "ada")
    block = 'mutation { decide(input: {verdict: "block", kind: "device", id: "d-1", reason: "stolen"}) { __typename } }'
    ask(client, anna, block)
    for n in range(12):
        at = (START + timedelta(minutes=n)).isoformat()
        body = {"event_id": f"e-{n}", "type": "payment", "at": at, "amount": 90.0, "user": f"u-{n}", "device": "d-1"}
        assert client.post("/v1/score", json=body, headers=admin).status_code == 200
    found: list[dict[str, Any]] = []
    until = time.monotonic() + 20
    while not found and time.monotonic() < until:
        found = ask(client, anna, "{ cases { nodes { id } } }")["data"]["cases"]["nodes"]
        time.sleep(0.05)
    claim = """mutation($c: String!) { claimCase(id: $c) { ... on Case { claimedBy } ... on Refused { code hint } } }"""
    mine = ask(client, anna, claim, c=found[0]["id"])["data"]["claimCase"]
    assert ask(client, ben, claim, c=found[0]["id"])["data"]["claimCase"]["code"] == "conflict"
    theirs = ask(client, lead, claim, c=found[0]["id"])["data"]["claimCase"]
    assert theirs["claimedBy"] != mine["claimedBy"]
    assert ask(client, anna, claim, c=found[0]["id"])["data"]["claimCase"]["code"] == "conflict"
    trail = ask(client, lead, '{ audit(kind: "case", first: 1) { nodes { did old } } }')["data"]["audit"]["nodes"]
    assert trail[0]["did"] == "case.claim"
    assert mine["claimedBy"] in trail[0]["old"]

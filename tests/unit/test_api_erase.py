"""Erasing over GraphQL: who may, what is gone, what is said of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import event, in_process

from ringwatch.errors import BadInput
from ringwatch.model import BUILTIN_KINDS
from ringwatch.settings import Settings
from ringwatch.wiring import open_decoder

ERASE = """mutation($u: String!, $r: String!) { erase(user: $u, reason: $r) {
  ... on Erasure { token key events outOfFiles } ... on Refused { code field } } }"""
REPLAY = "query($e: String!) { replay(eventId: $e) { identical missing trouble differences { what } } }"
MINE = {"user_agent": "Agent/5.1 of Vera", "attributes": {"note": "leave it with Vera"}, "order_id": "o-1"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with in_process(tmp_path_factory.mktemp("erase") / "data", snapshot_interval_s=3600.0) as client:
        for n in range(6):
            body = event(n, user=f"u-{n % 2}", **MINE)
            assert client.post("/v1/score", json=body, headers=role(client, "admin")).status_code == 200
        yield client


def role(client: Any, name: str) -> dict[str, str]:
    return {"x-api-key": client.here.access.keys.create("default", name, (), role=name)[1]}


def ask(client: TestClient, headers: dict[str, str], query: str, **variables: Any) -> Any:
    return client.post("/graphql", json={"query": query, "variables": variables}, headers=headers).json()


def test_admins_alone_erase(client: TestClient) -> None:
    for name in ("investigator", "lead"):
        answer = ask(client, role(client, name), ERASE, u="u-0", r="because")
        assert answer["errors"][0]["extensions"]["code"] == "denied"
    assert client.here.ledger.stored("default", "e-0").event.user_agent == MINE["user_agent"]  # type: ignore[attr-defined]


def test_what_cannot_be_erased_is_refused(client: TestClient) -> None:
    admin = role(client, "admin")
    assert ask(client, admin, ERASE, u="u-0", r=" ")["data"]["erase"] == {"code": "invalid", "field": "reason"}
    for nobody in ("nobody", ""):
        assert ask(client, admin, ERASE, u=nobody, r="because")["data"]["erase"]["code"] == "not_found"


def test_erased_is_gone_and_said(client: TestClient) -> None:
    admin = role(client, "admin")
    found = ask(client, admin, ERASE, u="u-1", r="request 4711")["data"]["erase"]
    assert (found["key"], found["events"]) == (True, 3)
    ledger = client.here.ledger  # type: ignore[attr-defined]
    assert ledger.stored("default", "e-2").event.attributes == MINE["attributes"]
    gone = ledger.stored("default", "e-1").event
    assert (gone.user_agent, gone.order_id, gone.attributes) == (None, None, {})
    assert "erased" in client.get("/v1/assessments/e-1", headers=admin).json()["assessment"]["degraded"]
    assert "erased" not in client.get("/v1/assessments/e-2", headers=admin).json()["assessment"]["degraded"]
    entry = ask(client, admin, "{ audit(first: 1) { nodes { did kind target why old new } } }")["data"]["audit"][
        "nodes"
    ][0]
    assert entry == {
        "did": "erase", "kind": "subject", "target": found["token"], "why": "request 4711", "old": None, "new": None
    }  # fmt: skip
    assert "u-1" not in found["token"]
    again = ask(client, admin, ERASE, u="u-1", r="once more")["data"]["erase"]
    assert (again["token"], again["key"], again["events"]) == (found["token"], False, 3)
    assert client.here.desk.verify("default").troubles == ()  # type: ignore[attr-defined]


def test_a_replay_says_what_is_missing(client: TestClient) -> None:
    admin = role(client, "admin")
    ask(client, admin, ERASE, u="u-1", r="request 4711")
    assert ask(client, admin, REPLAY, e="e-2")["data"]["replay"]["missing"] is None
    found = ask(client, admin, REPLAY, e="e-3")["data"]["replay"]
    assert found["missing"].startswith("erased: user_agent")
    assert (found["identical"], found["trouble"]) == (True, None), "no rule read it"


def test_who_comes_back_is_kept_again(client: TestClient) -> None:
    admin = role(client, "admin")
    ask(client, admin, ERASE, u="u-1", r="request 4711")
    client.post("/v1/score", json=event("new", user="u-1", **MINE), headers=admin)
    ledger = client.here.ledger  # type: ignore[attr-defined]
    assert ledger.stored("default", "e-new").event.attributes == MINE["attributes"]
    assert ledger.stored("default", "e-1").event.attributes == {}


def test_who_became_a_token_is_found_and_erased_by_the_plain_id(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, search = tmp_path_factory.mktemp("tokens") / "data", "query($t: String!) { search(text: $t) { kind id } }"
    with in_process(folder, token_key="a key of the tests", token_kinds="user,email") as client:
        for n in range(3):
            body = event(n, user="vera", email=f"vera{n}@example.com", device="d-1", **MINE)
            assert client.post("/v1/score", json=body).status_code == 200
        until = time.monotonic() + 20
        while not (found := ask(client, {}, search, t="vera")["data"]["search"]) and time.monotonic() < until:
            time.sleep(0.05)
        assert [hit["kind"] for hit in found] == ["user"]
        token = found[0]["id"]
        assert token != "vera"
        assert [h["id"] for h in ask(client, {}, search, t=token)["data"]["search"]] == [token]
        (of_email,) = ask(client, {}, search, t="vera1@example.com")["data"]["search"]
        assert of_email["kind"] == "email"
        assert [(h["kind"], h["id"]) for h in ask(client, {}, search, t="d-1")["data"]["search"]] == [("device", "d-1")]
        erased = ask(client, {}, ERASE, u="vera", r="request 4711")["data"]["erase"]
        assert (erased["key"], erased["events"]) == (True, 3)
        assert ask(client, {}, ERASE, u=token, r="once more")["data"]["erase"]["token"] == erased["token"]


@pytest.mark.parametrize(("kinds", "key"), [("ship", "a key of the tests"), ("email", None)])
def test_kinds_that_cannot_become_tokens_are_told(tmp_path: Path, kinds: str, key: str | None) -> None:
    with pytest.raises(BadInput, match="RINGWATCH_TOKEN_KINDS"):
        open_decoder(Settings(token_kinds=kinds, token_key=key), BUILTIN_KINDS, "acme")

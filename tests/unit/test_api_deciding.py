"""Deciding over GraphQL, and what the next events are given."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import in_process

DECIDE = """mutation($d: Decision!) { decide(input: $d) { __typename
  ... on Act { id verdict kind target who entries until undoneAt } ... on Refused { code message hint field } } }"""
UNDO = """mutation($a: String!) { undo(actId: $a, reason: "a mistake") { __typename
  ... on Act { id undoneAt undoneBy } ... on Refused { code message } } }"""
BLAST = """query($k: String, $i: String, $r: String) { blastRadius(kind: $k, id: $i, ring: $r) {
  entries accounts neverFlagged longClean openOrders openMinor cuts hit { user events neverFlagged longClean openOrders openMinor } } }"""
DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with in_process(tmp_path_factory.mktemp("deciding") / "data", snapshot_interval_s=3600.0) as client:
        send(client, "old", START, user="u-old", device="d-shared")
        for n in range(3):
            send(client, f"new-{n}", START + 120 * DAY, user=f"u-{n}", device="d-shared")
        client.service.pipeline.outlets.graph.flush()  # type: ignore[attr-defined]
        yield client


def send(client: TestClient, id_: str, at: datetime, **entities: str) -> dict[str, Any]:
    body = {"event_id": id_, "type": "payment", "at": at.isoformat(), "amount": 5.0, **entities}
    answer = client.post("/v1/score", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ask(client: TestClient, query: str, **variables: Any) -> Any:
    answer = client.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def decide(client: TestClient, **d: Any) -> dict[str, Any]:
    found: dict[str, Any] = ask(client, DECIDE, d={"reason": "looked at it", **d})["decide"]
    return found


def test_a_blocked_device_is_stopped_at_the_door_until_that_is_undone(client: TestClient) -> None:
    at = START + 121 * DAY
    assert send(client, "b-0", at, user="u-0", device="d-shared")["action"] != "block"
    act = decide(client, verdict="block", kind="device", id="d-shared")
    assert (act["verdict"], act["target"], act["entries"], act["who"], act["undoneAt"]) == ("block", "d-shared", 1, "local", None)  # fmt: skip
    blocked = send(client, "b-1", at, user="u-else", device="d-shared")
    assert (blocked["action"], blocked["level"], blocked["score"]) == ("block", "CRITICAL", 1.0)
    reason = next(r for r in blocked["reasons"] if r["code"] == "listed.blocked")
    assert reason["text"] == "device is on the block list: looked at it (local)"
    assert send(client, "b-2", at, user="u-0", device="d-other")["action"] != "block"
    same = ask(client, 'query { replay(eventId: "b-1") { identical } }')
    assert same["replay"]["identical"]
    assert ask(client, UNDO, a=act["id"])["undo"]["undoneBy"] == "local"
    assert send(client, "b-3", at, user="u-else", device="d-shared")["action"] != "block"
    assert ask(client, UNDO, a=act["id"])["undo"]["code"] == "conflict"
    assert ask(client, 'query { replay(eventId: "b-1") { identical } }')["replay"]["identical"]
    trail = ask(
        client,
        'query { audit(kind: "device", target: "d-shared") { nodes { did who why number } pageInfo { endCursor hasNextPage } } }',
    )
    assert [(e["did"], e["why"]) for e in trail["audit"]["nodes"]] == [("undo", "a mistake"), ("block", "looked at it")]
    assert not client.service.desk.verify("default").troubles  # type: ignore[attr-defined]


def test_a_watch_makes_a_review_and_an_allow_keeps_from_one(client: TestClient) -> None:
    at = START + 122 * DAY
    act = decide(client, verdict="watch", kind="user", id="u-watched")
    seen = send(client, "w-1", at, user="u-watched", device="d-w")
    assert (seen["level"], seen["action"]) == ("MEDIUM", "review")
    assert any(r["code"] == "listed.watched" for r in seen["reasons"])
    assert ask(client, 'query { replay(eventId: "w-1") { identical } }')["replay"]["identical"]
    ask(client, UNDO, a=act["id"])
    assert send(client, "w-2", at, user="u-watched", device="d-w")["action"] == "allow"
    decide(client, verdict="block", kind="device", id="d-both")
    decide(client, verdict="allow", kind="user", id="u-tester")
    assert send(client, "w-3", at, user="u-tester", device="d-both")["action"] == "block"


def test_the_blast_radius_tells_who_would_be_hit(client: TestClient) -> None:
    found = ask(client, BLAST, k="device", i="d-shared")["blastRadius"]
    assert found["entries"] == 1
    users = {h["user"]: h for h in found["hit"]}
    assert {"u-old", "u-0", "u-1", "u-2"} <= set(users)
    assert found["accounts"] == len(users)
    assert [u for u, h in users.items() if h["longClean"]] == ["u-old"]
    assert found["hit"][0]["user"] == "u-old", "who has a clean history comes first"
    assert found["longClean"] == 1
    alone = ask(client, BLAST, k="user", i="nobody")["blastRadius"]
    assert (alone["accounts"], alone["neverFlagged"], alone["hit"][0]["events"]) == (1, 1, 0)


def test_open_orders_of_those_who_would_be_hit(client: TestClient) -> None:
    now = START + 122 * DAY

    def order(id_: str, at: datetime, **more: Any) -> None:
        body = {"event_id": id_, "at": at.isoformat(), "device": "d-orders", "currency": "EUR", **more}
        answer = client.post("/v1/score", json=body)
        assert answer.status_code == 200, answer.text

    order("o-old", now - 15 * DAY, type="order", user="b", order_id="o0", amount=9.0)
    order("o-1", now - 13 * DAY, type="order", user="a", order_id="o1", amount=10.0)
    order("o-2", now - 3 * DAY, type="order", user="a", order_id="o2", amount=20.0)
    order("o-3", now - 2 * DAY, type="refund", user="a", order_id="o2", amount=20.0)
    order("o-4", now - DAY, type="order", user="b", order_id="o4", amount=30.0, outcome="declined")
    order("o-5", now - DAY, type="order", user="b", order_id="o5", amount=40.5)
    order("o-6", now, type="payment", user="a", order_id="o1", amount=10.0)
    client.service.pipeline.outlets.graph.flush()  # type: ignore[attr-defined]
    found = ask(client, BLAST, k="device", i="d-orders")["blastRadius"]
    assert (found["openOrders"], found["openMinor"], found["cuts"]) == (2, 5050, [])
    assert {h["user"]: (h["openOrders"], h["openMinor"]) for h in found["hit"]} == {"a": (1, 1000), "b": (1, 4050)}


def test_a_ring_is_blocked_as_a_whole(client: TestClient) -> None:
    at = START + 123 * DAY
    for n in range(4):
        send(client, f"r-{n}", at + timedelta(minutes=n), user=f"r-u-{n}", device="r-d", card="r-c")
    ring = send(client, "r-x", at + timedelta(minutes=9), user="r-u-0", device="r-d", card="r-c")["ring"]
    assert ring
    seen = ask(client, BLAST, r=ring)["blastRadius"]
    act = decide(client, verdict="block", ring=ring)
    assert (act["kind"], act["target"]) == ("ring", ring)
    assert act["entries"] == seen["entries"] == 6, "four members, a device, a card"
    newcomer = send(client, "r-new", at + timedelta(minutes=10), user="r-u-new", card="r-c")
    assert newcomer["action"] == "block", "who comes with what they share"
    assert send(client, "r-m", at + timedelta(minutes=11), user="r-u-2", device="clean")["action"] == "block"
    ask(client, UNDO, a=act["id"])
    assert send(client, "r-n", at + timedelta(minutes=12), user="r-u-2", device="clean")["action"] != "block"


def test_sharing_that_is_judged_innocent_no_longer_speaks_against_rings(client: TestClient) -> None:
    at = START + 124 * DAY
    for n in range(4):
        for k, type_ in enumerate(("signup", "payment")):
            body = {
                "event_id": f"j-{n}-{k}",
                "type": type_,
                "at": (at + timedelta(minutes=5 * n + k)).isoformat(),
                "amount": 5.0,
            }
            assert client.post("/v1/score", json=body | {"user": f"j-u-{n}", "device": "j-d"}).status_code == 200
    later = send(client, "j-x", at + DAY, user="j-u-0", device="j-d")
    query = "query($r: String!) { ring(id: $r) { summary { risk } parts { code text value } } }"
    before = ask(client, query, r=later["ring"])["ring"]
    assert before["summary"]["risk"] > 0.5
    act = decide(client, verdict="innocent", kind="device", id="j-d", reason="the library's terminal")
    after = ask(client, query, r=later["ring"])["ring"]
    assert after["summary"]["risk"] == 0.0
    part = next(p for p in after["parts"] if p["code"] == "judged_innocent")
    assert part["text"] == "judged innocent by a person: device j-d: the library's terminal (local)"
    assert round(sum(p["value"] for p in after["parts"]), 9) == 0.0
    assert ask(client, 'query { replay(eventId: "j-x") { identical } }')["replay"]["identical"]
    ask(client, UNDO, a=act["id"])
    assert ask(client, query, r=later["ring"])["ring"]["summary"] == before["summary"]
    trail = ask(client, 'query { audit(kind: "device", target: "j-d") { nodes { did why } } }')["audit"]["nodes"]
    assert [(e["did"], e["why"]) for e in trail] == [("undo", "a mistake"), ("innocent", "the library's terminal")]


def test_an_ip_that_is_a_campus_explains_the_rings_that_lean_on_it_until_that_is_taken_back(client: TestClient) -> None:
    """Newcomers on one printer behind one ip; others as many behind another."""
    at = START + 150 * DAY
    for n in range(6):
        for k, type_ in enumerate(("signup", "login")):
            for where in ("campus", "farm"):
                body = {
                    "event_id": f"{where}-{n}-{k}", "type": type_, "at": (at + timedelta(minutes=5 * n + k)).isoformat(),
                    "user": f"{where}-{n}", "device": f"{where}-d", "ip": f"ip-{where}",
                }  # fmt: skip
                assert client.post("/v1/score", json=body).status_code == 200
    campus, farm = (
        send(client, f"{where}-x", at + DAY, user=f"{where}-0", device=f"{where}-d")["ring"]
        for where in ("campus", "farm")
    )
    query = "query($r: String!) { ring(id: $r) { summary { risk users } parts { code text value } } }"
    before = {r: ask(client, query, r=r)["ring"] for r in (campus, farm)}
    assert before[campus]["summary"]["risk"] > 0.5
    act = decide(client, verdict="innocent", kind="ip", id="ip-campus", reason="the campus of the town")
    after = ask(client, query, r=campus)["ring"]
    assert after["summary"]["risk"] < 0.5 * before[campus]["summary"]["risk"]
    assert after["summary"]["users"] == 6
    part = next(p for p in after["parts"] if p["code"] == "judged_innocent")
    assert part["text"] == "judged innocent by a person: ip ip-campus: the campus of the town (local)"
    assert round(sum(p["value"] for p in after["parts"]), 9) == after["summary"]["risk"]
    assert ask(client, query, r=farm)["ring"] == before[farm]
    ask(client, UNDO, a=act["id"])
    assert ask(client, query, r=campus)["ring"] == before[campus]


def test_what_makes_no_ring_is_not_judged_innocent(client: TestClient) -> None:
    for kind in ("session", "user"):
        found = decide(client, verdict="innocent", kind=kind, id="x")
        assert (found["code"], found["field"]) == ("invalid", "kind")
        assert f"no ring leans on a {kind}" in found["message"]


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"verdict": "blok", "kind": "user", "id": "u"}, "invalid", "verdict"),
        ({"verdict": "block", "kind": "devize", "id": "u"}, "invalid", "kind"),
        ({"verdict": "block", "kind": "user", "id": ""}, "invalid", "id"),
        ({"verdict": "block"}, "invalid", "ring"),
        ({"verdict": "block", "ring": "r", "kind": "user", "id": "u"}, "invalid", "ring"),
        ({"verdict": "block", "ring": "none"}, "not_found", None),
        ({"verdict": "block", "kind": "user", "id": "u", "reason": " "}, "invalid", "reason"),
        ({"verdict": "block", "kind": "user", "id": "u", "until": "2020-01-01T00:00:00Z"}, "invalid", "until"),
        ({"verdict": "block", "kind": "user", "id": "u", "until": "soon"}, None, "until"),
    ],
)
def test_what_cannot_be_decided_is_said_as_a_value(
    client: TestClient, given: dict[str, Any], code: str | None, field: str | None
) -> None:
    before = ask(client, "query { acts(first: 1) { nodes { id } } }")
    found = decide(client, **given)
    assert found["__typename"] == "Refused"
    assert found["field"] == field
    assert found["message"]
    assert code is None or found["code"] == code
    assert ask(client, "query { acts(first: 1) { nodes { id } } }") == before


def test_acts_are_paged_and_tenants_see_their_own(client: TestClient) -> None:
    for n in range(3):
        decide(client, verdict="allow", kind="user", id=f"p-{n}")
    seen: list[str] = []
    after = None
    while True:
        page = ask(
            client,
            "query($a: String) { acts(first: 2, after: $a) { nodes { id } pageInfo { endCursor hasNextPage } } }",
            a=after,
        )["acts"]
        seen += [a["id"] for a in page["nodes"]]
        after = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] else None
        if after is None:
            break
    assert len(seen) == len(set(seen)) >= 3


def test_who_may_only_read_decides_nothing_and_sees_no_other_tenant(client: TestClient) -> None:
    decide(client, verdict="allow", kind="user", id="secret-of-default")
    keys = client.here.access.keys  # type: ignore[attr-defined]
    reader = {"x-api-key": keys.create("acme", "reader", ("read",))[1]}
    actor_key, token = keys.create("acme", "actor", ("read", "act"))
    for headers, error in ((reader, "denied"), ({"x-api-key": token}, None)):
        d = {"verdict": "block", "kind": "user", "id": "x", "reason": "why"}
        body = {"query": DECIDE, "variables": {"d": d}}
        answer = client.post("/graphql", json=body, headers=headers).json()
        if error is None:
            assert answer["data"]["decide"]["who"] == f"key:{actor_key.key_id}"
        else:
            assert answer["errors"][0]["extensions"]["code"] == error, answer
        asked = {"query": "query { acts { nodes { target who } } audit { nodes { target } } }"}
        seen = client.post("/graphql", json=asked, headers=headers).text
        assert "secret-of-default" not in seen
    keys.revoke("reader")
    keys.revoke("actor")

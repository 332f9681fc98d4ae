"""Subscriptions over WebSocket: what comes, from where a client left off, and who may."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from support.documents import selection
from support.served import in_process, running

from api.graphql.limits import MOST_TOKENS
from api.graphql.query import schema

URL = "ws://127.0.0.1:8000/graphql"
START = datetime(2026, 1, 1, tzinfo=UTC)
ALERTS = "subscription($a: String) { alerts(after: $a) { cursor alert { id events entity } } }"
CASES = "subscription($a: String) { cases(after: $a) { cursor case { id events status claimedBy } } }"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with in_process(tmp_path / "data", snapshot_interval_s=3600.0) as client:
        for n in range(9):
            d = {"verdict": "block", "kind": "device", "id": f"d-{n}", "reason": "stolen"}
            asked = "mutation($d: Decision!) { decide(input: $d) { __typename } }"
            client.post("/graphql", json={"query": asked, "variables": {"d": d}})
        yield client


def send(client: TestClient, n: int, device: int, headers: dict[str, str] | None = None) -> None:
    at = (START + timedelta(minutes=n)).isoformat()
    body = {"event_id": f"e-{n}", "type": "payment", "at": at, "amount": 9.0, "user": f"u-{n}", "device": f"d-{device}"}
    assert client.post("/v1/score", json=body, headers=headers).status_code == 200


@contextmanager
def connected(client: TestClient, payload: Any = None, **more: Any) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect(URL, subprotocols=["graphql-transport-ws"], **more) as ws:
        ws.send_json({"type": "connection_init", **({"payload": payload} if payload else {})})
        assert ws.receive_json()["type"] == "connection_ack"
        yield ws


def subscribe(ws: WebSocketTestSession, query: str, id_: str = "1", **variables: Any) -> None:
    ws.send_json({"type": "subscribe", "id": id_, "payload": {"query": query, "variables": variables}})


def next_of(ws: WebSocketTestSession, field: str) -> dict[str, Any]:
    message = ws.receive_json()
    assert message["type"] == "next", message
    found: dict[str, Any] = message["payload"]["data"][field]
    return found


def settled(client: TestClient, events: int) -> None:
    """Cases know of so many events."""
    for _ in range(200):
        found = client.post("/graphql", json={"query": "{ cases { nodes { events } } }"}).json()["data"]["cases"][
            "nodes"
        ]
        if sum(x["events"] for x in found) == events:
            return
        time.sleep(0.02)
    raise AssertionError(f"{found}")


def test_alerts_and_cases_come_as_they_are_made(client: TestClient) -> None:
    with connected(client) as ws:
        subscribe(ws, ALERTS)
        time.sleep(0.5)
        send(client, 1, device=1)
        first = next_of(ws, "alerts")
        assert (first["alert"]["entity"], first["alert"]["events"]) == ("d-1", 1)
        send(client, 2, device=1)
        assert next_of(ws, "alerts")["alert"] == {**first["alert"], "events": 2}
        ws.send_json({"type": "complete", "id": "1"})
        subscribe(ws, CASES, id_="2", a=None)
        time.sleep(0.5)
        settled(client, 2)
        case_id = client.post("/graphql", json={"query": "{ cases { nodes { id } } }"}).json()["data"]["cases"][
            "nodes"
        ][0]["id"]
        claim = f'mutation {{ claimCase(id: "{case_id}") {{ __typename }} }}'
        client.post("/graphql", json={"query": claim})
        seen = next_of(ws, "cases")
        while seen["case"]["claimedBy"] is None:
            seen = next_of(ws, "cases")
        assert seen["case"] == {"id": case_id, "events": 2, "status": "open", "claimedBy": "local"}


def test_a_dropped_connection_goes_on_without_a_gap(client: TestClient) -> None:
    with connected(client) as ws:
        subscribe(ws, ALERTS)
        time.sleep(0.5)
        send(client, 1, device=1)
        cursor = next_of(ws, "alerts")["cursor"]
    for n in range(2, 8):
        send(client, n, device=n % 4)
    with connected(client) as ws:
        subscribe(ws, ALERTS, a=cursor)
        missed = {next_of(ws, "alerts")["alert"]["entity"] for _ in range(4)}
        assert missed == {"d-0", "d-1", "d-2", "d-3"}, "each as it is now"
        send(client, 8, device=8)
        assert next_of(ws, "alerts")["alert"]["entity"] == "d-8"
    settled(client, 8)
    with connected(client) as ws:
        subscribe(ws, CASES, a=None)
        subscribe(ws, ALERTS, id_="2", a="nonsense")
        refused = ws.receive_json()
        assert refused["id"] == "2"
        errors = refused["payload"]["errors"] if refused["type"] == "next" else refused["payload"]
        assert "not a cursor" in errors[0]["message"]


RINGS = """subscription($a: String, $r: String, $least: Float! = 0.0) {
  rings(after: $a, ring: $r, leastRisk: $least) { cursor ringId change { number what users joined } ring { id users risk } } }"""


def test_what_happens_to_rings_comes_and_is_gone_on_with_without_a_gap(client: TestClient) -> None:
    with connected(client) as ws:
        subscribe(ws, RINGS)
        time.sleep(0.5)
        for n in range(1, 4):
            send(client, n, device=1)
        found = [next_of(ws, "rings") for _ in range(2)]
        ring = found[0]["ringId"]
        assert [(x["change"]["what"], x["change"]["users"]) for x in found] == [("born", 2), ("grew", 3)]
        assert found[1]["change"]["joined"] == ["u-3"]
        assert found[1]["ring"]["id"] == ring
    for n in range(4, 8):
        send(client, n, device=1 + n % 2)
    with connected(client) as ws:
        subscribe(ws, RINGS, a=found[0]["cursor"])
        seen = [next_of(ws, "rings") for _ in range(4)]
        assert seen[0]["change"] == found[1]["change"]
        assert [x["change"]["number"] for x in seen if x["ringId"] == ring] == [2, 3, 4]
        (other,) = {x["ringId"] for x in seen} - {ring}
        subscribe(ws, RINGS, id_="2", a=None, r=other)
        subscribe(ws, RINGS, id_="3", a=None, least=1.0)
        time.sleep(0.5)
        send(client, 8, device=1)
        send(client, 9, device=2)
        heard = [ws.receive_json() for _ in range(3)]
        told = {(m["id"], m["payload"]["data"]["rings"]["ringId"]) for m in heard}
        assert told == {("1", ring), ("1", other), ("2", other)}, "neither is as risky as that"
        subscribe(ws, RINGS, id_="4", a=seen[0]["cursor"], r=other)
        refused = ws.receive_json()
        errors = refused["payload"]["errors"] if refused["type"] == "next" else refused["payload"]
        assert "other filters" in errors[0]["message"]


def test_nothing_of_another_tenant_comes_over_any_subscription(client: TestClient) -> None:
    keys = client.here.access.keys  # type: ignore[attr-defined]
    tokens = {name: keys.create(name, name, ("read", "score", "act"))[1] for name in ("acme", "globex")}
    core = schema._schema.subscription_type
    assert core is not None
    asked = {name: f"subscription {{ {name} {selection(field.type, 4)} }}" for name, field in core.fields.items()}

    def device(tenant: str) -> None:
        act = (
            'mutation { decide(input: {verdict: "block", kind: "device", id: "d-1", reason: "stolen"}) { __typename } }'
        )
        client.post("/graphql", json={"query": act}, headers={"x-api-key": tokens[tenant]})
        for n in range(4):
            at = (START + timedelta(minutes=n)).isoformat()
            body = {
                "event_id": f"{tenant}-{n}",
                "type": "payment",
                "at": at,
                "amount": 9.0,
                "user": f"{tenant}-{n}",
                "device": "d-1",
            }
            assert client.post("/v1/score", json=body, headers={"x-api-key": tokens[tenant]}).status_code == 200

    with connected(client, headers={"x-api-key": tokens["globex"]}) as ws:
        for name, query in asked.items():
            subscribe(ws, query, id_=name)
        time.sleep(0.6)
        device("acme")
        time.sleep(1.5)
        device("globex")
        heard: set[str] = set()
        while heard != set(asked):
            message = ws.receive_json()
            assert message["type"] == "next", message
            assert "acme" not in json.dumps(message)
            heard.add(message["id"])


def test_over_a_socket_there_are_subscriptions_only(client: TestClient) -> None:
    with connected(client) as ws:
        for n, query in enumerate(
            (
                "{ cases { pageInfo { endCursor hasNextPage } } }",
                'mutation { undo(actId: "x", reason: "y") { __typename } }',
            )
        ):
            subscribe(ws, query, id_=str(n))
            refused = ws.receive_json()
            assert refused["type"] == "error", refused
        subscribe(ws, "subscription { alerts { alert { " + "id " * 1001 + "} } }", id_="big")
        with pytest.raises(WebSocketDisconnect) as closed:
            ws.receive_json()
        assert f"{MOST_TOKENS} tokens" in closed.value.reason


def test_who_is_not_known_hears_nothing_and_a_revoked_key_no_more(client: TestClient) -> None:
    keys = client.here.access.keys  # type: ignore[attr-defined]
    _, token = keys.create("acme", "reader", ("read",))
    _, blind = keys.create("acme", "scorer", ("score",))
    _, mine = keys.create("default", "mine", ("read", "score"))
    for given in (
        {},
        {"authorization": "Bearer rw_none_none"},
        {"authorization": f"Bearer {blind}"},
        {"authorization": 7},
    ):
        with client.websocket_connect(URL, subprotocols=["graphql-transport-ws"]) as ws:
            ws.send_json({"type": "connection_init", "payload": given})
            with pytest.raises(WebSocketDisconnect) as closed:
                ws.receive_json()
            assert closed.value.code == 4403
    with client.websocket_connect(URL, subprotocols=["graphql-transport-ws"]) as ws:
        subscribe(ws, ALERTS)
        with pytest.raises(WebSocketDisconnect) as closed:
            ws.receive_json()
        assert closed.value.code == 4401
    with (
        connected(client, headers={"x-api-key": token}) as theirs,
        connected(client, {"authorization": f"Bearer {mine}"}) as ours,
    ):
        subscribe(theirs, ALERTS, a=None)
        subscribe(ours, ALERTS, a=None)
        time.sleep(0.5)
        send(client, 1, device=1, headers={"x-api-key": mine})
        assert next_of(ours, "alerts")["alert"]["entity"] == "d-1"
        keys.revoke("mine")
        _, again = keys.create("default", "again", ("score",))
        send(client, 2, device=2, headers={"x-api-key": again})
        ended = ours.receive_json()
        errors = ended["payload"]["errors"] if ended["type"] == "next" else ended["payload"]
        assert errors[0]["extensions"]["code"] == "unauthenticated"
        theirs.send_json({"type": "ping"})
        assert theirs.receive_json()["type"] == "pong", "nothing of the other tenant came before"


@pytest.mark.parametrize("where", ["ws://evil.example/graphql", "ws://127.0.0.1:8000/elsewhere"])
def test_a_wrong_host_or_path_is_closed(client: TestClient, where: str) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(where, subprotocols=["graphql-transport-ws"]):
        pass


def test_a_page_of_another_origin_is_refused(client: TestClient) -> None:
    origin = {"origin": "http://evil.example"}
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(URL, subprotocols=["graphql-transport-ws"], headers=origin),
    ):
        pass


def test_a_real_server_speaks_it(tmp_path: Path) -> None:
    from websockets.sync.client import connect

    with running(tmp_path / "data") as server:
        url = server.url.replace("http", "ws") + "/graphql"
        with connect(url, subprotocols=["graphql-transport-ws"], open_timeout=20) as ws:  # type: ignore[list-item]
            ws.send(json.dumps({"type": "connection_init"}))
            assert json.loads(ws.recv(timeout=20))["type"] == "connection_ack"
            ws.send("x" * 100_000)
            with pytest.raises(Exception, match=r"1009|too big"):
                ws.recv(timeout=20)

"""Who may do what, by one table: each route and each field of the schema stands in it, and what is answered follows from it."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from graphql import GraphQLNonNull, get_named_type, is_input_object_type
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from support.documents import selection
from support.served import in_process
from support.tokens import AUDIENCE, ISSUER, bearer, claims, make, pem_of, sign

from api.graphql.query import schema
from api.keys import ROLES

OPEN = ""
ROUTES: dict[str, str] = {
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "POST /v1/score": "score",
    "POST /v1/events": "score",
    "POST /v1/labels": "label",
    "GET /metrics": "operate",
    "GET /v1/alerts": "read",
    "GET /v1/alerts/{alert_id}": "read",
    "GET /v1/assessments/{event_id}": "read",
    "GET /v1/rings": "read",
    "GET /v1/rings/{ring_id}": "read",
    "GET /rings/{ring_id}/view": "read",
    "GET /status": "read",
    "GET /graphql": "read",
    "POST /graphql": "read",
    "GET /docs": "read",
    "GET /": "read",
    "GET /openapi.json": "read",
}
"""Method and path -> the scope it needs."""

FIELDS: dict[str, str] = {
    **dict.fromkeys((f"Query.{name}" for name in (
        "alerts", "alert", "assessment", "explanation", "replay", "entity", "rings", "ring", "blastRadius", "acts", "audit", "case",
        "cases", "queues", "search", "path", "stats", "scorers", "rules", "models",
    )), "read"),
    **dict.fromkeys((f"Mutation.{name}" for name in (
        "decide", "undo", "claimCase", "releaseCase", "noteCase", "snoozeCase", "closeCase", "reopenCase",
    )), "act"),
    "Mutation.erase": "erase",
    **dict.fromkeys(("Subscription.alerts", "Subscription.cases", "Subscription.rings"), "read"),
}  # fmt: skip
"""Type and field -> the scope it needs beside `read`, which /graphql needs."""

WITHOUT_NAMES = {
    f"Query.{name}" for name in ("rings", "queues", "replay", "path", "stats", "scorers", "rules", "models")
}
"""What they tell has no name of anybody's."""
SOCKET = "ws://127.0.0.1:8000/graphql"
KEY, START = make("RS256"), datetime(2026, 1, 1, tzinfo=UTC)
MINE = "of-acme"
"""In the names of acme's users, and in nothing that anybody asks with."""
HEADERS = ("x-content-type-options", "x-frame-options", "referrer-policy", "content-security-policy", "cache-control")


def token(role: object, tenant: object = "acme", **more: Any) -> dict[str, str]:
    return bearer(sign(KEY, "RS256", claims(role, tenant, **more)))


def strangers() -> dict[str, dict[str, str]]:
    """Whom nobody knows."""
    good, past = claims("admin"), int(time.time()) - 60

    def text(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).decode().rstrip("=")

    head = f"{text(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{text(json.dumps(good).encode())}"
    return {
        "nobody": {}, "no token": bearer("x"), "a key that is none": bearer("rw_0_0"), "expired": token("admin", exp=past),
        "not yet": token("admin", nbf=past + 3600), "another issuer": token("admin", iss="https://evil.example"),
        "another audience": token("admin", aud="evil"), "unsigned": bearer(jwt.encode(good, "", algorithm="none")),
        "another key": bearer(sign(make("RS256"), "RS256", good)),
        "the public key as a secret": bearer(f"{head}.{text(hmac.digest(pem_of(KEY), head.encode(), 'sha256'))}"),
        "a token as a key": {"x-api-key": token("admin")["authorization"].removeprefix("Bearer ")},
    }  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("access")
    (folder / "keys").write_bytes(pem_of(KEY))
    given = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_key_file": folder / "keys"}
    with in_process(folder / "data", snapshot_interval_s=3600.0, **given) as client:
        yield client


@pytest.fixture(scope="module")
def ids(client: TestClient) -> dict[str, str]:
    """What there is in acme: a ring, an act, alerts and a case."""
    admin = token("admin")
    block = {"verdict": "block", "kind": "device", "id": "d-1", "reason": f"stolen {MINE}"}
    act = graphql(client, admin, "mutation($d: Decision!) { decide(input: $d) { ... on Act { id } } }", d=block)
    found = {"act": act["data"]["decide"]["id"]}
    for n in range(12):
        at = (START + timedelta(minutes=n)).isoformat()
        body = {"event_id": f"e-{n}", "type": "payment", "at": at, "amount": 90.0, "user": f"u-{n % 6}-{MINE}",
                "device": "d-1", "card": f"c-{n}-{MINE}"}  # fmt: skip
        answer = client.post("/v1/score", json=body, headers=admin)
        found["ring"] = answer.json()["ring"] or found.get("ring", "")
    client.service.pipeline.outlets.graph.flush()  # type: ignore[attr-defined]
    until = time.monotonic() + 30
    while "case" not in found and time.monotonic() < until:
        data = graphql(client, admin, "{ cases { nodes { id } } alerts { nodes { id } } }")["data"]
        found |= {name[:-1]: data[name]["nodes"][0]["id"] for name in ("cases", "alerts") if data[name]["nodes"]}
        time.sleep(0.05)
    note = "mutation($c: String!) { noteCase(id: $c, text: $t) { __typename } }".replace("$t", f'"{MINE}"')
    graphql(client, admin, note, c=found["case"])
    assert all(found.get(name) for name in ("act", "ring", "case", "alert"))
    return found


def graphql(client: TestClient, headers: dict[str, str], query: str, **variables: Any) -> Any:
    return client.post("/graphql", json={"query": query, "variables": variables}, headers=headers).json()


def fields() -> dict[str, Any]:
    """All of the schema's entrances."""
    core = schema._schema
    kinds = (core.query_type, core.mutation_type, core.subscription_type)
    return {f"{kind.name}.{name}": field for kind in kinds if kind is not None for name, field in kind.fields.items()}


def routes(client: TestClient) -> set[str]:
    found: set[str] = set()
    left = list(client.app._app.routes)  # type: ignore[attr-defined]
    while left:
        route = left.pop()
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        left += inner or ()
        if not inner:
            found |= {f"{method} {route.path}" for method in getattr(route, "methods", None) or ("WEBSOCKET",)}
    return {name for name in found if not name.startswith("HEAD ")}


def test_each_route_and_each_field_stands_in_the_table(client: TestClient) -> None:
    assert routes(client) == set(ROUTES), "what is new needs a line that says who may"
    assert set(fields()) == set(FIELDS), "what is new needs a line that says who may"


def call(client: TestClient, route: str, ids: dict[str, str], headers: dict[str, str]) -> Any:
    method, path = route.split(" ")
    path = path.format(alert_id=ids["alert"], ring_id=ids["ring"], event_id="e-1")
    body = {"query": "{ __typename }"} if path == "/graphql" else {}
    answer = client.request(
        method, path, headers={"origin": "https://evil.example", **headers}, json=body if method == "POST" else None
    )
    assert not [name for name in answer.headers if name.startswith("access-control-")], "no other page may read it"
    assert all(name in answer.headers for name in HEADERS), answer.headers
    return answer


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", ROUTES)
def test_a_role_calls_what_it_may(client: TestClient, ids: dict[str, str], route: str, role: str) -> None:
    answer = call(client, route, ids, token(role))
    if ROUTES[route] == OPEN or ROUTES[route] in ROLES[role]:
        assert answer.status_code in (200, 400, 422), answer.text
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "denied")


@pytest.mark.parametrize("who", strangers())
def test_a_stranger_calls_nothing_and_all_are_told_the_same(client: TestClient, ids: dict[str, str], who: str) -> None:
    headers = strangers()[who]
    for route, scope in ROUTES.items():
        answer = call(client, route, ids, headers)
        assert answer.status_code == (200 if scope == OPEN else 401), (route, answer.text)
        if scope != OPEN:
            assert answer.json()["code"] == "unauthenticated"
            assert MINE not in answer.text
    assert client.get("/nowhere", headers=headers).status_code == 401
    for name, field in fields().items():
        if not name.startswith("Subscription."):
            body = {"query": document(name, field, ids)}
            assert client.post("/graphql", json=body, headers=headers).status_code == 401, name


@pytest.mark.parametrize("given", [(None, "acme"), ("boss", "acme"), ([], "acme"), ("admin", None), ("admin", "a b")])
def test_a_good_token_without_a_role_or_a_tenant_opens_nothing(
    client: TestClient, ids: dict[str, str], given: tuple[object, object]
) -> None:
    for route, scope in ROUTES.items():
        assert call(client, route, ids, token(*given)).status_code == (200 if scope == OPEN else 403), route


@pytest.mark.parametrize("role", ROLES)
def test_a_role_asks_what_it_may(client: TestClient, ids: dict[str, str], role: str) -> None:
    for name, field in fields().items():
        if name.startswith("Subscription."):
            continue
        answer = client.post("/graphql", json={"query": document(name, field, ids)}, headers=token(role, "globex"))
        if "read" not in ROLES[role]:
            assert answer.status_code == 403, name
            continue
        codes = [
            e["extensions"]["code"] for e in answer.json().get("errors", ()) if e["extensions"]["code"] != "not_found"
        ]
        assert codes == ([] if FIELDS[name] in ROLES[role] else ["denied"]), (name, answer.text)


def test_nobody_sees_or_changes_what_is_another_tenants(client: TestClient, ids: dict[str, str]) -> None:
    mine, theirs, seen = token("admin"), token("admin", "globex"), 0
    before = _audit(client, mine)
    for route in ROUTES:
        if route.startswith("GET ") and route != "GET /metrics":
            assert MINE not in call(client, route, ids, theirs).text, route
            seen += MINE in call(client, route, ids, mine).text
    assert seen >= 5
    for name, field in fields().items():
        if name.startswith("Subscription."):
            continue
        query = {"query": document(name, field, ids)}
        answer = client.post("/graphql", json=query, headers={"x-tenant": "acme", **theirs}).text
        assert MINE not in answer, name
        if name.startswith("Query."):
            found = client.post("/graphql", json=query, headers=mine).text
            assert MINE in found or name in WITHOUT_NAMES, (name, found)
        elif name != "Mutation.decide":
            assert '"not_found"' in answer, (name, answer)
    assert _audit(client, mine) == before


def said_to(client: TestClient, headers: dict[str, str], *, in_payload: bool) -> Any:
    """The answer to the first message over a socket: a message, or the code it was closed with."""
    first = {"type": "connection_init", **({"payload": headers} if in_payload else {})}
    try:
        with client.websocket_connect(SOCKET, ["graphql-transport-ws"], headers={} if in_payload else headers) as ws:
            ws.send_json(first)
            return ws.receive_json()["type"]
    except WebSocketDisconnect as closed:
        return closed.code


@pytest.mark.parametrize("in_payload", [True, False])
def test_a_socket_opens_for_who_may_read(client: TestClient, in_payload: bool) -> None:
    for role, scopes in ROLES.items():
        said = said_to(client, token(role), in_payload=in_payload)
        assert said == ("connection_ack" if "read" in scopes else 4403), role
    for who, headers in strangers().items():
        assert said_to(client, headers, in_payload=in_payload) == 4403, who


def _audit(client: TestClient, headers: dict[str, str]) -> Any:
    return graphql(client, headers, "{ audit(first: 1) { nodes { number hash } } }")["data"]


def document(name: str, field: Any, ids: dict[str, str]) -> str:
    """Asks an entrance, about what acme has, for all there is to a depth of three."""
    kind, entrance = name.split(".")
    leave = {"edges"} if entrance == "ring" else ()  # more than 300 fields with them; their nodes are there
    return f"{kind.lower()} {{ {entrance}{_arguments(entrance, field, ids)} {selection(field.type, 4, leave=leave)} }}"


def _arguments(entrance: str, field: Any, ids: dict[str, str]) -> str:
    about = {"alert": ids["alert"], "ring": ids["ring"], "entity": "d-1"}
    known = {
        "id": about.get(entrance, ids["case"]), "eventId": "e-1", "actId": ids["act"], "kind": "device", "text": "u-0-", "user": f"u-0-{MINE}",
        "fromKind": "device", "fromId": "d-1", "toKind": "device", "toId": "d-1",
        "reason": "looked", "outcome": "not_sure", "until": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }  # fmt: skip
    given = {}
    for name, argument in field.args.items():
        if is_input_object_type(get_named_type(argument.type)):
            if isinstance(argument.type, GraphQLNonNull):
                given[name] = '{verdict: "allow", kind: "user", id: "somebody", reason: "looked"}'
        elif isinstance(argument.type, GraphQLNonNull) and name in known:
            given[name] = f'"{known[name]}"'
    given |= {"eventId": '"e-1"'} if entrance in ("explanation", "replay") else {}
    given |= {"kind": '"device"', "id": '"d-1"'} if entrance == "blastRadius" else {}
    return f"({', '.join(f'{name}: {value}' for name, value in given.items())})" if given else ""

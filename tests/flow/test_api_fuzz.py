"""No 5xx: Schemathesis over the OpenAPI document, random GraphQL, and bytes that are neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis_graphql
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.served import Running, event, running

from api.graphql.query import schema as graphql_schema

EXAMPLES = 40
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
quiet = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with (
        running(tmp_path_factory.mktemp("fuzz") / "data", "--local-key") as server,
        server.client(headers=_auth(server)) as client,
    ):
        batch = [event(n, device=f"d-{n % 3}", user=f"u-{n % 9}") for n in range(50)]
        assert client.post("/v1/events", json=batch).json()["accepted"] == 50
        yield server


def _auth(server: Running) -> dict[str, str]:
    key = next(line.split()[1] for line in server.said.splitlines() if line.startswith("  key "))
    return {"authorization": f"Bearer {key}"}


def operations() -> list[Any]:
    """Of the document the app gives; it needs no server."""
    from fastapi import FastAPI

    from api import house, investigate
    from api.openapi import document
    from ringwatch.model import BUILTIN_KINDS

    app = FastAPI()
    app.include_router(investigate.router)
    app.include_router(house.router)
    described = schemathesis.openapi.from_dict(document(app, "0", BUILTIN_KINDS))
    return [operation.ok() for operation in described.get_all_operations()]


def each_operation(function: Any) -> Any:
    return pytest.mark.parametrize("operation", operations(), ids=lambda o: o.label)(function)


@pytest.mark.parametrize("mode", GenerationMode)
@each_operation
def test_rest_holds_its_own_description(operation: Any, mode: GenerationMode, server: Running) -> None:
    headers = _auth(server)

    @given(case=operation.as_strategy(generation_mode=mode))
    @quiet
    def holds(case: Any) -> None:
        case.call_and_validate(base_url=server.url, headers=headers, checks=CHECKS, timeout=30)

    try:
        holds()
    except Unsatisfiable:
        pytest.skip("nothing can be wrong with it")


@each_operation
def test_rest_without_a_key_is_refused(operation: Any, server: Running) -> None:
    @given(case=operation.as_strategy())
    @settings(quiet, max_examples=5)
    def refused(case: Any) -> None:
        answer = case.call(base_url=server.url, headers={"authorization": "Bearer rw_x_y"}, timeout=30)
        assert answer.status_code == (200 if operation.path in ("/healthz", "/readyz") else 401)

    refused()


@given(query=hypothesis_graphql.queries(graphql_schema.as_str(), custom_scalars={}))
@settings(quiet, max_examples=150)
def test_graphql_never_fails_inside(query: str, server: Running) -> None:
    _no_failure(server, {"query": query})


names = st.sampled_from(
    ["alerts", "rings", "ring", "entity", "neighbours", "members", "id", "first", "__schema", "__typename", "items", "...",
     "on", "query", "fragment", "@skip"]
)  # fmt: skip
values = st.sampled_from(
    ["1", "-1", "1e999", '"x"', '"\\u0000"', "null", "$v", "[1]", "{a: 1}", "true", '"""', "99999999999"]
)
tokens = st.lists(st.one_of(names, values, st.sampled_from(list("{}()[]:!$@#,\n"))), max_size=60)


@given(
    parts=tokens,
    variables=st.one_of(
        st.none(), st.dictionaries(st.text(max_size=4), st.one_of(st.integers(), st.text(), st.none()), max_size=3)
    ),
)
@settings(quiet, max_examples=300)
def test_garbage_as_graphql(parts: list[str], variables: Any, server: Running) -> None:
    _no_failure(server, {"query": " ".join(parts), "variables": variables})


def _no_failure(server: Running, body: dict[str, Any]) -> None:
    with server.client(headers=_auth(server)) as client:
        answer = client.post("/graphql", json=body)
    assert answer.status_code < 500, answer.text
    if answer.status_code == 200:
        codes = [e["extensions"]["code"] for e in answer.json().get("errors", [])]
        assert not set(codes) & {"internal", "corrupt", "unavailable", "store_away"}, answer.text


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inside: st.one_of(st.lists(inside, max_size=4), st.dictionaries(st.text(max_size=8), inside, max_size=4)),
    max_leaves=12,
)
fields = st.sampled_from(
    ["event_id", "type", "at", "user", "device", "entities", "amount", "amount_minor", "currency", "lat", "lon", "attributes",
     "label_of", "known_at", "tenant", "quantity", "outcome", "session", "country"]
)  # fmt: skip


@given(
    path=st.sampled_from(["/v1/score", "/v1/events", "/v1/labels"]),
    wrong=st.dictionaries(fields, json_values, max_size=4),
)
@settings(quiet, max_examples=300)
def test_any_value_in_any_field(path: str, wrong: dict[str, Any], server: Running) -> None:
    with server.client(headers=_auth(server)) as client:
        import json

        body = json.dumps({**event("fuzz"), **wrong}).encode("utf-8", "surrogatepass")
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code < 500, answer.text


@given(
    body=st.binary(max_size=200),
    media=st.sampled_from(["application/json", "text/xml", "", "application/json; charset=\xff"]),
)
@settings(quiet, max_examples=150)
def test_any_bytes(body: bytes, media: str, server: Running) -> None:
    with server.client(headers=_auth(server)) as client:
        for path in ("/v1/score", "/graphql"):
            answer = client.post(path, content=body, headers={"content-type": media.encode("latin-1")})
            assert 400 <= answer.status_code < 500, answer.text

"""No 5xx and nothing internal: every query and mutation with identifiers there are and words that fit, or not; then all still stands."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cli import ringwatch
from support.documents import selection
from support.plausible import operations
from support.served import Running, event, running

from api.graphql.query import schema

ENTITIES = {"user": ["u-0", "u-1"], "device": ["d-0", "d-1"], "card": ["c-3"]}
INSIDE = {"internal", "corrupt", "unavailable", "store_away"}
_answered: collections.Counter[str] = collections.Counter()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, str], dict[str, list[str]]]]:
    """A server with alerts, a ring and cases, the headers of a key that may do everything, and the identifiers there are."""
    folder = tmp_path_factory.mktemp("fuzz") / "data"
    with running(folder, "--local-key") as server:
        key = next(line.split()[1] for line in server.said.splitlines() if line.startswith("  key "))
        headers = {"authorization": f"Bearer {key}"}
        with server.client(headers=headers) as client:
            for n in range(60):
                at = f"2026-05-01T12:{n:02}:00Z"
                client.post(
                    "/v1/score",
                    json=event(n, at=at, device=f"d-{n % 2}", card=f"c-{n}", type="signup" if n % 2 else "payment"),
                )
            client.post(
                "/v1/labels",
                json=[{"label_of": "user", "user": "u-4", "label": "fraud", "known_at": "2026-05-01T13:00:00Z"}],
            )
            for n in range(3):
                decided = f'mutation {{ decide(input: {{verdict: "watch", kind: "card", id: "c-{n}", reason: "asked"}}) {{ __typename }} }}'
                client.post("/graphql", json={"query": decided})
            while not all((known := _identifiers(client)).values()):
                time.sleep(0.2)
        yield server, headers, known
        assert ringwatch("audit", "verify", "--data-dir", folder).code == 0
        assert (_answered["mutation"] > 20, _answered["query"] > 80) == (True, True), "else the door alone was tried"


def _identifiers(client: Any) -> dict[str, list[str]]:
    found = {"event": ["e-0", "e-1", "e-2"]}
    for root in ("alerts", "rings", "cases", "acts"):
        field = schema._schema.query_type.fields[root]
        answer = client.post("/graphql", json={"query": f"{{ {root} {selection(field.type, 3, 5)} }}"})
        found[root[:-1]] = sorted(set(_outermost(answer.json()["data"], "id")))
    return found


def _outermost(answer: Any, name: str) -> Iterator[str]:
    """Values of that name that are not inside of something that has one."""
    if isinstance(answer, dict) and isinstance(answer.get(name), str):
        yield answer[name]
        return
    inside = list(answer.values()) if isinstance(answer, dict) else answer
    for one in inside if isinstance(inside, list) else ():
        yield from _outermost(one, name)


@given(data=st.data())
@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
def test_nothing_inside_fails(data: Any, served: tuple[Running, dict[str, str], dict[str, list[str]]]) -> None:
    server, headers, known = served
    body = data.draw(operations(schema._schema, known, ENTITIES, 3))
    with server.client(headers=headers) as client:
        answer = client.post("/graphql", json=body)
    assert answer.status_code < 500, answer.text
    if answer.status_code == 200:
        codes = [e["extensions"]["code"] for e in answer.json().get("errors", [])]
        assert not INSIDE & set(codes), (body, answer.text)
        word = body["query"].split("(")[0].split()[0]
        _answered[word] += answer.json()["data"] is not None and "Refused" not in answer.text

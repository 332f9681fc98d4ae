"""A page costs as many statements whatever its size."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from graphql import get_named_type
from sqlalchemy import Engine, event
from starlette.testclient import TestClient
from support.cli import ringwatch
from support.documents import selection
from support.served import in_process

from api.graphql.query import schema
from graph.ladybug_store import LadybugGraph
from ingest.simulate.simulate import SimulationConfig, write_simulation

LEAST = 3
TOP = "{ alerts(first: 1) { nodes { id topEventId accounts } } }"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("counts")
    write_simulation(SimulationConfig(events=12_000, seed=7, days=15), folder / "market")
    done = ringwatch("ingest", folder / "market" / "events.jsonl", "--data-dir", folder / "data")
    assert done.code == 0, done.out
    with in_process(folder / "data", max_entities=100_000, snapshot_interval_s=3600.0) as client:
        for n in range(LEAST):
            act = 'mutation { decide(input: {verdict: "watch", kind: "user", id: "w%d", reason: "r"}) { __typename } }'
            ask(client, act % n)
        until = time.monotonic() + 60
        while len(ask(client, "{ cases { nodes { id } } }")["cases"]["nodes"]) < LEAST and time.monotonic() < until:
            time.sleep(0.1)
        for case in ask(client, "{ cases(first: 3) { nodes { id } } }")["cases"]["nodes"]:
            ask(client, f'mutation {{ noteCase(id: "{case["id"]}", text: "seen") {{ __typename }} }}')
        yield client


def ask(client: TestClient, query: str) -> Any:
    answer = client.post("/graphql", json={"query": query}).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Statements and graph reads of the threads that answer requests."""
    found: list[str] = []

    def note(what: str) -> None:
        if "AnyIO" in threading.current_thread().name:
            found.append(what)

    def statement(connection: Any, cursor: Any, text: str, *_: Any) -> None:
        note(text)

    whole = LadybugGraph._asking
    monkeypatch.setattr(LadybugGraph, "_asking", lambda self, name, work: (note(name), whole(self, name, work))[1])
    event.listen(Engine, "before_cursor_execute", statement)
    yield found
    event.remove(Engine, "before_cursor_execute", statement)
    monkeypatch.setattr(LadybugGraph, "_asking", whole)


def rows(data: Any, path: str) -> list[Any]:
    for name in path.split("."):
        data = data[name]
    return data["nodes"] if isinstance(data, dict) and "nodes" in data else data


@pytest.mark.parametrize(
    ("path", "depth"),
    [
        ("alerts", 4), ("cases", 5), ("acts", 3), ("audit", 3), ("rings", 3), ("search", 2), ("explanation.similar", 3),
        ("entity.timeline", 4), ("entity.neighbours.nodes", 2),
    ],
)  # fmt: skip
def test_a_page_costs_as_many_statements_whatever_its_size(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, depth: int
) -> None:
    top = ask(client, TOP)["alerts"]["nodes"][0]
    outer = {
        "explanation": f'explanation(alertId: "{top["id"]}")',
        "entity": f'entity(kind: "user", id: "{top["accounts"][0]}")',
    }
    names = path.split(".")
    kind = schema._schema.query_type
    for name in names[:2]:
        field = kind.fields[name]
        kind = get_named_type(field.type)
    text = 'text: "t", ' if names == ["search"] else ""

    def asked(first: int) -> tuple[Any, list[str]]:
        inner = f"{names[-1] if len(names) == 1 else names[1]}({text}first: {first}) {selection(kind, depth)}"
        query = f"{{ {inner} }}" if len(names) == 1 else f"{{ {outer[names[0]]} {{ {inner} }} }}"
        with counted(monkeypatch) as statements:
            data = ask(client, query)
        return rows(data, path), statements

    few = 3 if path == "search" else 1  # a page of one leaves out kinds of things altogether
    asked(few)
    some, for_some = asked(few)
    more, for_more = asked(few * LEAST)
    assert few == len(some) < len(more), "there is more to tell a page from"
    assert bool(for_some) == (path != "rings"), "statements are counted; rings are in memory"
    assert len(for_more) == len(for_some), set(for_more) - set(for_some)

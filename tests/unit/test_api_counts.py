"""A page costs as many statements whatever its size."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from graphql import get_named_type, is_leaf_type, is_object_type
from sqlalchemy import Engine, event
from starlette.testclient import TestClient
from support.cli import ringwatch
from support.documents import selection
from support.served import in_process

from api.graphql.query import schema
from graph.ladybug_store import LadybugGraph
from ingest.simulate.simulate import SimulationConfig, write_simulation

MOST = 20
TOP = "{ alerts(first: 200) { nodes { id accounts ring case { id alertCount } } } }"
COUNTED = {
    "alerts": 4, "cases": 4, "acts": 2, "audit": 2, "rings": 2, "search": 2, "explanation.similar": 3, "entity.timeline": 4,
    "entity.neighbours.nodes": 2, "case.alerts": 3, "ring.alerts": 3, "ring.timeline": 2,
}  # fmt: skip
"""Path of a list and how deep it is asked."""
AT_HAND = {"Query.rules", "Ring.members", "Ring.shared", "Ring.links", "RingThen.members"}
"""Lists of plain values: parts of what was read whole."""
AS_CASES = {"Ring.cases"}
"""Its page is made as that of `cases`; few rings have several."""
A_DAY = "SELECT event_entities.at_us, event_entities.event_id"
"""A timeline is read by days: one such statement for each that a page reaches over."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("counts")
    write_simulation(SimulationConfig(events=12_000, seed=7, days=15), folder / "market")
    done = ringwatch("ingest", folder / "market" / "events.jsonl", "--data-dir", folder / "data")
    assert done.code == 0, done.out
    with in_process(folder / "data", max_entities=100_000, snapshot_interval_s=3600.0) as client:
        for n in range(MOST):
            act = 'mutation { decide(input: {verdict: "watch", kind: "user", id: "w%d", reason: "r"}) { __typename } }'
            ask(client, act % n)
        until = time.monotonic() + 60
        while len(ask(client, "{ cases { nodes { id } } }")["cases"]["nodes"]) < 3 and time.monotonic() < until:
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


def lists() -> dict[str, str]:
    """Type and field of each list that takes `first` and has more than names -> what an item is."""
    found = {}
    for kind in schema._schema.type_map.values():
        for name, field in kind.fields.items() if is_object_type(kind) else ():
            item = get_named_type(field.type)
            if "first" in field.args and is_object_type(item):
                found[f"{kind.name}.{name}"] = get_named_type(
                    item.fields["nodes"].type if "nodes" in item.fields else item
                )
    return found


def field_of(path: str) -> str:
    """Type and field that a path of COUNTED is about."""
    kind, (*outer, last) = schema._schema.query_type, path.removesuffix(".nodes").split(".")
    for name in outer:
        kind = get_named_type(kind.fields[name].type)
    return f"{kind.name}.{last}"


def test_each_list_is_counted() -> None:
    assert {field_of(path) for path in COUNTED} | AT_HAND | AS_CASES == set(lists())
    for name in AT_HAND - {"Query.rules"}:
        assert all(is_leaf_type(get_named_type(field.type)) for field in lists()[name].fields.values()), name


@pytest.mark.parametrize("path", COUNTED)
def test_a_page_costs_as_many_statements_whatever_its_size(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    names = path.split(".")
    alerts = ask(client, TOP)["alerts"]["nodes"]
    rings = Counter(a["ring"] for a in alerts if a["ring"])
    cases = {a["case"]["id"]: a["case"]["alertCount"] for a in alerts if a["case"]}
    outer = {
        "explanation": f'explanation(alertId: "{alerts[0]["id"]}")',
        "entity": f'entity(kind: "user", id: "{alerts[0]["accounts"][0]}")',
        "case": f'case(id: "{max(cases, key=cases.__getitem__)}")', "ring": f'ring(id: "{rings.most_common(1)[0][0]}")',
    }  # fmt: skip
    kind = schema._schema.query_type
    for name in names[:2]:
        kind = get_named_type(kind.fields[name].type)
    chosen = selection(kind, COUNTED[path], leave={"edges"})
    text = 'text: "t", ' if path == "search" else ""

    def asked(first: int) -> tuple[Any, list[str]]:
        inner = f"{names[min(1, len(names) - 1)]}({text}first: {first}) {chosen}"
        query = f"{{ {inner} }}" if len(names) == 1 else f"{{ {outer[names[0]]} {{ {inner} }} }}"
        with counted(monkeypatch) as statements:
            data = ask(client, query)
        return rows(data, path), [s for s in statements if not s.startswith(A_DAY)]

    few = 3 if path == "search" else 1  # a page of one leaves out kinds of things altogether
    asked(few)
    some, for_some = asked(few)
    more, for_more = asked(MOST)
    assert few == len(some) < len(more), "there is more to tell a page from"
    assert bool(for_some) == (path != "rings"), "statements are counted; rings are in memory"
    assert len(for_more) == len(for_some), set(for_more) - set(for_some)

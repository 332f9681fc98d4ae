"""Lists over GraphQL: Relay's shape, cursors of each item, orders, filters, and what the items lead to. The schema is its own manual."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    get_nullable_type,
    is_enum_type,
    is_input_object_type,
    is_introspection_type,
    is_object_type,
    is_specified_scalar_type,
)
from starlette.testclient import TestClient
from support.cli import ringwatch
from support.served import in_process

from api.graphql.query import schema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ringwatch.model import Level

CORE = schema._schema
CONNECTIONS = {
    f"{kind}.{name}"
    for kind, fields in ((k, t.fields) for k, t in CORE.type_map.items() if is_object_type(t))
    for name, field in fields.items()
    if get_named_type(field.type).name.endswith("Connection")
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("connections")
    write_simulation(SimulationConfig(events=8_000, seed=11, days=12), folder / "market")
    done = ringwatch("ingest", folder / "market" / "events.jsonl", "--data-dir", folder / "data")
    assert done.code == 0, done.out
    with in_process(folder / "data", max_entities=100_000, snapshot_interval_s=3600.0) as client:
        until = time.monotonic() + 60
        while not ask(client, "{ cases { nodes { id } } }")["cases"]["nodes"] and time.monotonic() < until:
            time.sleep(0.1)
        yield client


def ask(client: TestClient, query: str, **variables: Any) -> Any:
    answer = client.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def refusal(client: TestClient, query: str) -> Any:
    return client.post("/graphql", json={"query": query}).json()["errors"][0]


def paged(client: TestClient, field: str, wanted: str, size: int, given: str = "") -> list[Any]:
    """All items, page by page; what pages say of themselves is checked on the way."""
    found: list[Any] = []
    page = f"edges {{ cursor node {{ {wanted} }} }} nodes {{ {wanted} }} {INFO}"
    after, query = None, f"query($n: Int!, $a: String) {{ {field}({given} first: $n, after: $a) {{ {page} }} }}"
    while True:
        page = ask(client, query, n=size, a=after)[field]
        info, edges = page["pageInfo"], page["edges"]
        assert [e["node"] for e in edges] == page["nodes"]
        assert info["hasPreviousPage"] == (after is not None)
        assert (info["startCursor"], info["endCursor"]) == (
            (edges[0]["cursor"], edges[-1]["cursor"]) if edges else (None, None)
        )
        found += page["nodes"]
        if not info["hasNextPage"]:
            return found
        assert len(edges) == size
        after = info["endCursor"]


INFO = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"


def test_everything_in_the_schema_says_what_it_is() -> None:
    silent = []
    for name, kind in CORE.type_map.items():
        if is_introspection_type(kind) or is_specified_scalar_type(kind):
            continue
        silent += [] if kind.description else [name]
        if is_object_type(kind) or is_input_object_type(kind):
            silent += [f"{name}.{n}" for n, f in kind.fields.items() if not f.description]
        if is_enum_type(kind):
            silent += [f"{name}.{n}" for n, v in kind.values.items() if not v.description]
    assert silent == []


def test_an_argument_says_what_it_is() -> None:
    """By its own words, by its type's, or by name in those of its field."""
    silent = [
        f"{name}.{n}({a})"
        for name, kind in CORE.type_map.items()
        if is_object_type(kind) and not is_introspection_type(kind)
        for n, field in kind.fields.items()
        for a, argument in field.args.items()
        if not argument.description
        and f"`{a}`" not in field.description
        and not is_input_object_type(get_named_type(argument.type))
        and not is_enum_type(get_named_type(argument.type))
    ]
    assert silent == []


def test_a_field_that_may_be_null_says_when() -> None:
    silent = [
        f"{name}.{n}"
        for name, kind in CORE.type_map.items()
        if is_object_type(kind) and not is_introspection_type(kind)
        for n, field in kind.fields.items()
        if not isinstance(field.type, GraphQLNonNull) and "null" not in field.description.lower()
    ]
    assert silent == []


@pytest.mark.parametrize("where", sorted(CONNECTIONS))
def test_a_list_that_goes_on_is_a_connection(where: str) -> None:
    kind, name = where.split(".")
    field = CORE.type_map[kind].fields[name]
    page = get_named_type(field.type)
    node = get_named_type(page.fields["nodes"].type)
    assert {"first", "after"} <= set(field.args)
    assert set(page.fields) == {"edges", "nodes", "pageInfo"}
    assert str(page.fields["edges"].type) == f"[{node.name}Edge!]!"
    assert {n: str(f.type) for n, f in CORE.type_map[f"{node.name}Edge"].fields.items()} == {
        "cursor": "String!", "node": f"{node.name}!",
    }  # fmt: skip


def test_what_takes_a_cursor_is_a_connection() -> None:
    taking = {
        f"{kind}.{name}"
        for kind, found in CORE.type_map.items() if is_object_type(found) and kind != "Subscription"
        for name, field in found.fields.items() if "after" in field.args
    }  # fmt: skip
    assert taking == CONNECTIONS
    lists = [f.type for t in CORE.type_map.values() if is_object_type(t) for f in t.fields.values()]
    assert all(
        isinstance(get_nullable_type(x).of_type, GraphQLNonNull)
        for x in lists
        if isinstance(get_nullable_type(x), GraphQLList)
    )


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    ("field", "key", "order"),
    [
        ("alerts", "NEWEST", lambda a: (a["lastAt"], a["id"])),
        ("alerts", "SEVEREST", lambda a: (Level[a["level"]], a["lastAt"], a["id"])),
        ("cases", "PRIORITY", lambda c: (c["priority"], c["id"])),
        ("cases", "DUE", lambda c: c["dueAt"]),
        ("cases", "NEWEST", lambda c: c["openedAt"]),
        ("rings", "RISKIEST", lambda r: r["risk"]),
        ("rings", "LARGEST", lambda r: r["users"]),
        ("rings", "NEWEST", lambda r: r["bornAt"]),
        ("rings", "LATEST", lambda r: r["lastAt"]),
        ("rings", "EXPOSURE", lambda r: r["amountMinor"]),
    ],
)
def test_an_order_holds_over_pages_and_leaves_nothing_out(
    client: TestClient, field: str, key: str, order: Any, size: int
) -> None:
    wanted = {
        "alerts": "id level lastAt",
        "cases": "id priority dueAt openedAt",
        "rings": "id risk users bornAt lastAt amountMinor",
    }
    found = paged(client, field, wanted[field], size, f"order: {key},")
    assert len({x["id"] for x in found}) == len(found) > 3
    values = [order(x) for x in found]
    assert values == sorted(values, reverse=key != "DUE")
    assert {x["id"] for x in found} == {x["id"] for x in paged(client, field, wanted[field], 100)}


def test_a_cursor_is_of_its_order_and_goes_on_from_any_item(client: TestClient) -> None:
    page = ask(client, "{ alerts(first: 5, order: SEVEREST) { edges { cursor node { id } } } }")["alerts"]["edges"]
    query = "query($a: String) { alerts(first: 2, order: SEVEREST, after: $a) { nodes { id } } }"
    assert ask(client, query, a=page[1]["cursor"])["alerts"]["nodes"] == [e["node"] for e in page[2:4]]
    other = refusal(client, f'{{ alerts(after: "{page[0]["cursor"]}") {{ nodes {{ id }} }} }}')
    assert (other["extensions"]["code"], other["extensions"]["field"]) == ("invalid", "after")


@pytest.mark.parametrize("order", ["NEWEST", "SEVEREST"])
def test_a_page_that_ends_with_the_last_that_fits_is_the_last(client: TestClient, order: str) -> None:
    """Though there are others behind it that do not fit the filter."""
    every = paged(client, "alerts", "id kind entity accounts", 100, f"order: {order},")
    fits = [
        (a, [x for x in every if x["accounts"][:1] and a["accounts"][0] in x["accounts"]])
        for a in every
        if a["accounts"]
    ]
    account, some = next((a["accounts"][0], x) for a, x in fits if x[-1] != every[-1])
    query = f'{{ alerts(order: {order}, first: {len(some)}, filter: {{account: "{account}"}}) {{ nodes {{ id }} {INFO} }} }}'
    page = ask(client, query)["alerts"]
    assert [a["id"] for a in page["nodes"]] == [a["id"] for a in some]
    assert not page["pageInfo"]["hasNextPage"]


def test_events_of_a_type_end_with_the_last_of_the_type(client: TestClient) -> None:
    def events(user: str, first: int, given: str = "") -> Any:
        wanted = f"nodes {{ eventId type alertId alert {{ id }} }} {INFO}"
        asked = f'{{ entity(kind: "user", id: "{user}") {{ timeline({given} first: {first}) {{ {wanted} }} }} }}'
        return ask(client, asked)["entity"]["timeline"]

    users = {u for a in paged(client, "alerts", "accounts", 50) for u in a["accounts"]}
    lists = {u: events(u, 200) for u in sorted(users)[:40]}
    user, last = next((u, x["nodes"][-1]["type"]) for u, x in lists.items() if len({e["type"] for e in x["nodes"]}) > 1)
    kind = next(e["type"] for e in lists[user]["nodes"] if e["type"] != last)
    some = [e for e in lists[user]["nodes"] if e["type"] == kind]
    found = events(user, len(some), f'types: ["{kind}"],')
    assert found["nodes"] == some
    assert not found["pageInfo"]["hasNextPage"]
    alerted = [e for x in lists.values() for e in x["nodes"] if e["alertId"]]
    assert alerted
    assert all((e["alert"] or {}).get("id") == e["alertId"] for x in lists.values() for e in x["nodes"])


def test_an_alert_leads_to_what_its_highest_event_was_given(client: TestClient) -> None:
    for alert in ask(client, "{ alerts { nodes { topEventId score topEvent { eventId score reasons { code } } } } }")["alerts"]["nodes"]:  # fmt: skip
        assert (alert["topEvent"]["eventId"], alert["topEvent"]["score"]) == (alert["topEventId"], alert["score"])
        assert alert["topEvent"]["reasons"]


def test_severest_of_one_level_is_that_level(client: TestClient) -> None:
    every = paged(client, "alerts", "id level", 50)
    for level in ("MEDIUM", "HIGH", "CRITICAL"):
        some = paged(client, "alerts", "id level", 2, f'order: SEVEREST, filter: {{level: "{level}"}},')
        assert [a["id"] for a in some] == [a["id"] for a in every if a["level"] == level]
    assert {a["level"] for a in every} >= {"MEDIUM", "HIGH"}


def test_rings_are_filtered(client: TestClient) -> None:
    every = paged(client, "rings", "id risk users bornAt lastAt patterns", 100)
    middle = sorted(r["risk"] for r in every)[len(every) // 2]
    late = sorted(r["lastAt"] for r in every)[len(every) // 2]
    born = sorted(r["bornAt"] for r in every)[len(every) // 2]
    pattern = next(r["patterns"][0] for r in every if r["patterns"])
    for given, holds in (
        (f"leastRisk: {middle}", lambda r: r["risk"] >= middle),
        ("leastUsers: 4", lambda r: r["users"] >= 4),
        (f'activeSince: "{late}"', lambda r: r["lastAt"] >= late),
        (f'bornSince: "{born}"', lambda r: r["bornAt"] >= born),
        (f'pattern: "{pattern}"', lambda r: pattern in r["patterns"]),
    ):
        found = paged(client, "rings", "id risk users bornAt lastAt patterns", 2, f"filter: {{{given}}},")
        assert 0 < len(found) < len(every), given
        assert {r["id"] for r in found} == {r["id"] for r in every if holds(r)}, given


@pytest.mark.parametrize("given", ["leastUsers: 1", "leastRisk: 2.0", 'activeSince: "yesterday"'])
def test_a_slip_in_a_filter_of_rings_names_the_field(client: TestClient, given: str) -> None:
    error = refusal(client, f"{{ rings(filter: {{{given}}}) {{ nodes {{ id }} }} }}")
    assert error["extensions"]["field"] == given.split(":")[0]


def test_alerts_cases_and_rings_lead_to_each_other(client: TestClient) -> None:
    asked = "{ alerts(first: 50) { nodes { id ring case { id ringSummary { id } alerts(first: 200) { id } } ringSummary { id users risk } } } }"
    alerts = ask(client, asked)["alerts"]["nodes"]
    assert all(a["id"] in [x["id"] for x in a["case"]["alerts"]] for a in alerts)
    of_rings = [a for a in alerts if a["ringSummary"]]
    assert of_rings
    for alert in of_rings[:3]:
        assert alert["ringSummary"]["id"] == alert["ring"]
        whole = "query($r: String!) { ring(id: $r) { summary { id users risk } alerts(first: 200) { nodes { id } } cases { nodes { id ring } } } }"
        ring = ask(client, whole, r=alert["ring"])["ring"]
        assert ring["summary"] == alert["ringSummary"]
        assert alert["id"] in [x["id"] for x in ring["alerts"]["nodes"]]
        assert {c["ring"] for c in ring["cases"]["nodes"]} <= {alert["ring"]}

"""What people look for over GraphQL: the events of an entity, any identifier; over a small simulated market."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import in_process

from ingest.simulate.simulate import SimulationConfig, write_simulation
from ringwatch.model import BUILTIN_KINDS


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("find")
    write_simulation(SimulationConfig(events=3000, seed=3, days=6), folder / "market")
    with in_process(folder / "data", snapshot_interval_s=3600.0, alert_window_h=1.0) as client:
        lines = (folder / "market" / "events.jsonl").read_bytes().splitlines()
        events = [line for line in lines if b'"type":"label"' not in line][:2000]
        for start in range(0, len(events), 1000):
            body = b"[" + b",".join(events[start : start + 1000]) + b"]"
            answer = client.post("/v1/events", content=body, headers={"content-type": "application/json"})
            assert answer.json().get("accepted") == 1000, answer.text[:500]
        client.service.pipeline.outlets.graph.flush()  # type: ignore[attr-defined]
        yield client


@pytest.fixture(scope="module")
def alert(client: TestClient) -> dict[str, Any]:
    """One on a thing, with its events."""
    alerts = client.get("/v1/alerts", params={"limit": 200}).json()["alerts"]
    kinds = {k.name for k in BUILTIN_KINDS}
    found: dict[str, Any] = max((a for a in alerts if a["kind"] in kinds), key=lambda a: a["events"])
    return found


def ask(client: TestClient, query: str, **variables: Any) -> Any:
    return client.post("/graphql", json={"query": query, "variables": variables}).json()


TIMELINE = """query($k: String!, $i: String!, $first: Int!, $after: String, $since: String, $until: String, $types: [String!]) {
  entity(kind: $k, id: $i) {
    events
    timeline(first: $first, after: $after, since: $since, until: $until, types: $types) {
      nodes { eventId type at user amountMinor score level action alertId } pageInfo { endCursor hasNextPage }
    }
  }
}"""


def timeline(client: TestClient, first: int, **of: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = ask(client, TIMELINE, first=first, after=after, **of)["data"]["entity"]["timeline"]
        found += page["nodes"]
        after = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] else None
        if after is None:
            return found


def test_a_timeline_has_each_event_of_an_entity_once_newest_first(client: TestClient, alert: dict[str, Any]) -> None:
    of = {"k": alert["kind"], "i": alert["entity"]}
    whole = timeline(client, 200, **of)
    assert timeline(client, 3, **of) == whole
    assert [x["at"] for x in whole] == sorted((x["at"] for x in whole), reverse=True)
    assert (
        len({x["eventId"] for x in whole})
        == len(whole)
        == ask(client, TIMELINE, first=1, **of)["data"]["entity"]["events"]
    )
    top = next(x for x in whole if x["eventId"] == alert["top_event_id"])
    assert (top["score"], top["alertId"]) == (alert["score"], alert["alert_id"])
    given = ask(client, "query($e: String!) { assessment(eventId: $e) { eventId type at user amountMinor score level action } }",
                e=top["eventId"])["data"]["assessment"]  # fmt: skip
    assert given == {name: top[name] for name in given}


def test_a_timeline_is_of_a_time_and_of_types(client: TestClient, alert: dict[str, Any]) -> None:
    of = {"k": alert["kind"], "i": alert["entity"]}
    whole = timeline(client, 200, **of)
    middle = whole[len(whole) // 2]["at"]
    assert timeline(client, 5, since=middle, **of) == [x for x in whole if x["at"] >= middle]
    assert timeline(client, 5, until=middle, **of) == [x for x in whole if x["at"] < middle]
    types = [whole[0]["type"]]
    assert timeline(client, 2, types=types, **of) == [x for x in whole if x["type"] in types]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"types": ["bribe"]}, "types"), ({"since": "monday"}, "since"), ({"first": 0}, "first"), ({"first": 201}, "first"),
     ({"after": "zz"}, "after"), ({"since": "2026-05-02T00:00:00Z", "until": "2026-05-01T00:00:00Z"}, "until")],
)  # fmt: skip
def test_a_slip_in_a_timeline_names_the_field(
    client: TestClient, alert: dict[str, Any], wrong: dict[str, Any], field: str
) -> None:
    (error,) = ask(client, TIMELINE, **{"k": alert["kind"], "i": alert["entity"], "first": 3, **wrong})["errors"]
    assert error["extensions"]["field"] == field


def test_a_cursor_belongs_to_its_entity_and_filters(client: TestClient, alert: dict[str, Any]) -> None:
    of = {"k": alert["kind"], "i": alert["entity"], "first": 1}
    after = ask(client, TIMELINE, **of)["data"]["entity"]["timeline"]["pageInfo"]["endCursor"]
    (error,) = ask(client, TIMELINE, **of, after=after, types=["login"])["errors"]
    assert error["message"].startswith("after belongs to other filters")


SEARCH = "query($text: String!, $first: Int) { search(text: $text, first: $first) { kind id text } }"


def search(client: TestClient, text: str, first: int = 20) -> list[dict[str, str]]:
    found: list[dict[str, str]] = ask(client, SEARCH, text=text, first=first)["data"]["search"]
    return found


def test_any_identifier_is_found_and_said_what_it_is(client: TestClient, alert: dict[str, Any]) -> None:
    event = search(client, alert["top_event_id"])[0]
    assert (event["kind"], event["id"]) == ("event", alert["top_event_id"])
    assert f"score {alert['score']:.2f}" in event["text"]
    assert search(client, alert["alert_id"]) == [
        {"kind": "alert", "id": alert["alert_id"],
         "text": f"alert, {alert['level']}, on {alert['kind']} {alert['entity']}: {alert['text']}"}
    ]  # fmt: skip
    entity = search(client, f" {alert['entity']} ")[0]
    assert (entity["kind"], entity["id"]) == (alert["kind"], alert["entity"])
    assert timeline(client, 1, k=alert["kind"], i=alert["entity"])[0]["eventId"] in entity["text"]
    ring = client.get("/v1/rings").json()["rings"][0]
    assert [(h["kind"], h["id"]) for h in search(client, ring["ring_id"])] == [("ring", ring["ring_id"])]


def test_what_begins_with_a_text_is_found_nearest_first(client: TestClient, alert: dict[str, Any]) -> None:
    begins = alert["alert_id"][:3]
    assert alert["alert_id"] in {h["id"] for h in search(client, begins, 50)}
    hits = search(client, alert["entity"][:2], 7)
    assert len(hits) == 7
    assert all(h["id"].startswith(alert["entity"][:2]) for h in hits)
    assert search(client, "nothing like it") == []


@pytest.mark.parametrize(
    ("text", "first", "field"),
    [("", 5, "text"), ("x" * 257, 5, "text"), ("a\0", 5, "text"), ("4111111111111111", 5, "text"), ("a", 51, "first")],
)
def test_a_search_that_cannot_be_is_refused(client: TestClient, text: str, first: int, field: str) -> None:
    answer = client.post("/graphql", json={"query": SEARCH, "variables": {"text": text, "first": first}})
    (error,) = answer.json()["errors"]
    assert error["extensions"]["field"] == field
    assert "4111111111111111" not in answer.text


NEAR = """query($k: String!, $i: String!, $kinds: [String!], $since: String, $until: String, $least: Int! = 1) {
  entity(kind: $k, id: $i) {
    neighbours(first: 50, hops: 2, kinds: $kinds, since: $since, until: $until, minEvents: $least) {
      nodes { kind id depth } links { user kind id lastAt events } cuts
    }
  }
}"""


def near(client: TestClient, **of: Any) -> dict[str, Any]:
    found: dict[str, Any] = ask(client, NEAR, **of)["data"]["entity"]["neighbours"]
    return found


def test_neighbours_are_of_kinds_times_and_strength(client: TestClient, alert: dict[str, Any]) -> None:
    user = next(a for a in alert["accounts"] if len(timeline(client, 50, k="user", i=a)) > 2)
    of = {"k": "user", "i": user}
    whole = near(client, **of)
    kinds = {n["kind"] for n in whole["nodes"]} - {"user"}
    assert len(kinds) > 1
    for kind in kinds:
        some = near(client, **of, kinds=[kind])
        assert {n["kind"] for n in some["nodes"]} <= {kind, "user"}
        assert {x["kind"] for x in some["links"]} == {kind}
    middle = sorted(x["lastAt"] for x in whole["links"])[len(whole["links"]) // 2]
    assert all(x["lastAt"] >= middle for x in near(client, **of, since=middle)["links"])
    assert all(x["lastAt"] < middle for x in near(client, **of, until=middle)["links"])
    assert all(x["events"] >= 2 for x in near(client, **of, least=2)["links"])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"kinds": ["planet"]}, "kinds"), ({"kinds": ["user"]}, "kinds"), ({"since": "x"}, "since"), ({"least": 0}, "minEvents")],
)  # fmt: skip
def test_a_slip_in_a_filter_of_neighbours_names_the_field(
    client: TestClient, alert: dict[str, Any], wrong: dict[str, Any], field: str
) -> None:
    (error,) = ask(client, NEAR, k="user", i=alert["accounts"][0], **wrong)["errors"]
    assert error["extensions"]["field"] == field


PATH = """query($a: String!, $b: String!, $kind: String! = "user", $hops: Int! = 6) {
  path(fromKind: "user", fromId: $a, toKind: $kind, toId: $b, maxHops: $hops) {
    hops entities { kind id degree events alerts } links { user kind id events } cuts
  }
}"""


def test_a_path_leads_over_what_both_use(client: TestClient) -> None:
    rings = client.get("/v1/rings").json()["rings"]
    members = client.get(f"/v1/rings/{rings[0]['ring_id']}").json()["ring"]["members"]
    a, b = members[0]["user"], members[1]["user"]
    found = ask(client, PATH, a=a, b=b)["data"]["path"]
    assert found["hops"] % 2 == 0
    assert [e["id"] for e in (found["entities"][0], found["entities"][-1])] == [a, b]
    assert len(found["links"]) == found["hops"] == len(found["entities"]) - 1
    assert found["links"][0]["user"] == a
    assert ask(client, PATH, a=a, b=b)["data"]["path"] == found
    assert ask(client, PATH, a=a, b=b, hops=1)["data"]["path"] is None


@pytest.mark.parametrize(
    ("wrong", "code", "field"),
    [({"kind": "planet"}, "invalid", "toKind"), ({"hops": 7}, "invalid", "maxHops"), ({"hops": 0}, "invalid", "maxHops"),
     ({"b": ""}, "invalid", "toId"), ({"b": "nobody"}, "not_found", None)],
)  # fmt: skip
def test_a_slip_in_a_path_names_the_field(
    client: TestClient, alert: dict[str, Any], wrong: dict[str, Any], code: str, field: str | None
) -> None:
    ends = {"a": alert["accounts"][0], "b": alert["accounts"][0]}
    (error,) = ask(client, PATH, **{**ends, **wrong})["errors"]
    assert (error["extensions"]["code"], error["extensions"].get("field")) == (code, field)

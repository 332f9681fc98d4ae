"""GraphQL over the past of rings: the timeline, the members at a time, rings that ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import event, in_process


def at(day: int, minute: int = 0) -> str:
    month, day = (3, day) if day <= 31 else (4, day - 31)
    return f"2026-{month:02}-{day:02}T12:{minute:02}:00Z"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with in_process(tmp_path_factory.mktemp("api") / "data", snapshot_interval_s=3600.0) as client:
        story = [("a", "d", 1), ("b", "d", 1), ("x", "e", 2), ("y", "e", 2), ("c", "d", 3), ("x", "d", 4)]
        events = [event(i, user=u, device=d, at=at(day, i)) for i, (u, d, day) in enumerate(story)]
        events += [event(10 + day, user="z", device="z", at=at(day)) for day in (20, 45)]
        answer = client.post("/v1/events", json=events)
        assert answer.json().get("accepted") == len(events), answer.text
        yield client


PAST = """query ($id: String!, $at: String, $first: Int!, $after: String) {
  ring(id: $id, asOf: $at) {
    summary { id users bornAt lastAt } foundingEvent truncated members { user }
    then { at status users busted changedAt complete members { user joinedAt } }
    timeline(first: $first, after: $after) { nodes { number at what text eventId users joined left rings } pageInfo { endCursor hasNextPage } }
  }
}"""


def ask(client: TestClient, query: str, **variables: Any) -> Any:
    return client.post("/graphql", json={"query": query, "variables": variables}).json()


def past(client: TestClient, ring_id: str, **more: Any) -> Any:
    answer = ask(client, PAST, id=ring_id, **{"first": 50, **more})
    assert "errors" not in answer, answer
    return answer["data"]["ring"]


@pytest.fixture(scope="module")
def ring(client: TestClient) -> str:
    """The ring that everybody ended up in, found by the merge that its other part tells of."""
    with client.service.pipeline.outlets.ledger._reading() as connection:  # type: ignore[attr-defined]
        rows = connection.exec_driver_sql("SELECT ring_id FROM ring_history WHERE what = 'merged'").all()
    return str(rows[0][0])


def test_the_timeline_of_a_ring_that_ended(client: TestClient, ring: str) -> None:
    found = past(client, ring)
    items = found["timeline"]["nodes"]
    assert [(e["number"], e["what"], e["eventId"], e["users"]) for e in items] == [
        (1, "born", "e-1", 2), (2, "grew", "e-4", 3), (3, "merged", "e-5", 5), (4, "dormant", None, 5), (5, "ended", None, 0),
    ]  # fmt: skip
    assert items[2]["joined"] == ["x", "y"]
    assert items[2]["at"] == "2026-03-04T12:05:00+00:00"
    assert items[2]["text"].startswith("Merged: x and y joined from ring ")
    assert found["summary"] == {"id": ring, "users": 0, "bornAt": items[0]["at"], "lastAt": items[-1]["at"]}
    assert found["foundingEvent"] == "e-1"
    assert found["members"] == []
    assert found["then"]["status"] == "ended"
    other = past(client, items[2]["rings"][0])
    assert [e["what"] for e in other["timeline"]["nodes"]] == ["born", "ended"]
    assert other["timeline"]["nodes"][1]["rings"] == [ring]


@pytest.mark.parametrize(
    ("when", "status", "users"),
    [
        ("2026-02-01T00:00:00Z", "unborn", ""),
        (at(1, 1), "active", "ab"),
        (at(3, 3), "active", "ab"),
        (at(3, 4), "active", "abc"),
        ("2026-03-04T13:05:00+01:00", "active", "abcxy"),
        (at(21), "dormant", "abcxy"),
        (at(46), "ended", ""),
    ],
)
def test_the_members_at_a_time(client: TestClient, ring: str, when: str, status: str, users: str) -> None:
    then = past(client, ring, at=when)["then"]
    assert (then["status"], then["users"], then["complete"]) == (status, len(users), True)
    assert [m["user"] for m in then["members"]] == list(users)
    assert all(m["joinedAt"] <= "2026-03-04T12:05:00+00:00" for m in then["members"])


def test_pages_of_the_timeline_give_every_entry_once(client: TestClient, ring: str) -> None:
    found, after = [], None
    while True:
        page = past(client, ring, first=2, after=after)["timeline"]
        found += page["nodes"]
        after = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] else None
        if after is None:
            break
    assert found == past(client, ring)["timeline"]["nodes"]


def test_a_ring_nobody_knows_is_null(client: TestClient) -> None:
    for ring_id in ("none", "", "\x00", "x" * 1000):
        assert ask(client, "query ($id: String!) { ring(id: $id) { truncated } }", id=ring_id)["data"] == {"ring": None}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"at": "yesterday"}, "asOf"),
        ({"at": "2026-03-01T12:00:00"}, "asOf"),
        ({"first": 0}, "first"),
        ({"first": 201}, "first"),
        ({"after": "x"}, "after"),
    ],
)
def test_what_cannot_be_asked_names_the_field(client: TestClient, ring: str, more: dict[str, Any], field: str) -> None:
    answer = ask(client, PAST, id=ring, **{"first": 50, **more})
    (error,) = answer["errors"]
    assert error["extensions"]["code"] in ("invalid", "time")
    assert field in error["message"]


def test_a_cursor_is_of_one_ring(client: TestClient, ring: str) -> None:
    page = past(client, ring, first=1)["timeline"]
    other = past(client, ring)["timeline"]["nodes"][2]["rings"][0]
    answer = ask(client, PAST, id=other, first=1, after=page["pageInfo"]["endCursor"])
    assert answer["errors"][0]["extensions"]["code"] == "invalid"


def test_too_much_past_at_once_is_refused(client: TestClient, ring: str) -> None:
    one = "ring(id: $id) { then { members(first: 1000) { user joinedAt } } timeline(first: 200) { nodes { text joined left } } }"
    much = "query ($id: String!) { " + " ".join(f"a{i}: {one}" for i in range(15)) + " }"
    assert ask(client, much, id=ring)["errors"][0]["extensions"]["code"] == "too_large"
    assert ask(client, "query ($id: String!) { " + one + " }", id=ring)["data"]["ring"]["then"]["members"] == []

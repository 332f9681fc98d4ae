"""Earlier alerts that are like a decision."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import in_process

from explain.similar import similar
from ringwatch.model import Alert, Reason

START = datetime(2026, 1, 1, tzinfo=UTC)
SIMILAR = """query($e: String!) { explanation(eventId: $e) { similar(first: 3) { similarity reasons outcome alert { id topEventId } } } }"""


def alert(id_: str, at: int = 0) -> Alert:
    return Alert(id_, "t", "user", "u", "r", at, at, 1, 0.9, "HIGH", "now", "text")


def of(**carried: float) -> list[Reason]:
    return [Reason(code.replace("_", "."), code, x) for code, x in carried.items()]


def test_the_most_alike_come_first_and_tell_what_they_share() -> None:
    mine = of(a_x=0.6, b_y=0.3, c_z=-0.2)
    earlier = [
        (alert("other"), of(d_w=0.9)),
        (alert("half"), of(a_x=0.5, d_w=0.5)),
        (alert("same", 5), of(b_y=0.2, a_x=0.4)),
        (alert("same-later", 9), of(a_x=0.2, b_y=0.1)),
        (alert("nothing"), []),
        (alert("against"), of(a_x=-0.6)),
    ]
    found = similar(mine, earlier, most=9)
    assert [s.alert.alert_id for s in found] == ["same-later", "same", "half"]
    assert [s.reasons for s in found] == [("a.x", "b.y"), ("a.x", "b.y"), ("a.x",)]
    assert found[0].similarity == pytest.approx(1.0, abs=1e-12)
    assert found[2].similarity == pytest.approx(0.6 * 0.5 / (sqrt(0.45) * sqrt(0.5)))
    assert similar(mine, earlier, most=1) == found[:1]
    assert similar([], earlier, most=9) == []


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with in_process(tmp_path_factory.mktemp("similar") / "data", snapshot_interval_s=3600.0) as client:
        yield client


def ask(client: TestClient, query: str, **variables: Any) -> Any:
    answer = client.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def test_what_earlier_ones_turned_out_to_be_is_told(client: TestClient) -> None:
    """Four rounds of accounts opened on one device; what the first three were is said in three ways."""

    def round_of(name: str, at: datetime) -> str:
        for n in range(5):
            for k, type_ in enumerate(("signup", "order", "payment")):
                body = {
                    "event_id": f"{name}-{n}-{k}", "type": type_, "at": (at + timedelta(minutes=9 * n + k)).isoformat(), "amount": 50.0,
                    "user": f"{name}-u{n}", "device": f"{name}-d", "card": f"{name}-c{n}", "order_id": f"{name}-{n}",
                }  # fmt: skip
                assert client.post("/v1/score", json=body).status_code == 200
        found = ask(client, "{ alerts(first: 200) { nodes { topEventId entity accounts } } }")["alerts"]["nodes"]
        return next(str(a["topEventId"]) for a in found if f"{name}-u4" in a["accounts"] or a["entity"] == f"{name}-d")

    tops = [round_of(name, START + timedelta(days=3 * i)) for i, name in enumerate(("one", "two", "three"))]
    at = (START + timedelta(days=8)).isoformat()
    for target, label in (({"event": tops[0]}, "fraud"), ({"kind": "user", "id": "two-u1"}, "good")):
        body = {"type": "label", "label": label, "known_at": at, "label_of": target}
        answer = client.post("/v1/labels", json=body)
        assert answer.status_code in (200, 201, 202), answer.text
    last = round_of("four", START + timedelta(days=12))
    found = ask(client, SIMILAR, e=last)["explanation"]["similar"]
    assert {s["alert"]["topEventId"] for s in found} <= set(tops)
    assert found
    assert all(0.5 <= s["similarity"] <= 1.0 and s["reasons"] for s in found)
    outcomes = {s["alert"]["topEventId"]: s["outcome"] for s in found}
    assert outcomes == {tops[0]: "fraud", tops[1]: "false_positive", tops[2]: None}
    assert ask(client, SIMILAR, e=tops[0])["explanation"]["similar"] == []

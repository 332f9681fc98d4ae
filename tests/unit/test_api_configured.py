"""How things stand and what decides, over GraphQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.rule_files import rule, rules
from support.served import in_process

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("configured")
    mine = folder / "rules.yaml"
    mine.write_text(
        rules(
            rule("event.amount_minor > 20000", id="large", score=0.7, mode="advise"),
            rule("event.hour < 6", id="night", score=0.5, mode="shadow"),
        )
    )
    with in_process(folder / "data", snapshot_interval_s=3600.0, rules=Path(mine)) as client:
        for day in (0, 1, 1, 5):
            send(client, START + timedelta(days=day), amount=900.0)
        send(client, START + timedelta(days=9), amount=1.0)
        yield client


def send(client: TestClient, at: datetime, amount: float) -> None:
    n = len(client.sent) if hasattr(client, "sent") else 0
    client.sent = [*range(n + 1)]  # type: ignore[attr-defined]
    body = {"event_id": f"e-{n}", "type": "payment", "at": at.isoformat(), "amount": amount, "user": f"u-{n}"}
    answer = client.post("/v1/score", json=body)
    assert answer.status_code == 200, answer.text


def ask(client: TestClient, query: str) -> Any:
    return client.post("/graphql", json={"query": query}).json()


def test_stats_count_what_is_kept(client: TestClient) -> None:
    query = (
        "{ stats { decisions alerts labels degraded alertsByDay { day level alerts } ringsByRisk { atLeast rings } } }"
    )
    found = ask(client, query)["data"]["stats"]
    assert (found["decisions"], found["alerts"], found["labels"], found["degraded"]) == (5, 4, 0, [])
    by_day = [(d["day"], d["alerts"]) for d in found["alertsByDay"]]
    assert by_day == [("2026-01-06", 1), ("2026-01-02", 2), ("2026-01-01", 1)]
    assert [b["atLeast"] for b in found["ringsByRisk"]] == [0.8, 0.5, 0.2, 0.0]
    few = ask(client, "{ stats(days: 5) { alertsByDay { day } } }")["data"]["stats"]["alertsByDay"]
    assert [d["day"] for d in few] == ["2026-01-06", "2026-01-02"]
    wrong = ask(client, "{ stats(days: 91) { alerts } }")["errors"][0]
    assert wrong["extensions"]["code"] == "invalid"
    assert "days is 91" in wrong["message"]


def test_scorers_tell_what_they_look_for(client: TestClient) -> None:
    found = {s["name"]: s for s in ask(client, "{ scorers { name version about weight } }")["data"]["scorers"]}
    assert {"neighbourhood", "rules", "listed", "velocity"} <= found.keys()
    assert found["neighbourhood"]["weight"] == 0.6
    assert all(s["about"] and s["version"] for s in found.values())


def test_rules_in_force_by_mode(client: TestClient) -> None:
    query = "{ rules { version trouble total inForce { id mode condition owner score action expiresAt types } } }"
    found = ask(client, query)["data"]["rules"]
    assert (found["total"], found["trouble"], len(found["version"])) == (2, None, 12)
    assert [(r["id"], r["mode"], r["score"]) for r in found["inForce"]] == [
        ("large", "advise", 0.7),
        ("night", "shadow", 0.5),
    ]
    shadow = ask(client, '{ rules(mode: "shadow") { total inForce { id } } }')["data"]["rules"]
    assert (shadow["total"], shadow["inForce"]) == (2, [{"id": "night"}])
    assert ask(client, '{ rules(mode: "loud") { total } }')["errors"][0]["extensions"]["code"] == "invalid"


def test_without_a_champion_no_model_serves(client: TestClient) -> None:
    assert ask(client, "{ models { role id } }")["data"]["models"] == []


def test_the_schema_is_told_where_the_setting_says_so(client: TestClient, tmp_path: Path) -> None:
    asked, typo = "{ __schema { queryType { name } } }", "{ alert(id: 1) { leve } }"
    assert ask(client, asked)["data"]["__schema"]["queryType"]["name"] == "Query"
    assert "Did you mean 'level'" in ask(client, typo)["errors"][-1]["message"]
    with in_process(tmp_path, graphql_introspection=False) as silent:
        refused = ask(silent, asked)["errors"][0]
        assert refused["extensions"]["code"] == "invalid"
        assert "introspection has been disabled" in refused["message"]
        assert ask(silent, "{ alerts { nodes { __typename id } } }")["data"]["alerts"]["nodes"] == []
        assert "Did you mean" not in ask(silent, typo)["errors"][-1]["message"]


def test_few_of_many_mistakes_are_told(client: TestClient) -> None:
    found = ask(client, "{ " + " ".join(f"unknown{n}" for n in range(300)) + " }")["errors"]
    assert len(found) == 6
    assert "Too many validation errors" in found[-1]["message"]

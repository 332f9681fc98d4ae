"""Alerts, rings, GraphQL, status and metrics over a small simulated market."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from support.served import in_process

from api import reads
from api.graphql.query import schema
from api.graphql.ready import READY
from ingest.simulate.simulate import SimulationConfig, write_simulation

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("api")
    write_simulation(SimulationConfig(events=7000, seed=3, days=10), folder / "market")
    with in_process(folder / "data", snapshot_interval_s=3600.0, alert_window_h=1.0, api_deadline_ms=30_000) as client:
        lines = (folder / "market" / "events.jsonl").read_bytes().splitlines()
        events = [line for line in lines if b'"type":"label"' not in line][:6000]
        for start in range(0, len(events), 1000):
            body = b"[" + b",".join(events[start : start + 1000]) + b"]"
            answer = client.post("/v1/events", content=body, headers={"content-type": "application/json"})
            assert answer.json().get("accepted") == 1000, answer.text[:500]
        client.service.pipeline.outlets.graph.flush()  # type: ignore[attr-defined]
        yield client


def ask(client: TestClient, query: str, **variables: Any) -> Any:
    return client.post("/graphql", json={"query": query, "variables": variables}).json()


def all_alerts(client: TestClient, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        given = {**filters, "limit": 7, **({"after": after} if after else {})}
        page = client.get("/v1/alerts", params=given).json()
        found += page["alerts"]
        after = page["next"]
        if after is None:
            return found


def test_paging_gives_every_alert_once_newest_first(client: TestClient) -> None:
    whole = client.get("/v1/alerts", params={"limit": 200}).json()["alerts"]
    paged = all_alerts(client)
    assert paged[: len(whole)] == whole
    assert len({a["alert_id"] for a in paged}) == len(paged) >= 7
    assert [a["last_at_us"] for a in paged] == sorted((a["last_at_us"] for a in paged), reverse=True)


@pytest.mark.parametrize("field", ["level", "kind", "delivery"])
def test_a_filter_keeps_what_it_says(client: TestClient, field: str) -> None:
    everything = all_alerts(client)
    for value in {a[field] for a in everything}:
        assert all_alerts(client, **{field: value}) == [a for a in everything if a[field] == value]


def test_filters_by_entity_pattern_account_and_time(client: TestClient) -> None:
    everything = all_alerts(client)
    one = everything[len(everything) // 2]
    assert one in all_alerts(client, kind=one["kind"], entity=one["entity"])
    for account in one.get("accounts", [])[:1]:
        assert one in all_alerts(client, account=account)
    for pattern in {p for a in everything for p in a.get("patterns", [])}:
        assert all(pattern in a["patterns"] for a in all_alerts(client, pattern=pattern))
    assert all_alerts(client, since="2099-01-01T00:00:00Z") == []
    assert all_alerts(client, until="2099-01-01T00:00:00Z") == everything


@pytest.mark.parametrize(
    "query",
    ["level=high", "levle=HIGH", "limit=0", "limit=201", "limit=x", "after=zz", "after=%00", "entity=x", "since=monday",
     "delivery=soon", "level=HIGH&level=LOW", "kind=%00", "since=2026-01-01T00:00:00"],
)  # fmt: skip
def test_a_slip_in_a_filter_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"/v1/alerts?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_cursor_belongs_to_its_filters(client: TestClient) -> None:
    cursor = client.get("/v1/alerts", params={"limit": 1}).json()["next"]
    assert (
        client.get("/v1/alerts", params={"after": cursor, "level": "LOW"}).json()["detail"]
        == "after belongs to other filters"
    )


def test_an_alert_comes_with_inputs_features_scores_and_reasons(client: TestClient) -> None:
    alert = client.get("/v1/alerts", params={"limit": 1}).json()["alerts"][0]
    detail = client.get(f"/v1/alerts/{alert['alert_id']}").json()
    assert detail["alert"] == alert
    top = next(e for e in detail["events"] if e["event"]["event_id"] == alert["top_event_id"])
    assert top["features"]
    assert top["assessment"]["score"] == alert["score"]
    assert top["assessment"]["reasons"]
    assert top["assessment"]["versions"]["schema"]


@pytest.mark.parametrize(
    "path", ["/v1/alerts/none", "/v1/alerts/%00", "/v1/assessments/none", "/v1/rings/none", "/rings/none/view", "/v2"]
)
def test_what_is_not_there_is_a_404_problem(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_rings_with_members_and_a_page(client: TestClient) -> None:
    rings = client.get("/v1/rings").json()["rings"]
    assert [r["risk"] for r in rings] == sorted((r["risk"] for r in rings), reverse=True)
    for ring in rings[:3]:
        detail = client.get(f"/v1/rings/{ring['ring_id']}").json()
        assert len(detail["ring"]["members"]) == ring["users"]
        page = client.get(f"/rings/{ring['ring_id']}/view")
        assert page.status_code == 200
        assert "script-src 'sha256-" in page.headers["content-security-policy"]
        assert "Born with" in page.text
        found = ask(
            client, "query($id: String!) { ring(id: $id) { summary { id risk } members { user } } }", id=ring["ring_id"]
        )
        assert found["data"]["ring"]["summary"] == {"id": ring["ring_id"], "risk": ring["risk"]}
    assert rings


def test_the_printed_schema_is_the_schema() -> None:
    assert (ROOT / "api" / "schema.graphql").read_text() == schema.as_str() + "\n"


@pytest.mark.parametrize("name", READY)
def test_the_ready_queries_run(client: TestClient, name: str) -> None:
    answer = ask(client, READY[name]["query"], **READY[name]["variables"])
    assert "errors" not in answer
    assert {"timing_us", "degraded", "ring_age_s"} <= answer["extensions"].keys()


def test_graphql_says_what_rest_says(client: TestClient) -> None:
    alert = client.get("/v1/alerts", params={"limit": 1}).json()["alerts"][0]
    found = ask(client, "query($id: String!) { alert(id: $id) { id score accounts } }", id=alert["alert_id"])["data"][
        "alert"
    ]
    assert found == {"id": alert["alert_id"], "score": alert["score"], "accounts": alert.get("accounts", [])}
    page = ask(client, "{ alerts(first: 3) { nodes { id } pageInfo { endCursor hasNextPage } } }")["data"]["alerts"]
    more = ask(
        client,
        "query($after: String) { alerts(first: 3, after: $after) { nodes { id } } }",
        after=page["pageInfo"]["endCursor"],
    )["data"]["alerts"]
    assert not {a["id"] for a in page["nodes"]} & {a["id"] for a in more["nodes"]}


WHY = """query($alert: String, $event: String) {
  explanation(alertId: $alert, eventId: $event) {
    eventId score level action addsUpTo summary peers reasons { contribution }
    evidence { kind entity less share users without { score action } }
    features { name value usual asUsual { score less } }
    others { user things { kind entity } text less share firstAt lastAt events fraud good without { score action } }
    flip { action score changes { kind entity user things { kind entity } feature } }
    habits { kind what value usual }
  }
  replay(alertId: $alert, eventId: $event) { eventId identical taken differences { what } versions { what } trouble }
}"""


ON = """query($k: String!, $id: String!, $since: String!, $until: String!) {
  entity(kind: $k, id: $id) { timeline(first: 200, since: $since, until: $until) { nodes { user } } }
}"""


def test_every_alert_is_explained_and_made_anew_to_the_bit(client: TestClient) -> None:
    others = []
    for alert in all_alerts(client)[:40]:
        found = ask(client, WHY, alert=alert["alert_id"])["data"]
        why, again = found["explanation"], found["replay"]
        assert (why["eventId"], again["eventId"]) == (alert["top_event_id"], alert["top_event_id"])
        assert again == {**again, "identical": True, "differences": [], "versions": [], "trouble": None}
        assert why["score"] == alert["score"]
        assert why["addsUpTo"] == pytest.approx(why["score"], abs=1e-6)
        assert [e["less"] for e in why["evidence"]] == sorted((e["less"] for e in why["evidence"]), reverse=True)
        assert why["peers"] >= 30
        assert f"{why['score']:.2f}" in why["summary"][0]
        if why["flip"] is not None:
            assert why["flip"]["action"] != why["action"]
            assert why["flip"]["changes"]
        others += [(alert["top_event_id"], other) for other in why["others"]]
    assert others
    for event_id, other in others[:40]:
        event = client.get(f"/v1/assessments/{event_id}").json()["event"]
        assert other["user"] != event["entities"]["user"]
        second = {
            "since": other["lastAt"],
            "until": (datetime.fromisoformat(other["lastAt"]) + timedelta(seconds=1)).isoformat(),
        }
        seen = set()
        for thing in other["things"]:
            assert event["entities"][thing["kind"]] == thing["entity"]
            found = ask(client, ON, k=thing["kind"], id=thing["entity"], **second)["data"]["entity"]
            seen |= {e["user"] for e in found["timeline"]["nodes"]}
        assert other["user"] in seen
        assert other["firstAt"] <= other["lastAt"]


def test_an_explanation_is_of_one_event(client: TestClient) -> None:
    event = all_alerts(client)[0]["top_event_id"]
    assert ask(client, WHY, event=event)["data"]["explanation"]["eventId"] == event
    assert ask(client, WHY, event="none")["data"] == {"explanation": None, "replay": None}
    for wrong in ({}, {"event": event, "alert": "a"}):
        assert ask(client, WHY, **wrong)["errors"][0]["extensions"]["code"] == "invalid"
    many = "{" + " ".join(f'a{i}: explanation(eventId: "x") {{ score }}' for i in range(15)) + "}"
    assert "errors" not in ask(client, many)


def test_neighbours_are_bounded_and_say_so(client: TestClient) -> None:
    alert = next(a for a in all_alerts(client) if a["kind"] in ("device", "card", "ip", "address"))
    query = "query($k: String!, $id: String!) { entity(kind: $k, id: $id) { degree neighbours(first: 2) { nodes { id } links { user } cuts } } }"
    found = ask(client, query, k=alert["kind"], id=alert["entity"])["data"]["entity"]
    assert len(found["neighbours"]["nodes"]) <= 2
    assert (found["degree"] > 2) <= bool(found["neighbours"]["cuts"])


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ nothing }", "invalid"),
        ("{", "invalid"),
        ("", "invalid"),
        ("{ alerts(first: 0) { pageInfo { endCursor hasNextPage } } }", "invalid"),
        ("{ alerts(first: 999999999999) { pageInfo { endCursor hasNextPage } } }", "invalid"),
        ('{ alerts(filter: {level: "x"}) { pageInfo { endCursor hasNextPage } } }', "invalid"),
        ('{ entity(kind: "planet", id: "x") { id } }', "invalid"),
        ("{ rings(first: 101) { nodes { id } } }", "invalid"),
        ('{ ring(id: "r", asOf: "soon") { truncated } }', "time"),
        ("subscription { x }", "invalid"),
        ("mutation { x }", "invalid"),
        ("{" + " ".join(f"a{i}: rings {{ id }}" for i in range(16)) + "}", "too_large"),
        ("{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }", "too_large"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "invalid"),
        ("{ rings { nodes { id } } }" + " # " + "x" * 32_000, "too_large"),
        ("{ a" * 100 + "}" * 100, "too_large"),
        ("{ " + "rings { nodes { id } } " * 200 + "}", "invalid"),
    ],
)  # fmt: skip
def test_graphql_refuses_with_a_code(client: TestClient, query: str, code: str) -> None:
    answer = client.post("/graphql", json={"query": query})
    assert answer.status_code in (200, 413)
    body = answer.json()
    found = {e["extensions"]["code"] for e in body["errors"]} if answer.status_code == 200 else {body["code"]}
    assert code in found, body


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"[{}]", b"\xff", b'{"query": 1}', b'{"query": "{a}", "variables": []}', b"null"]
)
def test_a_body_that_is_no_graphql_request(client: TestClient, body: bytes) -> None:
    answer = client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


def test_graphql_takes_json_only(client: TestClient) -> None:
    assert client.post("/graphql", content=b"query=x").status_code == 415


def test_an_unforeseen_error_is_told_by_an_id_only(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("api.reads.alerts", broken)
    rest = client.get("/v1/alerts")
    graph = ask(client, "{ alerts { pageInfo { endCursor hasNextPage } } }")
    assert rest.status_code == 500
    assert rest.json()["error_id"]
    assert graph["errors"][0]["extensions"]["code"] == "internal"
    assert "secret" not in rest.text + str(graph)


def test_status_and_metrics_tell_the_same(client: TestClient) -> None:
    status = client.get("/status").json()
    families = {f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)}
    assert status["alive"]
    assert status["counts"]["assessments"] == 6000 == status["totals"]["ledger"]["assessments"]
    assert status["totals"]["graph"]["links"] > 0
    decisions = families["ringwatch_decisions"].samples
    assert sum(s.value for s in decisions) == 6000
    under = next(iter(families["ringwatch_sla_under_50ms"].samples)).value
    assert under == status["sla"]["under_limit"]
    assert {
        "ringwatch_queue_depth",
        "ringwatch_refusals",
        "ringwatch_stage_seconds",
        "ringwatch_requests",
    } <= families.keys()


@pytest.mark.parametrize("path", ["/", "/docs", "/graphql"])
def test_pages_ask_nothing_of_any_network(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert "://" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/alerts"), ("GET", "/v1/score"), ("PUT", "/status"), ("TRACE", "/"), ("BREW", "/docs")],
)
def test_a_wrong_method_is_a_405_problem(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.json()["code"] == "method"


def test_cors_is_closed(client: TestClient) -> None:
    answer = client.options(
        "/v1/score", headers={"origin": "https://evil.test", "access-control-request-method": "POST"}
    )
    assert answer.status_code == 405
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_an_answer_that_takes_too_long_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    whole = reads.alerts

    def slow(*given: Any, **more: Any) -> Any:
        asked.append("alerts")
        time.sleep(0.3)
        return whole(*given, **more)

    monkeypatch.setattr("api.reads.alerts", slow)
    monkeypatch.setattr("api.finding.search", lambda *_, **__: asked.append("search"))
    with in_process(tmp_path / "data", graphql_deadline_ms=200) as client:
        answer = ask(client, '{ alerts { nodes { id } } search(text: "u") { id } }')
        (error,) = answer["errors"]
        assert (error["extensions"]["code"], error["message"]) == ("timeout", "the answer was not there within 0.2 s")
        assert "ask for less" in error["extensions"]["hint"]
        assert asked == ["alerts"]
        assert "errors" not in ask(client, "{ queues { open } }")

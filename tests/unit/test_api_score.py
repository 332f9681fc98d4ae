"""POST /v1/score, /v1/events, /v1/labels: what is answered, what is refused, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import event, in_process

from api.openapi import BATCH_EXAMPLE, EVENT_EXAMPLE, LABEL_EXAMPLE, LABELS_EXAMPLE

JSON = {"content-type": "application/json"}
CARD = "4539578577663123"[:15]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with in_process(tmp_path_factory.mktemp("api") / "data") as client:
        yield client


def card() -> str:
    from ingest.card_numbers import luhn

    return next(CARD + str(d) for d in range(10) if luhn(CARD + str(d)))


def test_an_event_gives_its_assessment_with_reasons_versions_and_timing(client: TestClient) -> None:
    answer = client.post("/v1/score", json=event("first"))
    body = answer.json()
    assert answer.status_code == 200
    assert body["event_id"] == "e-first"
    assert {"score", "level", "action", "scores", "reasons", "versions", "degraded", "timing_us"} <= body.keys()
    assert "batch;dur=" in answer.headers["server-timing"]


def test_the_same_id_gives_the_same_assessment(client: TestClient) -> None:
    first, second = (client.post("/v1/score", json=event("twice")).content for _ in range(2))
    assert first == second


def test_the_same_id_with_another_body_is_a_conflict(client: TestClient) -> None:
    client.post("/v1/score", json=event("clash"))
    answer = client.post("/v1/score", json=event("clash", amount=1))
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "conflict"


def test_a_batch_goes_on_past_what_is_refused_in_order(client: TestClient) -> None:
    batch = [event("b1"), event("b2", amount=-1), event("b1", amount=99), event("b3", tenant="acme"), 7, event("b1")]
    body = client.post("/v1/score", json=batch).json()
    assert [r["status"] for r in body["results"]] == [200, 422, 409, 403, 422, 200]
    assert body["results"][0]["assessment"] == body["results"][5]["assessment"]
    assert {"timing_us", "degraded", "ring_age_s"} <= body.keys()
    assert body["results"][0]["assessment"]["embedding_age_s"] is None, "no graph network was asked"


def test_a_dry_run_changes_nothing(client: TestClient) -> None:
    looked = client.post("/v1/score?dry_run=true", json=event("dry"))
    assert looked.status_code == 200
    assert client.get("/v1/assessments/e-dry").status_code == 404
    scored = client.post("/v1/score", json=event("dry")).json()
    assert scored["score"] == looked.json()["score"]
    seen = client.post("/v1/score?dry_run=true", json=event("dry")).json()
    assert seen == scored
    assert client.post("/v1/score?dry_run=true", json=event("dry", amount=1)).status_code == 409


def test_a_card_number_is_refused_and_not_echoed(client: TestClient) -> None:
    for body in (event("card", card=card()), event("card", amount=card()), [event(card(), user="x")], {card(): 1}):
        answer = client.post("/v1/score", json=body)
        assert card() not in answer.text
        assert "[card number]" in answer.text or answer.json().get("code") == "card_number"


def test_a_time_over_five_minutes_ahead_is_refused(client: TestClient) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=6)).isoformat()
    near = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
    assert client.post("/v1/score", json=event("ahead", at=ahead)).json()["code"] == "time"
    assert client.post("/v1/score?dry_run=true", json=event("near", at=near)).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"", JSON, 400),
        (b'"\xff"', JSON, 400),
        (b"[" * 5000, JSON, 400),
        (b'{"a":' * 900 + b"1" + b"}" * 900, JSON, 422),
        (b"[]", JSON, 422),
        (b"3", JSON, 422),
        (b"{}", JSON, 422),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b"{}", {"content-type": "application/json; charset=latin-1"}, 415),
        (b"{}", {**JSON, "content-encoding": "gzip"}, 415),
        (b'{"event_id":"' + b"x" * 1_000_001 + b'"}', JSON, 413),
        (b" " * 16_000_001, JSON, 413),
        (json.dumps([event(i) for i in range(1001)]).encode(), JSON, 422),
    ],
)
def test_bodies_that_are_none(client: TestClient, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = client.post("/v1/score", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status


@pytest.mark.parametrize("query", ["dry_run=maybe", "dryrun=true", "dry_run=true&dry_run=false"])
def test_a_slip_in_the_query_is_refused(client: TestClient, query: str) -> None:
    assert client.post(f"/v1/score?{query}", json=event("slip")).status_code == 422
    assert client.get("/v1/assessments/e-slip").status_code == 404


def test_events_are_kept_when_acknowledged(client: TestClient) -> None:
    answer = client.post("/v1/events", json=[event("kept"), event("kept-2", amount="x")])
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    assert [r["status"] for r in answer.json()["results"]] == [202, 422]
    found = client.get("/v1/assessments/e-kept").json()
    assert found["event"]["event_id"] == "e-kept"
    assert found["assessment"]["event_id"] == "e-kept"
    assert "event.amount_minor" in found["features"] or found["features"]


def test_a_label_needs_its_event(client: TestClient) -> None:
    label = {**LABEL_EXAMPLE, "label_of": {"event": "e-nowhere"}}
    assert client.post("/v1/labels", json=label).status_code == 404
    client.post("/v1/score", json=event("labelled"))
    for _ in range(2):
        assert client.post("/v1/labels", json={**label, "label_of": {"event": "e-labelled"}}).status_code == 202
    assert client.get("/status").json()["counts"]["labels"] == 1


def test_labels_and_events_are_told_where_they_belong(client: TestClient) -> None:
    untyped = {name: value for name, value in LABEL_EXAMPLE.items() if name != "type"}
    for path in ("/v1/score", "/v1/events"):
        for label in (LABEL_EXAMPLE, untyped, {**event("no"), **LABEL_EXAMPLE}):
            refused = client.post(path, json=label)
            assert refused.status_code == 422
            assert (refused.json()["detail"], refused.json()["hint"]) == (
                "this is a label, not an event",
                "send it to /v1/labels",
            )
        carried = client.post(path, json=event("no", label="fraud"))
        assert carried.status_code == 422
        assert carried.json()["detail"] == "an event has no field 'label'"
    assert client.get("/v1/assessments/e-no").status_code == 404
    assert client.post("/v1/labels", json=event("no")).json()["hint"] == "send it to /v1/score or /v1/events"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/score", EVENT_EXAMPLE, 200),
        ("/v1/score", BATCH_EXAMPLE, 200),
        ("/v1/events", EVENT_EXAMPLE, 202),
        ("/v1/events", BATCH_EXAMPLE, 202),
        ("/v1/labels", LABEL_EXAMPLE, 202),
        ("/v1/labels", LABELS_EXAMPLE, 202),
    ],
)
def test_every_example_of_the_document_works(client: TestClient, path: str, body: Any, status: int) -> None:
    document = client.get("/openapi.json").json()
    examples = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert body in [example["value"] for example in examples.values()]
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert "problem" not in answer.text

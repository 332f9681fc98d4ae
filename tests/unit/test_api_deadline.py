"""The time of an answer ends what is read, and never what has begun to be written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import event, in_process

from api import closing
from desk.store import Desk

S = 0.5
CASE = "{ __typename ... on Case { id status outcome notes { text } accounts } ... on Refused { message } }"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with in_process(tmp_path / "data", graphql_deadline_ms=int(S * 1e3)) as client:
        yield client


def ask(client: TestClient, query: str) -> dict[str, Any]:
    found: dict[str, Any] = client.post("/graphql", json={"query": query}).json()
    return found


def a_case(client: TestClient) -> str:
    ask(
        client,
        'mutation { decide(input: {verdict: "block", kind: "device", id: "d", reason: "stolen"}) { __typename } }',
    )
    for n in range(4):
        assert client.post("/v1/score", json=event(n, device="d")).status_code == 200
    for _ in range(200):
        answer = ask(client, "{ cases { nodes { id } } }")
        if "errors" not in answer and answer["data"]["cases"]["nodes"]:
            return str(answer["data"]["cases"]["nodes"][0]["id"])
        time.sleep(0.05)
    raise AssertionError("no case came")


def test_what_was_written_is_answered_even_when_the_time_is_over(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, whole = a_case(client), Desk.append

    def slow(*given: Any) -> Any:
        time.sleep(S * 1.5)
        return whole(*given)

    monkeypatch.setattr(Desk, "append", slow)
    answer = ask(client, f'mutation {{ noteCase(id: "{case}", text: "seen") {CASE} }}')
    assert "errors" not in answer, answer
    assert answer["data"]["noteCase"]["notes"] == [{"text": "seen"}]


def test_a_case_whose_labels_were_given_is_closed_even_when_the_time_is_over(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, whole = a_case(client), client.here.engine.submit_from  # type: ignore[attr-defined]

    def slow(labels: Any) -> Any:
        done = whole(labels)
        time.sleep(S * 1.5)
        return done

    monkeypatch.setattr(client.here.engine, "submit_from", slow)  # type: ignore[attr-defined]
    answer = ask(client, f'mutation {{ closeCase(id: "{case}", outcome: "fraud", reason: "seen") {CASE} }}')
    assert "errors" not in answer, answer
    closed = answer["data"]["closeCase"]
    assert (closed["status"], closed["outcome"]) == ("closed", "fraud")


def test_nothing_is_written_that_begins_too_late(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    case, whole = a_case(client), closing.cases.check_close

    def slow(*given: Any) -> Any:
        time.sleep(S * 1.5)
        return whole(*given)

    monkeypatch.setattr(closing.cases, "check_close", slow)
    answer = ask(client, f'mutation {{ closeCase(id: "{case}", outcome: "fraud", reason: "seen") {CASE} }}')
    assert [e["extensions"]["code"] for e in answer["errors"]] == ["timeout"]
    status = ask(client, f'{{ case(id: "{case}") {{ status }} }}')
    assert status["data"]["case"]["status"] == "open"


def test_the_next_answer_has_all_its_time_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    case, whole = a_case(client), Desk.append

    def slow(*given: Any) -> Any:
        time.sleep(S * 1.5)
        return whole(*given)

    with monkeypatch.context() as patched:
        patched.setattr(Desk, "append", slow)
        ask(client, f'mutation {{ noteCase(id: "{case}", text: "seen") {CASE} }}')
    read = client.here.desk.reading  # type: ignore[attr-defined]

    def slow_read() -> Any:
        time.sleep(S * 1.5)
        return read()

    monkeypatch.setattr(client.here.desk, "reading", slow_read)  # type: ignore[attr-defined]
    answer = ask(client, f'{{ case(id: "{case}") {{ status notes {{ text }} }} }}')
    assert {e["extensions"]["code"] for e in answer["errors"]} == {"timeout"}

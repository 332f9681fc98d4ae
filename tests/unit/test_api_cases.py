"""Cases over GraphQL: an alert becomes one, somebody works on it, and what it came to is a label."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import in_process

START = datetime(2026, 1, 1, tzinfo=UTC)
CASE = """id kind entity ring queue status level priority alertCount events accountCount overdue claimedBy outcome version
  snoozedUntil alerts(first: 5) { id } accounts notes { number who text }"""
RESULT = f"{{ __typename ... on Case {{ {CASE} }} ... on Refused {{ code message hint field }} }}"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with in_process(tmp_path_factory.mktemp("cases") / "data", snapshot_interval_s=3600.0) as client:
        block = (
            'mutation { decide(input: {verdict: "block", kind: "device", id: "d-1", reason: "stolen"}) { __typename } }'
        )
        assert ask(client, block) == {"decide": {"__typename": "Act"}}
        for n in range(12):
            send(client, f"e-{n}", START + timedelta(minutes=n), user=f"u-{n % 6}", device="d-1", card=f"c-{n}")
        yield client


def send(client: TestClient, id_: str, at: datetime, **entities: str) -> dict[str, Any]:
    body = {"event_id": id_, "type": "payment", "at": at.isoformat(), "amount": 90.0, **entities}
    answer = client.post("/v1/score", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ask(client: TestClient, query: str, **variables: Any) -> Any:
    answer = client.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def queue(client: TestClient, **wanted: Any) -> list[dict[str, Any]]:
    asked = f"query($f: CaseFilter) {{ cases(filter: $f) {{ nodes {{ {CASE} }} }} }}"
    found: list[dict[str, Any]] = ask(client, asked, f=wanted)["cases"]["nodes"]
    return found


def first_case(client: TestClient) -> dict[str, Any]:
    """Once the alerts have become cases."""
    for _ in range(200):
        if found := queue(client):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"no case came: {client.here.cases.trouble}")  # type: ignore[attr-defined]


def do(client: TestClient, name: str, **given: Any) -> dict[str, Any]:
    kinds = {"minutes": "Int", "version": "Int", "accounts": "[String!]"}
    heads = ", ".join(f"${k}: {kinds.get(k, 'String!')}" for k in given)
    pairs = ", ".join(f"{k}: ${k}" for k in given)
    found: dict[str, Any] = ask(client, f"mutation({heads}) {{ {name}({pairs}) {RESULT} }}", **given)[name]
    return found


def test_an_investigator_works_on_a_case_to_its_end(client: TestClient) -> None:
    case = first_case(client)
    assert case["status"] == "open"
    assert case["alerts"]
    assert case["alertCount"] >= 1
    assert case["accountCount"] == len(case["accounts"]) >= 2
    taken = do(client, "claimCase", id=case["id"], minutes=30, version=case["version"])
    assert taken["claimedBy"] == "local"
    assert queue(client, mine=True)[0]["id"] == case["id"]
    assert not [x for x in queue(client, unclaimed=True) if x["id"] == case["id"]]
    noted = do(client, "noteCase", id=case["id"], text="one device, six accounts")
    assert noted["notes"] == [{"number": 1, "who": "local", "text": "one device, six accounts"}]
    stale = do(client, "closeCase", id=case["id"], outcome="fraud", reason="proved", version=case["version"])
    assert (stale["__typename"], stale["code"]) == ("Refused", "conflict")
    closed = do(client, "closeCase", id=case["id"], outcome="fraud", reason="proved", version=noted["version"])
    assert (closed["status"], closed["outcome"], closed["claimedBy"]) == ("closed", "fraud", None)
    send(client, "after", START + timedelta(minutes=30), user="u-new", device="d-1", card="c-new")
    told = ask(client, 'query { assessment(eventId: "after") { features { name value } } }')["assessment"]["features"]
    assert next(f["value"] for f in told if f["name"] == "device.fraud_neighbours") == 6.0, "labels count"
    assert not [x for x in queue(client) if x["id"] == case["id"]]
    trail = ask(client, "query($i: String) { audit(target: $i) { nodes { did who why } } }", i=case["id"])
    assert [e["did"] for e in trail["audit"]["nodes"]] == ["case.close", "case.note", "case.claim"]
    assert ask(client, "query($i: String!) { case(id: $i) { status } }", i=case["id"])["case"]["status"] == "closed"
    assert do(client, "reopenCase", id=case["id"], reason="new evidence")["status"] == "open"
    report = {r["queue"]: r for r in ask(client, "query { queues { queue slaH open overdue } }")["queues"]}
    assert report["now"]["slaH"] == 4.0


def test_a_case_sleeps_and_wakes(client: TestClient) -> None:
    case = first_case(client)
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert do(client, "snoozeCase", id=case["id"], until=until, reason="asked the bank")["snoozedUntil"]
    assert case["id"] not in [x["id"] for x in queue(client)]
    assert case["id"] in [x["id"] for x in queue(client, snoozed=True)]
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert do(client, "snoozeCase", id=case["id"], until=past, reason="they answered")["snoozedUntil"] is None
    assert case["id"] in [x["id"] for x in queue(client)]


def test_pages_of_the_queue_go_on_where_they_ended(client: TestClient) -> None:
    first_case(client)
    seen: list[str] = []
    after = None
    while True:
        page = ask(
            client,
            "query($a: String) { cases(first: 1, after: $a) { nodes { id } pageInfo { endCursor hasNextPage } } }",
            a=after,
        )["cases"]
        seen += [x["id"] for x in page["nodes"]]
        after = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] else None
        if after is None:
            break
    assert seen == [x["id"] for x in queue(client)]


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("claimCase", {"id": "none", "minutes": 30}, "not_found"),
        ("claimCase", {"id": "", "minutes": 0}, "invalid"),
        ("closeCase", {"id": "none", "outcome": "fraud", "reason": "why"}, "not_found"),
        ("noteCase", {"id": "none", "text": " "}, "invalid"),
        ("snoozeCase", {"id": "none", "until": "soon", "reason": "why"}, None),
    ],
)
def test_what_cannot_be_done_is_said_as_a_value(
    client: TestClient, name: str, given: dict[str, Any], code: str | None
) -> None:
    found = do(client, name, **given)
    assert found["__typename"] == "Refused"
    assert code is None or found["code"] == code


def test_labels_that_cannot_be_leave_the_case_open(client: TestClient) -> None:
    case = first_case(client)
    found = do(client, "closeCase", id=case["id"], outcome="fraud", reason="why", accounts=["ok", ""])
    assert (found["code"], found["field"]) == ("invalid", "accounts")
    assert ask(client, "query($i: String!) { case(id: $i) { status } }", i=case["id"])["case"]["status"] == "open"


def test_a_key_that_may_only_read_works_on_nothing_and_another_tenant_sees_nothing(client: TestClient) -> None:
    case = first_case(client)
    keys = client.here.access.keys  # type: ignore[attr-defined]
    body = {"query": f"mutation($i: String!) {{ claimCase(id: $i) {RESULT} }}", "variables": {"i": case["id"]}}
    for name, tenant, scopes in (("mine", "default", ("read",)), ("theirs", "acme", ("read", "act"))):
        headers = {"x-api-key": keys.create(tenant, name, scopes)[1]}
        answer = client.post("/graphql", json=body, headers=headers).json()
        if tenant == "default":
            assert answer["errors"][0]["extensions"]["code"] == "denied"
        else:
            assert answer["data"]["claimCase"]["code"] == "not_found"
            seen = client.post(
                "/graphql", json={"query": "{ cases { nodes { id } } queues { open } }"}, headers=headers
            )
            assert seen.json()["data"] == {"cases": {"nodes": []}, "queues": [{"open": 0}, {"open": 0}]}
        keys.revoke(name)
    (client.service.settings.data_dir / "api-keys.json").unlink()  # type: ignore[attr-defined]

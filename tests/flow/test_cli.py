"""The commands as people and programs use them, one after the other on real stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingest.folder import DataFolder
from tests.support.cli import Done, ringwatch

EVENTS = 4000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    data = tmp_path_factory.mktemp("demo") / "data"
    return data, ringwatch("demo", "--data-dir", data, "--events", EVENTS)


@pytest.fixture(scope="module")
def market(demo: tuple[Path, Done]) -> list[bytes]:
    """The demo's events, one native JSON line each."""
    (file,) = demo[0].glob("market/*/events.jsonl")
    return [line for line in file.read_bytes().splitlines() if b'"label"' not in line]


def test_demo_ends_by_itself_and_shows_what_was_found(demo: tuple[Path, Done]) -> None:
    data, done = demo
    assert done.code == 0, done.err
    assert "simulated" in done.err
    assert "CRITICAL" in done.out + done.err
    assert "ringwatch map" in done.err
    assert (data / "ledger.sqlite").exists()


def test_a_second_demo_in_the_same_folder_goes_on_and_repeats_nothing(demo: tuple[Path, Done]) -> None:
    again = ringwatch("demo", "--data-dir", demo[0], "--events", EVENTS)
    assert again.code == 0
    assert "ingested before: nothing to do" in again.err


def test_a_folder_in_use_is_refused_with_what_to_do(demo: tuple[Path, Done]) -> None:
    holder = DataFolder(demo[0])
    try:
        done = ringwatch("demo", "--data-dir", demo[0], "--events", EVENTS)
    finally:
        holder.close()
    assert done.code == 2
    assert "in use by process" in done.err
    assert "--data-dir" in done.err


def test_alerts_for_people_and_programs(demo: tuple[Path, Done]) -> None:
    text = ringwatch("alerts", "--data-dir", demo[0], "--level", "high")
    assert text.code == 0
    assert "HIGH" in text.out
    rows = ringwatch("alerts", "--data-dir", demo[0], "--json", "--limit", 5).lines()
    assert len(rows) == 5
    assert {"alert_id", "level", "entity", "reason", "text", "events"} <= set(rows[0])
    digest = ringwatch("alerts", "--data-dir", demo[0], "--digest")
    assert "Digest" in digest.out
    assert ringwatch("alerts", "--data-dir", demo[0], "--level", "huge").code == 2


def test_score_writes_an_assessment_a_line_and_read_only_changes_nothing(
    demo: tuple[Path, Done], market: list[bytes]
) -> None:
    new = [json.loads(line) | {"event_id": f"again-{i}"} for i, line in enumerate(market[-50:])]
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in new)
    first = ringwatch("score", "--read-only", "--data-dir", demo[0], stdin=lines)
    second = ringwatch("score", "--read-only", "--data-dir", demo[0], stdin=lines)
    assert first.code == 0, first.err
    assert [row["event_id"] for row in first.lines()] == [event["event_id"] for event in new]
    assert [row["score"] for row in first.lines()] == [row["score"] for row in second.lines()]
    written = ringwatch("score", "--data-dir", demo[0], stdin=lines).lines()
    assert written[0]["score"] == first.lines()[0]["score"]
    assert ringwatch("score", "--data-dir", demo[0], stdin=lines).lines() == written, "a redelivery gets the stored one"


def test_score_refuses_bad_lines_and_scores_the_rest(tmp_path: Path, market: list[bytes]) -> None:
    good = json.loads(market[0])
    changed = {**good, "amount_minor": 12345, "type": "payment"}
    bad = [
        b"{",
        b"\xff\xfe\n",
        b'{"event_id": "x", "type": "teleport"}',
        b"[]",
        b"nonsense",
        json.dumps(changed).encode(),
    ]
    done = ringwatch("score", "--data-dir", tmp_path / "d", stdin=b"\n".join([market[0], *bad, market[1]]) + b"\n")
    assert done.code == 0
    assert len(done.lines()) == 2
    refused = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert len(refused) >= len(bad)
    assert {"refused", "code", "record"} <= set(refused[0])
    assert any(row["code"] == "conflict" for row in refused)
    letters = [json.loads(line) for line in (tmp_path / "d" / "dead-letters.jsonl").read_bytes().splitlines()]
    assert len(letters) == len(refused)
    assert all(letter["reason"] and letter["position"] for letter in letters)


def test_ingest_goes_on_over_bad_records_and_counts_them(tmp_path: Path, market: list[bytes]) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([*market[:300], b'{"type": "payment"}', *market[300:600], b'{"torn": ']))
    done = ringwatch("ingest", file, "--data-dir", tmp_path / "d", "--json")
    assert done.code == 0, done.err
    assert (done.json()["events"], done.json()["refusals"]) == (600, 2)
    again = ringwatch("ingest", file, "--data-dir", tmp_path / "d", "--json").json()
    assert (again["already_finished"], again["events"]) == (True, 0)
    for letter in map(json.loads, (tmp_path / "d" / "dead-letters.jsonl").read_bytes().splitlines()):
        assert letter["raw"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["ingest", "nowhere.jsonl"], "nowhere.jsonl"),
        (["ingest", "events.csv", "--map", "absent.yaml"], "absent.yaml"),
        (["backtest", "nowhere.csv"], "nowhere.csv"),
        (["map", "nowhere.csv"], "nowhere.csv"),
        (["alerts"], "no ledger"),
        (["reset", "--yes"], "not a Ringwatch data folder"),
        (["ingest"], "Missing argument"),
        (["fly"], "No such command"),
    ],
)
def test_wrong_usage_is_told_in_a_line(args: list[str], says: str, tmp_path: Path) -> None:
    done = ringwatch(*args, cwd=tmp_path)
    assert done.code == 2
    assert says in done.err


def test_settings_hide_secrets_and_name_the_bad_one() -> None:
    done = ringwatch("settings", "--json", token_key="very-secret", max_entities=5000)
    assert "very-secret" not in done.out + done.err
    (row,) = (r for r in done.json() if r["name"] == "RINGWATCH_MAX_ENTITIES")
    assert (row["value"], row["source"]) == ("5000", "environment")
    wrong = ringwatch("settings", max_entities="many")
    assert wrong.code == 2
    assert "RINGWATCH_MAX_ENTITIES" in wrong.err


def test_doctor_finds_a_whole_installation(demo: tuple[Path, Done]) -> None:
    done = ringwatch("doctor", "--data-dir", demo[0])
    assert done.code == 0, done.out
    assert "assessments" in done.out


def test_reset_empties_a_folder_of_ours_only(tmp_path: Path, market: list[bytes]) -> None:
    data = tmp_path / "d"
    ringwatch("score", "--data-dir", data, stdin=market[0] + b"\n")
    assert ringwatch("reset", "--data-dir", data, "--yes").code == 0
    assert {p.name for p in data.iterdir()} <= {"owner.lock"}
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    assert ringwatch("reset", "--data-dir", foreign, "--yes").code == 2
    assert (foreign / "thesis.txt").exists()
    assert ringwatch("score", "--data-dir", foreign, stdin=market[0] + b"\n").code == 2


def test_simulate_writes_events_and_truth(tmp_path: Path) -> None:
    done = ringwatch("simulate", "--out", tmp_path / "m", "--events", 2000, "--seed", 3, "--json")
    assert done.code == 0, done.err
    assert done.json()["events"] > 1000
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"events.jsonl", "truth_events.csv", "truth_rings.jsonl"}

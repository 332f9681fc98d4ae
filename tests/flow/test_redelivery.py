"""Files that come again, grown or corrected, pipes, and what `score --read-only` says: the same however it is cut."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.cli import ringwatch

START = datetime(2026, 1, 1, tzinfo=UTC)
MAPPING = """
type: payment
event_id: id
time: {column: at}
entities: {user: who, device: on}
amount: {column: paid, unit: major, currency: EUR}
label: {column: verdict, fraud: ["1"], good: ["0"], delay: 0}
"""


def table(n: int, first_verdict: int = 0) -> str:
    rows = [
        f"x{i},{START + timedelta(hours=i):%Y-%m-%dT%H:%M:%SZ},u{i % 17},d{i % 5},{i},{first_verdict if i == 0 else i % 2}"
        for i in range(n)
    ]
    return "\n".join(["id,at,who,on,paid,verdict", *rows]) + "\n"


def count(data: Path, what: str) -> int:
    with sqlite3.connect(data / "ledger.sqlite") as ledger:
        return int(ledger.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


@pytest.mark.parametrize("batch", [1, 1000])
def test_a_file_that_has_grown_adds_what_is_new(tmp_path: Path, batch: int) -> None:
    file, mapping, data = tmp_path / "a.csv", tmp_path / "m.yaml", tmp_path / "d"
    mapping.write_text(MAPPING)
    file.write_text(table(300))
    assert ringwatch("ingest", file, "--map", mapping, "--data-dir", data, batch_events=batch).code == 0
    file.write_text(table(301))
    done = ringwatch("ingest", file, "--map", mapping, "--data-dir", data, "--json", batch_events=batch).json()
    assert (done["events"], done["labels"], done["refusals"], done["duplicates"]) == (1, 1, 0, 600)
    file.write_text(table(301, first_verdict=1))
    done = ringwatch("ingest", file, "--map", mapping, "--data-dir", data, "--json", batch_events=batch).json()
    assert (done["events"], done["labels"], done["refusals"]) == (0, 1, 0)
    assert (count(data, "assessments"), count(data, "labels")) == (301, 302)


def test_a_pipe_is_read_from_its_beginning_each_time(tmp_path: Path) -> None:
    mapping, data = tmp_path / "m.yaml", tmp_path / "d"
    mapping.write_text(MAPPING)
    args = ("ingest", "-", "--map", mapping, "--data-dir", data, "--json")
    assert ringwatch(*args, stdin=table(50).encode()).json()["events"] == 50
    done = ringwatch(*args, stdin=table(60).encode()).json()
    assert (done["events"], done["duplicates"], done["already_finished"]) == (10, 100, False)


def test_a_change_anywhere_in_a_file_makes_it_another(tmp_path: Path) -> None:
    file, mapping, data = tmp_path / "a.csv", tmp_path / "m.yaml", tmp_path / "d"
    mapping.write_text(MAPPING)
    text = table(3000)
    file.write_text(text)
    ringwatch("ingest", file, "--map", mapping, "--data-dir", data)
    file.write_text(text.replace("x2999,", "y2999,"))
    done = ringwatch("ingest", file, "--map", mapping, "--data-dir", data, "--json").json()
    assert done["events"] == 1


def native(event_id: str, user: str, hour: int) -> bytes:
    row = {"event_id": event_id, "type": "payment", "at": f"2026-01-01T{hour:02}:00:00Z", "user": user, "device": "d"}
    return json.dumps(row).encode()


def test_read_only_answers_do_not_depend_on_what_arrives_together(tmp_path: Path) -> None:
    lines = b"\n".join(native(f"e{i}", f"u{i % 9}", i % 24) for i in range(60))
    args = ("score", "--read-only", "--data-dir", tmp_path / "d")
    one, many = (ringwatch(*args, stdin=lines, batch_events=batch).lines() for batch in (1, 1000))
    assert [a["score"] for a in one] == [a["score"] for a in many]
    assert len({a["score"] for a in one}) == 1


def test_read_only_knows_redeliveries_and_conflicts(tmp_path: Path) -> None:
    data = tmp_path / "d"
    first = ringwatch("score", "--data-dir", data, stdin=native("e1", "ann", 1)).lines()
    again = ringwatch("score", "--read-only", "--data-dir", data, stdin=native("e1", "ann", 1))
    assert again.lines() == first
    other = ringwatch("score", "--read-only", "--data-dir", data, stdin=native("e1", "bob", 1))
    assert other.lines() == []
    assert json.loads(other.err)["code"] == "conflict"
    both = native("n1", "ann", 2) + b"\n" + native("n1", "bob", 2)
    seen = ringwatch("score", "--read-only", "--data-dir", data, stdin=both).lines()
    assert [a["user"] for a in seen] == ["ann", "bob"]


def test_new_alerts_are_counted_as_the_ledger_counts_them(tmp_path: Path) -> None:
    ringwatch("simulate", "--out", tmp_path / "m", "--events", 7000)
    file = tmp_path / "m" / "events.jsonl"
    found = []
    for batch in (7, 1000):
        data = tmp_path / f"d{batch}"
        done = ringwatch("ingest", file, "--data-dir", data, "--json", batch_events=batch).json()
        assert sum(done["alerts"].values()) == count(data, "alerts")
        found.append({level: n for level, n in done["alerts"].items() if n})
    assert found[0] == found[1]

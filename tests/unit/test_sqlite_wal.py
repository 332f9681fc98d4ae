"""SQLite's log is checkpointed beside the writer, stays bounded, and costs nothing that was committed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.streams import stream

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.stream import ScoringStream
from ledger import sqlite_wal
from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite
from scorers.assess import Assessor
from scorers.policy import Policy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()
PAGE = 4096


def test_the_log_stays_bounded_while_readers_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_wal, "_EVERY", 20)
    monkeypatch.setattr(sqlite_wal, "_MOST", 100)
    path = tmp_path / "ledger.sqlite"
    ledger, reader = SqlLedger(f"sqlite:///{path}", SCHEMA), SqlLedger(f"sqlite:///{path}", SCHEMA)
    ledger.prepare()
    scoring = ScoringStream(MemoryState(SCHEMA, max_entities=5000), Assessor(build_scorers(), Policy(), SCHEMA))
    items = list(enumerate(stream(5, 1500)))
    largest, seen = 0, 0
    for start in range(0, len(items), 5):
        ledger.write(LedgerWrite(scoring.feed(items[start : start + 5])))
        largest = max(largest, path.with_name("ledger.sqlite-wal").stat().st_size)
        if start % 250 == 0:
            now = reader.counts()["assessments"]
            assert now >= seen
            seen = now
    total = path.stat().st_size
    assert total > 3_000_000, "most of it is in the database, not in the log"
    assert largest < 400 * PAGE
    digest = ledger.logical_digest()
    ledger.close()
    reader.close()
    again = SqlLedger(f"sqlite:///{path}", SCHEMA)
    assert again.logical_digest() == digest
    again.close()

"""Decisions are written behind the scorer: in order, together where they gather, and loudly when a store fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.streams import stream

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from graph.writer import GraphWriter
from ingest.dead_letter import DeadLetterFile
from ingest.outlets import Outlets
from ingest.stream import ScoringStream
from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite, Progress
from ringwatch.errors import Unavailable
from ringwatch.model import Refusal
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()


class Ledger(SqlLedger):
    """Counts its transactions; waits, or has no room, when told to."""

    def __init__(self, url: str) -> None:
        super().__init__(url, SCHEMA)
        self.open = threading.Event()
        self.open.set()
        self.full = False
        self.transactions: list[int] = []

    def write(self, *writes: LedgerWrite) -> None:
        self.open.wait(10)
        if self.full:
            raise Unavailable("the ledger cannot be written: disk full")
        self.transactions.append(len(writes))
        super().write(*writes)


@pytest.fixture(scope="module")
def pieces() -> list[Decisions]:
    scoring = ScoringStream(MemoryState(SCHEMA, max_entities=5000), Assessor(build_scorers(), Policy(), SCHEMA))
    items = list(enumerate(stream(5, 60)))
    return [scoring.feed(items[i : i + 10]) for i in range(0, 60, 10)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    made.prepare()
    return made


@pytest.fixture
def outlets(ledger: Ledger, tmp_path: Path) -> Iterator[Outlets]:
    made = Outlets(ledger, None, DeadLetterFile(tmp_path / "dead.jsonl", counted=0))
    yield made
    ledger.open.set()
    made.close()
    made.dead_letters.close()


def write_of(decisions: Decisions) -> LedgerWrite:
    return LedgerWrite(decisions, Progress("s", "s", 0, int(decisions.seq[-1])))


def test_what_gathers_while_the_ledger_is_busy_shares_a_transaction(
    outlets: Outlets, ledger: Ledger, pieces: list[Decisions], tmp_path: Path
) -> None:
    seen: list[int] = []
    outlets.written = lambda write, spent: seen.append(int(write.decisions.seq[0]))  # type: ignore[union-attr]
    ledger.open.clear()
    futures = [outlets.put(write_of(piece)) for piece in pieces[:2]]
    assert not any(future.done() for future in futures)
    ledger.open.set()
    outlets.flush()
    futures += [outlets.put(write_of(piece)) for piece in pieces[2:]]
    outlets.flush()
    assert all(future.result()["ledger"] > 0.0 for future in futures)
    assert seen == [int(piece.seq[0]) for piece in pieces], "in the order they were put"
    assert sum(ledger.transactions) == len(pieces)
    together = ledger.logical_digest()
    alone = Ledger(f"sqlite:///{tmp_path / 'alone.sqlite'}")
    alone.prepare()
    for piece in pieces:
        alone.write(write_of(piece))
    assert alone.logical_digest() == together


def test_several_writes_of_one_transaction_are_all_there_or_none(ledger: Ledger, pieces: list[Decisions]) -> None:
    twice = write_of(pieces[0])
    with pytest.raises(Exception, match=r"UNIQUE constraint"):
        ledger.write(twice, write_of(pieces[1]), twice)
    assert ledger.counts()["assessments"] == 0
    refused = Refusal("no", "s", 1, b"x", "invalid")
    ledger.write(LedgerWrite(pieces[0], refusals=[refused]), LedgerWrite(pieces[1], refusals=[refused, refused]))
    assert ledger.refusals() == 3
    ledger.close()


def test_when_the_ledger_fails_nothing_more_is_written(
    outlets: Outlets, ledger: Ledger, pieces: list[Decisions]
) -> None:
    outlets.put(write_of(pieces[0])).result()
    ledger.full = True
    with pytest.raises(Unavailable, match="disk full"):
        outlets.put(write_of(pieces[1])).result()
    ledger.full = False
    with pytest.raises(Unavailable, match="disk full"):
        outlets.put(write_of(pieces[2]))
    with pytest.raises(Unavailable, match="disk full"):
        outlets.flush()
    assert ledger.last_seq() == 9, "memory is ahead of the ledger: a gap must not be written over"


class Stopped(GraphWriter):
    """A graph writer whose store failed."""

    def __init__(self) -> None:
        pass

    def submit(self, decisions: Decisions) -> None:
        raise OSError("no space left on device")

    def close(self) -> None:
        pass


def test_when_the_graph_fails_the_ledger_goes_on(ledger: Ledger, pieces: list[Decisions], tmp_path: Path) -> None:
    outlets = Outlets(ledger, Stopped(), DeadLetterFile(tmp_path / "dead.jsonl", counted=0))
    for piece in pieces:
        outlets.put(write_of(piece))
    outlets.flush()
    assert ledger.last_seq() == 59
    with pytest.raises(OSError, match="no space left"):
        outlets.check_graph()
    outlets.close()
    outlets.dead_letters.close()

"""The ledger on PostgreSQL: months, several writers, retention beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import psycopg
import pytest
from support.backends import PostgresBackend
from support.ledgers import fresh_database, fresh_ledger, scored

from features.schema import FeatureSchema
from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite, Progress, Written
from ledger.tables import partitioned_assessments
from ringwatch.errors import Conflict, Unavailable
from ringwatch.model import DAY_US, Alert, Versions
from scorers.decision import Decisions

pytestmark = pytest.mark.backends
SCHEMA = FeatureSchema()


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return scored(600)


@pytest.fixture
def url(postgres_server: PostgresBackend) -> Iterator[str]:
    with fresh_ledger(postgres_server) as found:
        yield found


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], SqlLedger]]:
    """Opens ledgers on one database, as so many processes would."""
    every: list[SqlLedger] = []

    def open_ledger() -> SqlLedger:
        every.append(SqlLedger(url, SCHEMA))
        return every[-1]

    yield open_ledger
    for ledger in every:
        ledger.close()


def at(decisions: Decisions, times_us: list[int], prefix: str = "e", seq: int = 0) -> Decisions:
    """Decisions of so many events, at these times."""
    some = decisions.select(0, len(times_us))
    events = [msgspec.structs.replace(e, event_id=f"{prefix}{i}", at_us=times_us[i]) for i, e in enumerate(some.events)]
    return replace(some, events=events, seq=np.arange(seq, seq + len(times_us)))


def time_us(*of: int) -> int:
    return int(datetime(*of, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc]


def months(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'assessments'::regclass ORDER BY 1"
        ).fetchall()
    return [row[0] for row in rows]


def together(*calls: Callable[[], object]) -> list[object]:
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], object]) -> object:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(one, call) for call in calls]]


def test_equal_ledgers_have_equal_digests_on_either_engine(url: str, tmp_path: Path, decisions: Decisions) -> None:
    digests = []
    for place in (url, f"sqlite:///{tmp_path / 'ledger.sqlite'}"):
        with closing(SqlLedger(place, SCHEMA)) as ledger:
            ledger.prepare()
            alerts = [Alert(f"{i:x}", "t", "user", "u", "r", i, i, 1, 0.5, "HIGH", "now", "why") for i in range(40)]
            pairs = [(a.alert_id, f"é{i}") for a in alerts for i in range(3)]
            ledger.write(LedgerWrite(decisions, Progress("s", "s", 9, 9), alerts=alerts, alert_events=pairs))
            digests.append(ledger.logical_digest())
    assert digests[0] == digests[1]


def test_every_month_has_a_partition_of_its_own(
    url: str, opened: Callable[[], SqlLedger], decisions: Decisions
) -> None:
    ledger = opened()
    edges = [time_us(2024, 1, 1) - 1, time_us(2024, 1, 1), time_us(2024, 2, 29, 23), time_us(2024, 3, 1), -1, 0]
    ledger.write(LedgerWrite(at(decisions, edges)))
    assert months(url) == [
        f"assessments_{m}" for m in ("1969_12", "1970_01", "2023_12", "2024_01", "2024_02", "2024_03")
    ]
    assert len(ledger.assessments("default", [f"e{i}" for i in range(6)])) == 6
    with psycopg.connect(url) as connection:
        (n,) = connection.execute("SELECT count(*) FROM assessments_2024_02").fetchone() or (None,)
        assert n == 1
        plan = connection.execute("EXPLAIN SELECT * FROM assessments WHERE at_us >= 1709251200000000").fetchall()
    assert "assessments_2024_02" not in str(plan)


def test_two_writers_that_need_the_same_new_months(
    url: str, opened: Callable[[], SqlLedger], decisions: Decisions
) -> None:
    times = [time_us(2020, 1, 5) + i * 31 * DAY_US for i in range(24)]
    writers = [opened(), opened(), opened()]
    together(
        *(
            lambda w=w, i=i: w.write(LedgerWrite(at(decisions, times, f"w{i}-", i << 48)), if_known="leave")
            for i, w in enumerate(writers)
        )
    )
    assert len(months(url)) == 24
    assert writers[0].counts()["assessments"] == 72


def test_a_month_dropped_behind_a_writer_is_made_again(
    url: str, opened: Callable[[], SqlLedger], decisions: Decisions
) -> None:
    ledger = opened()
    ledger.write(LedgerWrite(at(decisions, [time_us(2024, 5, 1), time_us(2024, 6, 1)])))
    assert opened().retain(time_us(2024, 6, 3))["partitions"] == 1
    assert months(url) == ["assessments_2024_06"]
    ledger.write(LedgerWrite(at(decisions, [time_us(2024, 5, 2)], "late", 9)))
    assert months(url) == ["assessments_2024_05", "assessments_2024_06"]


def test_the_same_events_from_two_writers_are_there_once(opened: Callable[[], SqlLedger], decisions: Decisions) -> None:
    one, two = opened(), opened()
    for turn in range(6):
        first = replace(decisions.select(turn * 100, turn * 100 + 100), seq=np.arange(100) + turn * 100)
        other = replace(decisions.select(turn * 100, turn * 100 + 100), seq=(1 << 48) + np.arange(100) + turn * 100)
        order = np.arange(100)[::-1]
        backwards = replace(other, events=[other.events[i] for i in order], seq=other.seq[order])
        alerts = [Alert(f"a{i}", "t", "user", "u", "r", i, i, 1, 0.5, "HIGH", "now", "why") for i in range(30)]

        def write(
            ledger: SqlLedger,
            what: Decisions,
            name: str,
            alerts: list[Alert] = alerts,
            turn: int = turn,
        ) -> Written:
            progress = Progress(f"kafka:d/{name}", "d", turn + 1, int(what.seq[-1]))
            pairs = [(a.alert_id, e.event_id) for a in alerts for e in what.events[:5]]
            ordered = alerts if name == "0" else alerts[::-1]
            content = LedgerWrite(what, progress, ordered, pairs, watermark_us=turn)
            return ledger.write(content, if_known="leave")

        results = together(
            lambda first=first: write(one, first, "0"), lambda backwards=backwards: write(two, backwards, "1")
        )
        assert sum(r.added for r in results) == sum(r.left for r in results) == 100  # type: ignore[attr-defined]
        assert sum(r.again for r in results) == 100  # type: ignore[attr-defined]
    stored = one.assessments("default", [e.event_id for e in decisions.events])
    assert [stored[e.event_id].event for e in decisions.events] == list(decisions.events)
    assert one.counts()["assessments"] == 600
    assert sum(len(part) for part in one.iterate()) == 600


def test_one_source_from_two_writers_is_counted_once(opened: Callable[[], SqlLedger], decisions: Decisions) -> None:
    writers = [opened() for _ in range(3)]

    def consume(ledger: SqlLedger) -> int:
        added = 0
        for start in range(0, 600, 50):
            progress = Progress("kafka:d/0", "d", start + 50, start + 49)
            added += ledger.write(LedgerWrite(decisions.select(start, start + 50), progress), if_known="leave").added
        return added

    assert sum(together(*(lambda w=w: consume(w) for w in writers))) == 600  # type: ignore[arg-type]
    assert writers[0].progress("kafka:d/0") == Progress("kafka:d/0", "d", 600, 599)


def test_new_versions_from_two_writers_have_one_number(
    url: str, opened: Callable[[], SqlLedger], decisions: Decisions
) -> None:
    writers = [opened(), opened(), opened(), opened()]
    for turn in range(5):
        versions = Versions("s", {"x": str(turn)}, "p" * 4000)
        pieces = [
            replace(at(decisions, [turn] * 3, f"{turn}-{i}-", turn * 100 + i * 10), versions=[versions] * 3)
            for i in range(4)
        ]
        together(*(lambda w=w, p=p: w.write(LedgerWrite(p)) for w, p in zip(writers, pieces, strict=True)))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT content) FROM versions").fetchone() == (5, 5)
        assert connection.execute("SELECT count(DISTINCT version_id) FROM assessments").fetchone() == (5,)


def test_tables_are_made_once_by_those_who_start_together(
    postgres_server: PostgresBackend, decisions: Decisions
) -> None:
    with fresh_database(postgres_server) as url:
        with closing(SqlLedger(url, SCHEMA)) as ledger, pytest.raises(Unavailable, match="ledger upgrade"):
            ledger.last_seq()
        every = [SqlLedger(url, SCHEMA) for _ in range(4)]
        together(*(ledger.prepare for ledger in every))
        every[0].write(LedgerWrite(decisions.select(0, 10)))
        assert every[3].last_seq() == 9
        for ledger in every:
            ledger.close()


def test_retention_ends_what_was_begun_and_only_one_does_it(
    url: str, opened: Callable[[], SqlLedger], decisions: Decisions
) -> None:
    ledger = opened()
    ledger.write(LedgerWrite(at(decisions, [time_us(2024, m, 3) for m in range(1, 7)])))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE assessments DETACH PARTITION assessments_2024_02 CONCURRENTLY")
        connection.execute("SELECT pg_advisory_lock(%s)", [0x52494E_02])
        with pytest.raises(Conflict, match="another"):
            ledger.retain(time_us(2024, 4, 9))
        connection.execute("SELECT pg_advisory_unlock_all()")
        found = ledger.retain(time_us(2024, 4, 9))
        assert (found["partitions"], found["events"]) == (3, 3)
        assert connection.execute("SELECT to_regclass('assessments_2024_02')").fetchone() == (None,)
    assert months(url) == [f"assessments_2024_0{m}" for m in (4, 5, 6)]


def test_readers_and_writers_go_on_while_months_are_dropped(
    url: str, opened: Callable[[], SqlLedger], decisions: Decisions
) -> None:
    ledger, cutter = opened(), opened()
    ledger.write(LedgerWrite(at(decisions, [time_us(2024, m, 3) for m in range(1, 7)])))
    stop = threading.Event()

    def work() -> int:
        n = 0
        while not stop.is_set():
            ledger.write(LedgerWrite(at(decisions, [time_us(2024, 6, 4)], f"n{n}-", 100 + n)), if_known="leave")
            assert len(ledger.assessments("default", ["e4", "e5"])) == 2
            n += 1
        return n

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            assert cutter.retain(time_us(2024, 5, 1))["events"] == 4
        finally:
            stop.set()
        n = working.result(timeout=60)
    assert ledger.counts()["assessments"] == 2 + n


def test_a_table_that_something_else_cuts_gets_no_partitions(
    url: str, opened: Callable[[], SqlLedger], decisions: Decisions
) -> None:
    """As TimescaleDB's is; the extension itself is not here."""
    with closing(SqlLedger(url, SCHEMA)) as ledger, ledger._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE assessments")
        partitioned_assessments(by_month=False).create(connection)
    ledger = opened()
    ledger.write(LedgerWrite(at(decisions, [time_us(2024, m, 3) for m in range(1, 7)])))
    assert months(url) == []
    assert len(ledger.assessments("default", ["e0", "e5"])) == 2
    assert ledger.retain(time_us(2024, 4, 1), dry_run=True).items() >= {"events": 3, "partitions": 0}.items()

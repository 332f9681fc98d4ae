"""What every keeper of told rings and of their history promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.ledgers import fresh_database

from features.schema import FeatureSchema
from ledger.sql_store import SqlLedger
from ledger.store import KeptRing, LedgerWrite, Progress
from rings.entry import RingEntry
from ringwatch.model import DAY_US


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.backends)])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlLedger]:
    def opened(url: str) -> Iterator[SqlLedger]:
        with closing(SqlLedger(url, FeatureSchema())) as store:
            store.prepare()
            yield store

    if request.param == "sqlite":
        yield from opened(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield from opened(url)


def test_a_ring_is_replaced_by_newer_states_only(ledger: SqlLedger) -> None:
    def ring(ring_id: str, risk: float, users: int, seq: int, tenant: str = "t") -> KeptRing:
        return KeptRing(tenant, ring_id, "growing", risk, users, 5, b"\x00\xff" + ring_id.encode(), seq)

    a, b, c = ring("a", 0.2, 3, 10), ring("b", 0.9, 4, 11), ring("c", 0.9, 7, 12)
    ledger.write_rings([a, b, c, ring("d", 1.0, 9, 1, "other")], Progress("kafka:d/0", "d", 9, 8))
    ledger.write_rings([ring("a", 0.1, 2, 9), ring("a", 0.1, 2, 10)], Progress("kafka:d/0", "d", 4, 3))
    assert ledger.ring("t", "a") == a
    newer = ring("a", 0.95, 5, 20)
    ledger.write_rings([newer, ring("a", 0.3, 3, 15)])
    assert ledger.rings("t", limit=10) == [newer, c, b]
    assert ledger.rings("t", limit=1) == [newer]
    assert ledger.rings("t", limit=10, least_users=5) == [newer, c]
    assert ledger.ring("t", "d") is None
    assert ledger.progress("kafka:d/0") == Progress("kafka:d/0", "d", 9, 8)


def entry(ring_id: str, number: int, what: str, at_us: int, tenant: str = "t", **more: object) -> RingEntry:
    return RingEntry(tenant, ring_id, number, at_us, what, f"e{number}", 3, **more)  # type: ignore[arg-type]


def test_the_history_of_rings_is_added_to_and_never_changed(ledger: SqlLedger) -> None:
    born = entry("a", 1, "born", 5, joined=("u", "v\u00e4"))
    grew, more = (
        entry("a", 2, "grew", 7, joined=("x",), rings=("b",)),
        [entry("a", n, "dormant", 8) for n in range(3, 9)],
    )
    ledger.write_rings([], history=[grew, born, entry("a", 1, "born", 9, "other"), entry("b", 1, "born", 9)])
    ledger.write_rings([], history=[entry("a", 2, "ended", 9), *more, *more])
    ledger.write(LedgerWrite(None, ring_history=[born, entry("a", 9, "ended", 9, left=("u",))]))
    ledger.write(LedgerWrite(None, ring_history=[entry("c", 1, "born", 1)]), if_known="leave")
    found = ledger.ring_history("t", "a")
    assert found == [born, grew, *more, entry("a", 9, "ended", 9, left=("u",))]
    assert ledger.ring_history("t", "a", after=2, limit=3) == more[:3]
    assert [len(ledger.ring_history("t", ring_id)) for ring_id in "bcd"] == [1, 1, 0]
    before = ledger.logical_digest()
    ledger.write_rings([], history=found)
    assert ledger.logical_digest() == before


def test_the_history_of_a_ring_goes_as_a_whole_once_it_ended_long_ago(ledger: SqlLedger) -> None:
    day = 1_700_000_000_000_000
    old, late = day, day + 100 * DAY_US
    gone = [entry("gone", 1, "born", old), entry("gone", 2, "ended", old + 1)]
    kept = [entry("lives", 1, "born", old), entry("late", 1, "born", old), entry("late", 2, "ended", late)]
    ledger.write_rings([], history=[*gone, *kept])
    would = ledger.retain(late, dry_run=True)
    assert would["rings"] == 1
    assert ledger.retain(late) == would
    assert ledger.ring_history("t", "gone") == []
    assert [len(ledger.ring_history("t", ring_id)) for ring_id in ("lives", "late")] == [1, 2]
    assert ledger.retain(late)["rings"] == 0

"""What every keeper of told rings and of their history promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.ledgers import fresh_database

from features.schema import FeatureSchema
from ledger.ring_rows import END
from ledger.sql_store import SqlLedger
from ledger.store import KeptRing, LedgerWrite, Progress
from rings.entry import RingEntry
from ringwatch.errors import BadInput
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


def test_followers_get_every_entry_once_while_two_write(ledger: SqlLedger) -> None:
    """Each writer has rings of its own (SQLite has one writer); a follower that asks meanwhile goes on from the last place it has."""
    rings, each = ("a", "b", "c", "d"), 60

    def write(mine: str, store: SqlLedger) -> None:
        for n in range(1, each + 1):
            history = [entry(ring_id, n, "grew", n) for ring_id in mine]
            if n % 2:
                store.write_rings([], history=[*history, *history])
            else:
                store.write(
                    LedgerWrite(None, ring_history=[*history, entry(mine[0], n, "grew", n, "other")]), if_known="leave"
                )

    several = ledger._on_postgres
    with closing(SqlLedger(ledger._url, FeatureSchema())) as second:
        shares = [("ab", ledger), ("cd", second)] if several else [("abcd", ledger)]
        writers = [threading.Thread(target=write, args=share) for share in shares]
        place, found = (0, ""), list[RingEntry]()
        for writer in writers:
            writer.start()
        while any(w.is_alive() for w in writers) or ledger.rings_changed("t", place, limit=1):
            some = ledger.rings_changed("t", place, limit=7)
            found += [e for _, e in some]
            place = some[-1][0] if some else place
        for writer in writers:
            writer.join()
    whole = list(range(1, each + 1))
    assert [[e.number for e in found if e.ring_id == r] for r in rings] == [whole] * len(rings)
    assert ledger.newest_ring_change() >= len(shares) * each
    only = ledger.rings_changed("t", (0, ""), limit=1000, ring_id="c")
    assert [e.number for _, e in only] == whole
    assert len(ledger.rings_changed("other", (0, ""), limit=1000)) == len(shares) * each // 2
    assert ledger.rings_changed("t", (place[0], END), limit=9) == []
    with pytest.raises(BadInput, match="not a cursor"):
        ledger.rings_changed("t", (1, "x y z"), limit=9)


def test_entries_from_before_they_were_numbered_are_not_told_again(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    with closing(SqlLedger(f"sqlite:///{file}", FeatureSchema())) as ledger:
        ledger.prepare()
        ledger.write_rings([], history=[entry("a", 1, "born", 5)])
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(
            "DROP INDEX ring_history_by_change; ALTER TABLE ring_history DROP COLUMN change; UPDATE alembic_version SET version_num = '0007'"
        )
    with closing(SqlLedger(f"sqlite:///{file}", FeatureSchema())) as ledger:
        ledger.prepare()
        assert len(ledger.ring_history("t", "a")) == 1
        assert ledger.rings_changed("t", (0, ""), limit=9) == []
        ledger.write_rings([], history=[entry("a", 1, "born", 5), entry("a", 2, "grew", 6)])
        assert [e.number for _, e in ledger.rings_changed("t", (0, ""), limit=9)] == [2]

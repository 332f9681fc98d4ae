"""The audit trail on SQLite, and its key."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from support import desks
from support.desks import CHANGES, KEY, clock

from desk.chain import Key
from desk.store import Desk
from ringwatch.errors import BadInput


def opened(folder: Path) -> Desk:
    desk = Desk(f"sqlite:///{folder / 'desk.sqlite'}", KEY, clock())
    desk.prepare()
    return desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = opened(tmp_path)
    yield found
    found.close()


def test_the_trail_tells_what_was_done(desk: Desk) -> None:
    desks.holds(desk)


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_shows(desk: Desk, what: str) -> None:
    desks.finds(desk, what)


def test_an_older_state_shows_against_a_noted_head(desk: Desk) -> None:
    desks.finds_that_the_newest_are_gone(desk)


def test_many_writers_make_one_chain(tmp_path: Path) -> None:
    desks.one_chain_of_many_writers(lambda: opened(tmp_path))


def test_another_key_calls_everything_changed(desk: Desk, tmp_path: Path) -> None:
    desk.record(desks.act(1), desks.act(2))
    other = Desk(f"sqlite:///{tmp_path / 'desk.sqlite'}", Key(b"k" * 32), clock())
    assert len(other.verify("acme").troubles) == 3
    other.close()


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "audit.key"
    first = Key.of(path, make=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Key.of(path, make=True)._secret == first._secret
    assert [p.name for p in path.parent.iterdir()] == ["audit.key"]
    for content, words in (("abc", "not hex"), ("00", "1 bytes")):
        path.write_text(content)
        with pytest.raises(BadInput, match=words):
            Key.of(path)
    path.unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        Key.of(path)


def test_stores_of_one_process_are_prepared_side_by_side(tmp_path: Path) -> None:
    def of(i: int) -> None:
        store = Desk(f"sqlite:///{tmp_path / f'{i}.sqlite'}", KEY, clock())
        gate.wait()
        store.prepare()
        assert store.tenants() == []
        store.close()

    gate = Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(of, range(8)))

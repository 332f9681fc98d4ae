"""What is erased is not left in SQLite's files, wherever it lay."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from support.ledgers import scored
from support.streams import payment

from features.schema import FeatureSchema
from ledger.insert import inserter
from ledger.personal import MasterKey
from ledger.queries import LedgerQueries
from ledger.store import LedgerWrite

USERS = 3000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerQueries]:
    """With keys of many users, made in an order that is not that of their names, some at a time."""
    made = LedgerQueries(f"sqlite:///{tmp_path / 'ledger.sqlite'}", FeatureSchema(), master=MasterKey(b"m" * 32))
    made.prepare()
    names = [f"user-{n}" for n in range(USERS)]
    random.Random(5).shuffle(names)
    for start in range(0, USERS, 30):
        events = [payment(n, n, entities={"user": name}, user_agent="x") for n, name in enumerate(names[start:][:30])]
        with made._writing() as connection:
            made._personal.sealing(connection, inserter(connection), events)
        if start % 600 == 0:
            assert made.eraser().wipe()
    yield made
    made.close()


def keys(tmp_path: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        return dict(connection.execute("SELECT subject, wrapped FROM personal_keys WHERE tenant <> ''"))


def held(tmp_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in tmp_path.glob("ledger.sqlite*"))


def test_a_key_that_was_destroyed_is_nowhere(ledger: LedgerQueries, tmp_path: Path) -> None:
    wrapped, eraser = keys(tmp_path), ledger.eraser()
    assert len(wrapped) == USERS
    gone = [f"user-{n}" for n in (0, 1, 17, 1500, 1501, 2998, 2999)]
    assert all(wrapped[name] in held(tmp_path) for name in gone)
    for name in gone:
        assert eraser.destroy_key(("default", name))
    assert eraser.wipe()
    files = held(tmp_path)
    for name in gone:
        secret = wrapped[name]
        assert not any(secret[at : at + 16] in files for at in range(len(secret) - 15)), name
    left = keys(tmp_path)
    assert left == {name: secret for name, secret in wrapped.items() if name not in gone}


def test_every_key_that_was_destroyed_is_nowhere(ledger: LedgerQueries, tmp_path: Path) -> None:
    """So many that pages of the file become free."""
    wrapped, eraser = keys(tmp_path), ledger.eraser()
    gone = sorted(wrapped)[:600]
    for name in gone:
        eraser.destroy_key(("default", name))
    assert eraser.wipe()
    files = held(tmp_path)
    assert [name for name in gone if wrapped[name][12:44] in files] == []


def test_a_reader_that_keeps_the_log_is_told(ledger: LedgerQueries, tmp_path: Path) -> None:
    wrapped, eraser = keys(tmp_path), ledger.eraser()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM personal_keys").fetchone()
        eraser.destroy_key(("default", "user-7"))
        eraser.patience_s = 0.1
        assert not eraser.wipe()
    assert eraser.wipe()
    assert wrapped["user-7"] not in held(tmp_path)


def test_what_was_stored_plain_is_nowhere_when_it_was_cleared(tmp_path: Path) -> None:
    decisions = scored(600)
    events = [msgspec.structs.replace(e, user_agent=f"Agent of {e.user}.") for e in decisions.events]
    with closing(LedgerQueries(f"sqlite:///{tmp_path / 'ledger.sqlite'}", FeatureSchema())) as ledger:
        ledger.prepare()
        for start in range(0, len(events), 50):
            part = replace(decisions, events=events).select(start, min(start + 50, len(events)))
            ledger.write(LedgerWrite(part))
        assert b"Agent of u7." in held(tmp_path)
        eraser = ledger.eraser()
        assert eraser.clear_events(("default", "u7")) > 5
        assert eraser.wipe()
        assert b"Agent of u7." not in held(tmp_path)
        assert b"Agent of u8." in held(tmp_path)

"""Erasing a subject: its key first, at once and for all that was sealed by it; then what its events hold besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, select, text, update
from sqlalchemy.engine import Engine

from ledger import tables as t
from ledger.engine import errors
from ledger.entity_queries import EventFilter, Place, places_of
from ledger.personal import decode_event, encode, erased
from ledger.sql_reads import OF_ID
from ledger.subject_keys import Subject, destroy, has_key

_AT_ONCE = 250
NO_BODY = bytes(16)
"""Instead of the hash of what an event said: it would tell a guess that is right."""
_LOG = text("PRAGMA wal_checkpoint(TRUNCATE)")


class Eraser:
    """Of one ledger; beside its writers and readers, on transactions of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._on_postgres = engine.dialect.name == "postgresql"
        self.patience_s = 5.0
        """Longest that readers of SQLite are waited for."""

    def knows(self, subject: Subject) -> bool:
        """Whether there is anything to erase: a key, or events."""
        with errors(self._engine, "be read"), self._engine.connect() as connection:
            return has_key(connection, subject) or bool(_page(connection, subject, None, 1))

    def destroy_key(self, subject: Subject) -> bool:
        """Whether there was one. From its return on nothing that was sealed by it can be read, in any process."""
        with self._writing() as connection:
            return destroy(connection, subject)

    def clear_events(self, subject: Subject) -> int:
        """What of its events was stored plain, and the hashes of what they said; how many events there are. Doing it again ends what was
        stopped."""
        cleared, after = 0, None
        while True:
            with self._writing() as connection:
                places = _page(connection, subject, after, _AT_ONCE)
                _clear(connection, subject[0], places)
            cleared += len(places)
            if len(places) < _AT_ONCE:
                return cleared
            after = places[-1]

    def wipe(self) -> bool:
        """Whether what was erased is out of the database's files, too; not for long where readers keep SQLite's log open, and not to be
        known of PostgreSQL, which is asked to use the place again."""
        if self._on_postgres:
            with errors(self._engine, "be cleaned"), self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM personal_keys"))
            return False
        with errors(self._engine, "be cleaned"), self._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={int(self.patience_s * 1e3)}")
            busy, _, _ = connection.execute(_LOG).one()
            connection.invalidate()  # with its own patience
        return not busy

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """On SQLite what is deleted is written over."""
        with errors(self._engine, "be written"), self._engine.connect() as connection:
            if not self._on_postgres:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
                connection.rollback()
            with connection.begin():
                if not self._on_postgres:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection


def _page(connection: Connection, subject: Subject, after: Place | None, limit: int) -> list[Place]:
    return places_of(connection, (subject[0], "user", subject[1]), EventFilter(), limit, after)


def _clear(connection: Connection, tenant: str, places: Sequence[Place]) -> None:
    if not places:
        return
    a, i = t.assessments.c, t.event_ids.c
    times = [at_us for at_us, _ in places]
    rows: Sequence[Any] = connection.execute(
        select(a.seq, a.tenant, a.event_id, a.at_us, a.event)
        .join(t.event_ids, OF_ID)
        .where(i.tenant == tenant, i.event_id.in_([id_ for _, id_ in places]), a.at_us.between(min(times), max(times)))
    ).all()
    for row in rows:
        mine = a.seq == row.seq, a.tenant == row.tenant, a.event_id == row.event_id, a.at_us == row.at_us
        body = encode(erased(decode_event(row.event)))
        connection.execute(update(t.assessments).where(*mine).values(event=body, body_hash=NO_BODY))

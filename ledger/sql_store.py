"""LedgerStore on SQL, through SQLAlchemy Core. SQLite (WAL, every commit flushed to disk) is the embedded product mode, PostgreSQL
the one of several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from features.schema import FeatureSchema
from ledger import tables as t
from ledger.engine import driver_error, errors, migrate, open_engine
from ledger.insert import inserter
from ledger.personal import MasterKey
from ledger.postgres import PostgresAccess, sqlstate
from ledger.ring_rows import put_history
from ledger.sql_reads import SqlReads
from ledger.sqlite_wal import WalCheckpoints
from ledger.store import IfKnown, KeptRing, LedgerWrite, Progress, Written
from ledger.transaction import Transaction
from rings.entry import RingEntry

if TYPE_CHECKING:
    from ledger.partitions import Partitions

_ATTEMPTS = 3
_AGAIN = ("40P01", "40001", "23514")
"""Deadlock, serialization, and no partition: what doing it again helps against."""


class SqlLedger(SqlReads):
    """`url` is `sqlite:///folder/ledger.sqlite`, for one writing process, or `postgresql://user@host:port/database`, for any
    number of them, each with one writing thread; `access` is what the latter needs besides. `master`: personal fields of events are
    sealed under keys that it wraps; without it they are stored plain, and sealed ones cannot be read."""

    def __init__(
        self, url: str, schema: FeatureSchema, access: PostgresAccess | None = None, master: MasterKey | None = None
    ) -> None:
        super().__init__(open_engine(url, access), schema, master)
        self._schema = schema
        self._url, self._access = url, access
        self._on_postgres = self._engine.dialect.name == "postgresql"
        self._writer: Connection | None = None
        self._checkpoints = WalCheckpoints(self._engine)
        self._versions: dict[str, int] = {}
        self._partitions: Partitions | None = None
        if self._on_postgres:
            from ledger.partitions import Partitions

            self._partitions = Partitions(self._engine)

    def prepare(self) -> None:
        """Migrate the schema to the newest version. Idempotent; of several at once one does it and the others wait."""
        with errors(self._engine, "be prepared"), self._engine.begin() as connection:
            if self._on_postgres:
                from ledger.partitions import MAKING_LOCK, lock

                connection.execute(text("SET LOCAL statement_timeout = 0"))
                lock(connection, MAKING_LOCK)
            migrate(connection, "ledger:migrations")
            self._personal.check(connection, inserter(connection))

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction; on SQLite on a connection that is kept for it."""
        if self._on_postgres:
            with self._engine.begin() as connection:
                yield connection
            return
        if self._writer is None:
            self._writer = self._engine.connect()
        connection, self._writer = self._writer, None
        with ExitStack() as unless_committed:
            unless_committed.callback(connection.close)
            with connection.begin():
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # what is asked first holds to the end
                yield connection
            unless_committed.pop_all()
        self._writer = connection

    def write(self, *writes: LedgerWrite, if_known: IfKnown = "refuse") -> Written:
        with errors(self._engine, "be written"):
            for attempt in range(_ATTEMPTS):
                try:
                    written = self._write(writes, if_known)
                    break
                except Exception as error:
                    if attempt + 1 == _ATTEMPTS or sqlstate(driver_error(error)) not in _AGAIN:
                        raise
                    if self._partitions is not None:
                        self._partitions.forget()
        self._checkpoints.written(sum(len(write.decisions) for write in writes if write.decisions is not None))
        return written

    def _write(self, writes: Sequence[LedgerWrite], if_known: IfKnown) -> Written:
        if self._partitions is not None:
            self._partitions.ensure([e.at_us for w in writes if w.decisions is not None for e in w.decisions.events])
        with self._writing() as connection:
            transaction = Transaction(connection, self._codec, self._versions, self._personal)
            written = transaction.put(writes, if_known)
        self._versions |= transaction.found
        self._personal.committed(transaction.keys)
        return written

    def write_rings(
        self, rings: Sequence[KeptRing], progress: Progress | None = None, history: Sequence[RingEntry] = ()
    ) -> None:
        """See `RingStore`."""
        last: dict[tuple[str, str], KeptRing] = {}
        for ring in sorted(rings, key=lambda r: r.updated_seq):
            last[ring.tenant, ring.ring_id] = ring
        names = t.rings.columns.keys()
        with errors(self._engine, "be written"), self._writing() as connection:
            if last:
                rows = [tuple(getattr(last[key], name) for name in names) for key in sorted(last)]
                inserter(connection)(t.rings, rows, "newer")
            if progress is not None:
                Transaction(connection, self._codec, self._versions, self._personal).progress([progress], leave=True)
            put_history(connection, inserter(connection), history)

    def retain(self, keep_from_us: int, *, dry_run: bool = False) -> dict[str, int]:
        from ledger.retention import retain

        engine = self._engine
        if self._on_postgres:
            engine = open_engine(self._url, (self._access or PostgresAccess()).without_limit(), pooled=False)
        try:
            with errors(engine, "be cut"):
                return retain(engine, keep_from_us, dry_run=dry_run)
        finally:
            if engine is not self._engine:
                engine.dispose()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._checkpoints.close()
        self._engine.dispose()

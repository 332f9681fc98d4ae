"""SQLite's write-ahead log is carried into its database (checkpointed) beside the writer, not by it: the commit that does it takes
20 ms instead of one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

PRAGMAS = (
    "journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "busy_timeout=5000", "wal_autocheckpoint=0",
    "secure_delete=FAST",
)  # fmt: skip
"""FAST: what moves within a page leaves no copy where it was."""
_EVERY = 1000
"""Events between checkpoints: some 4 MB, as much as SQLite lets gather by itself."""
_MOST = 16_384
"""Pages of the log (64 MB) from which on the writer does it, since the log begins anew only when nobody wrote meanwhile."""


class WalCheckpoints:
    """Checkpoints of an SQLite engine, now and then; does nothing for other databases."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wanted = engine.dialect.name == "sqlite"
        self._events = 0
        self._pages = 0
        """In the log at the last checkpoint."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ledger-checkpoint")
        self._underway: Future[None] | None = None

    def written(self, events: int) -> None:
        """After each commit, on the thread that writes."""
        self._events += events
        if not self._wanted or self._events < _EVERY or (self._underway is not None and not self._underway.done()):
            return
        self._events = 0
        if self._pages > _MOST:
            self._checkpoint()
        else:
            self._underway = self._executor.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        """As far as readers allow; the rest is left to the next."""
        try:
            with self._engine.connect() as connection:
                _, pages, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
                self._pages = int(pages)
        except DBAPIError:
            return

    def close(self) -> None:
        self._executor.shutdown()

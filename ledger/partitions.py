"""Monthly partitions on PostgreSQL, of the assessments and of the events of entities: made when first needed, dropped when old."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.engine import Engine

from ledger.months import Month, ends_us, months_of, starts_us

MAKING_LOCK = 0x52494E_01
"""Advisory lock (transaction) of who makes tables or partitions."""
State = Literal["attached", "detaching", "detached"]
ATTACHED: State = "attached"
DETACHING: State = "detaching"
DETACHED: State = "detached"
"""The last two: its dropping was begun and not ended."""
TABLES = ("event_entities", "assessments")
"""What is cut by month, in the order of dropping."""
_KIND = text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)")
_PRESENT = text(
    "SELECT c.relname, i.inhdetachpending FROM pg_class c LEFT JOIN pg_inherits i ON c.oid = i.inhrelid"
    " WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:name))"
    r" AND c.relkind = 'r' AND c.relname ~ ('^' || :name || '_\d{4}_\d{2}$')"
)
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")


class Partitions:
    """Makes the partitions that times need, before the transaction that needs them; several writers may ask at once.

    A partition is made beside the table and then attached, which no reader or writer waits for.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: set[Month] = set()

    def ensure(self, times_us: Sequence[int]) -> None:
        missing = months_of(times_us) - self._known
        if not missing:
            return
        with self._engine.begin() as connection:
            lock(connection, MAKING_LOCK)
            for table in TABLES:
                if is_by_month(connection, table):
                    states = present_months(connection, table)
                    for month in sorted(m for m in missing if states.get(m) != ATTACHED):
                        _make(connection, table, month)
        self._known |= missing

    def forget(self) -> None:
        """Look again at what there is: a partition was dropped behind our back."""
        self._known.clear()


def is_by_month(connection: Connection, table: str) -> bool:
    """False where an extension cuts the table."""
    return bool(connection.scalar(_KIND, {"name": table}) == "p")


def lock(connection: Connection, key: int) -> None:
    """Until the transaction ends."""
    connection.execute(_LOCK, {"key": key})


def present_months(connection: Connection, table: str) -> dict[Month, State]:
    """The months there are partitions of."""
    found: dict[Month, State] = {}
    for name, pending in connection.execute(_PRESENT, {"name": table}):
        year, number = name.removeprefix(f"{table}_").split("_")
        found[int(year), int(number)] = DETACHED if pending is None else DETACHING if pending else ATTACHED
    return found


def drop(connection: Connection, table: str, month: Month, state: State) -> None:
    """`connection` commits by itself. Who reads or writes other months does not wait; what was begun before is ended."""
    name = _name(table, month)
    if state != DETACHED:
        ending = sql.SQL("CONCURRENTLY" if state == ATTACHED else "FINALIZE")
        _run(connection, sql.SQL("ALTER TABLE {} DETACH PARTITION {} {}").format(sql.Identifier(table), name, ending))
    _run(connection, sql.SQL("DROP TABLE {}").format(name))


def _make(connection: Connection, table: str, month: Month) -> None:
    whole, part = sql.Identifier(table), _name(table, month)
    _run(connection, sql.SQL("CREATE TABLE IF NOT EXISTS {} (LIKE {} INCLUDING ALL)").format(part, whole))
    attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})")
    _run(connection, attach.format(whole, part, sql.Literal(starts_us(month)), sql.Literal(ends_us(month))))


def _name(table: str, month: Month) -> sql.Identifier:
    return sql.Identifier(f"{table}_{month[0]:04d}_{month[1]:02d}")


def _run(connection: Connection, statement: sql.Composed) -> None:
    connection.exec_driver_sql(statement.as_string())

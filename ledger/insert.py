"""Inserting rows: statements of either database, compiled once, run by its driver."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Literal

from sqlalchemy import Connection, Dialect, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from ledger import tables as t

Rows = Sequence[tuple[Any, ...]]
"""Values in the order of the table's columns."""
_AT_ONCE = 500
_A_STATEMENT = 8
"""Rows of one statement of `bulk`: more is no faster."""
OnConflict = Literal["fail", "leave", "replace", "add", "raise", "forward", "grown", "newer"]


class Inserter:
    """Inserts rows in a transaction by the driver's own cursor: a small batch costs more on its way there than there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._cursor: Any = connection.connection.cursor()

    def __call__(self, table: Table, rows: Rows, on_conflict: OnConflict = "fail") -> None:
        """A row whose primary key is there fails, is left as it is, is replaced (`forward`: by one whose position is not lower,
        `grown`: by one with no fewer events, `newer`: by one with a higher `updated_seq`); its value is added to, or raised to the higher one."""
        text, positional = _compiled(self._dialect, table, on_conflict)
        names = table.columns.keys()
        self._cursor.executemany(text, rows if positional else [dict(zip(names, r, strict=True)) for r in rows])

    def held(self, counter: str) -> int:
        """Of `counters`, which nobody raises before the end of this transaction; 0 where there is none."""
        self._cursor.execute(_held(self._dialect, counter))
        row = self._cursor.fetchone()
        return 0 if row is None else int(row[0])

    def claim(self, ids: Rows) -> set[tuple[str, str]]:
        """Rows of `event_ids`, sorted: inserts those whose id and running number are free; (tenant, event_id) of these."""
        text, _ = _compiled(self._dialect, t.event_ids, "leave")
        taken: set[int] = set()
        for start in range(0, len(ids), _AT_ONCE):
            some = [row[3] for row in ids[start : start + _AT_ONCE]]
            taken.update(self._connection.scalars(select(t.assessments.c.seq).where(t.assessments.c.seq.in_(some))))
        claimed = set()
        for row in ids:
            if row[3] not in taken and self._cursor.execute(text, row).rowcount == 1:
                claimed.add(row[:2])
                taken.add(row[3])
        return claimed

    def bulk(self, table: Table, rows: Rows) -> None:
        """Many rows none of which is there."""
        whole = len(rows) - len(rows) % _A_STATEMENT
        together = (chain.from_iterable(rows[i : i + _A_STATEMENT]) for i in range(0, whole, _A_STATEMENT))
        self._cursor.executemany(_several(self._dialect, table), map(tuple, together))
        self(table, rows[whole:])


def inserter(connection: Connection) -> Inserter:
    if connection.dialect.name == "postgresql":
        from ledger.postgres_insert import PostgresInserter

        return PostgresInserter(connection)
    return Inserter(connection)


@cache
def _compiled(dialect: Dialect, table: Table, on_conflict: OnConflict) -> tuple[str, bool]:
    """(text, whether its parameters go by position); compiled once, since that costs more than to run it."""
    statement = on_conflict_do(dialect, table, insert_into(dialect, table), on_conflict)
    compiled = statement.compile(dialect=dialect, column_keys=table.columns.keys())
    return str(compiled), compiled.positional


@cache
def _held(dialect: Dialect, counter: str) -> str:
    c = t.counters.c
    query = select(c.value).where(c.name == counter).with_for_update(read=True)
    return str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


@cache
def _several(dialect: Dialect, table: Table) -> str:
    """As `_compiled`, of `_A_STATEMENT` rows at once; parameters go by position."""
    row = dict.fromkeys(table.columns.keys())
    return str(insert_into(dialect, table).values([row] * _A_STATEMENT).compile(dialect=dialect))


def on_conflict_do(dialect: Dialect, table: Table, statement: Any, on_conflict: OnConflict) -> Any:
    """The insert with what it does about rows whose primary key is there."""
    new, key = statement.excluded, table.primary_key.columns
    rest = {c.name: new[c.name] for c in table.columns if not c.primary_key}
    higher = func.max if dialect.name == "sqlite" else func.greatest
    where = None
    match on_conflict:
        case "fail":
            return statement
        case "leave":
            return statement.on_conflict_do_nothing()
        case "add":
            rest = {"value": table.c.value + new.value}
        case "raise":
            rest = {"value": higher(table.c.value, new.value)}
        case "forward":
            where = new.position >= table.c.position
        case "grown":
            where = new.events >= table.c.events
        case "newer":
            where = new.updated_seq > table.c.updated_seq
    return statement.on_conflict_do_update(index_elements=key, set_=rest, where=where)


def insert_into(dialect: Dialect, table: Table) -> Any:
    """An insert of the dialect, which knows what to do on conflict."""
    return _INSERT[dialect.name](table)


def next_number(connection: Connection, counter: str) -> int:
    """The next of a counter: held until the commit, so that numbers come in the order of commits."""
    first = insert_into(connection.dialect, t.counters).values(name=counter, value=1)
    raised = first.on_conflict_do_update(index_elements=["name"], set_={"value": t.counters.c.value + 1})
    return int(connection.execute(raised.returning(t.counters.c.value)).scalar_one())


_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

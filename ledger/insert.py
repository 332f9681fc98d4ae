"""Inserting rows: statements of either database, compiled once, run by its driver."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite

Rows = Sequence[tuple[Any, ...]]
"""Values in the order of the table's columns."""


class Inserter:
    """Inserts rows in a transaction by the driver's own cursor: a small batch costs more on its way there than there."""

    def __init__(self, connection: Connection) -> None:
        self._dialect = connection.dialect
        self._cursor = connection.connection.cursor()

    def __call__(self, table: Table, rows: Rows, on_conflict: Literal["fail", "leave", "replace"] = "fail") -> None:
        """A row whose primary key is there fails, is left as it is, or is replaced."""
        text, positional = _compiled(self._dialect, table, on_conflict)
        names = table.columns.keys()
        self._cursor.executemany(text, rows if positional else [dict(zip(names, r, strict=True)) for r in rows])


@cache
def _compiled(dialect: Dialect, table: Table, on_conflict: str) -> tuple[str, bool]:
    """(text, whether its parameters go by position); compiled once, since that costs more than to run it."""
    statement = _INSERT[dialect.name](table)
    if on_conflict == "leave":
        statement = statement.on_conflict_do_nothing()
    elif on_conflict == "replace":
        rest = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
        statement = statement.on_conflict_do_update(index_elements=table.primary_key.columns, set_=rest)
    compiled = statement.compile(dialect=dialect, column_keys=table.columns.keys())
    return str(compiled), compiled.positional


_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

"""Statements end when the time of an answer is over (`ringwatch.deadline`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from ringwatch import deadline

_LOOKS = 20_000
"""Instructions of SQLite's machine between two looks at the clock: some tenths of a millisecond."""
_LONGEST_S = 3600.0


@contextmanager
def cut_off(connection: Connection) -> Iterator[None]:
    """For reads. Raises TooLong; costs nothing where no time is set."""
    if not deadline.is_set():
        yield
        return
    deadline.check()
    driver: Any = connection.connection.dbapi_connection
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite:
        driver.set_progress_handler(deadline.passed, _LOOKS)
    else:
        event.listen(connection, "before_cursor_execute", _give_what_is_left)
    try:
        yield
    except DBAPIError:
        deadline.check()
        raise
    finally:
        if on_sqlite:
            driver.set_progress_handler(None, 0)


def _give_what_is_left(connection: Connection, *_: Any) -> None:
    """PostgreSQL gives each statement its time anew, so each is told what is left. It asks the driver: this is called for what goes through
    `connection`."""
    driver: Any = connection.connection.dbapi_connection
    driver.execute(f"SET LOCAL statement_timeout = {math.ceil(deadline.left_s(_LONGEST_S) * 1e3)}")

"""Statements end when the time of an answer is over (`ringwatch.deadline`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text
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
    left_s = deadline.left_s(_LONGEST_S)
    driver: Any = connection.connection.dbapi_connection
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite:
        driver.set_progress_handler(deadline.passed, _LOOKS)
    else:
        connection.execute(text(f"SET LOCAL statement_timeout = {math.ceil(left_s * 1e3)}"))
    try:
        yield
    except DBAPIError:
        deadline.check()
        raise
    finally:
        if on_sqlite:
            driver.set_progress_handler(None, 0)

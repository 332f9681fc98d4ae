"""Engines of the databases a ledger can be on, and their errors as ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError, TimeoutError
from sqlalchemy.pool import NullPool

from ledger.postgres import PostgresAccess, as_ours, is_postgres, postgres_url, utf8_only
from ledger.sqlite_wal import PRAGMAS
from ringwatch.errors import Corrupt, RingwatchError, Unavailable

_CONNECTIONS = 4
_MORE = 12
"""Connections made on top when all are taken, and closed after."""
_WAIT_S = 5
_ONE_AT_A_TIME = threading.Lock()
"""Alembic keeps what it migrates in globals of its module."""


def open_engine(url: str, access: PostgresAccess | None = None, *, pooled: bool = True) -> Engine:
    """Connects to nothing yet. Not for SQLite in memory, whose connections do not share it.

    PostgreSQL: a connection is looked at before it is used again, so that a restart of the server costs only what was under way.
    """
    if is_postgres(url):
        bare, password = postgres_url(url)
        access = access or PostgresAccess()
        if password is not None and access.password is None:
            access = replace(access, password=password)
        pool: dict[str, Any] = {
            "pool_size": _CONNECTIONS,
            "max_overflow": _MORE,
            "pool_timeout": _WAIT_S,
            "pool_pre_ping": True,
            "pool_use_lifo": True,
        }
        engine = create_engine(
            bare, connect_args=access.connect_args(), **(pool if pooled else {"poolclass": NullPool})
        )
        event.listen(engine, "connect", utf8_only, insert=True)
        return engine
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _: Any) -> None:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine


def migrate(connection: Connection, scripts: str) -> None:
    """To the newest version, in the transaction of this connection. `scripts`: "package:folder"; its `env` takes `attributes["connection"]`."""
    config = Config()
    config.set_main_option("script_location", scripts)
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        command.upgrade(config, "head")


@contextmanager
def errors(engine: Engine, doing: str) -> Iterator[None]:
    """Errors of the database, through SQLAlchemy or from its driver, as ours."""
    driver: Any = engine.dialect.loaded_dbapi
    try:
        yield
    except TimeoutError:
        message = f"the ledger cannot {doing}: all {_CONNECTIONS + _MORE} connections are in use"
        raise Unavailable(message, hint="try again") from None
    except (SQLAlchemyError, driver.Error) as error:
        cause = driver_error(error)
        if not isinstance(cause, driver.Error):
            raise
        translate = as_ours if engine.dialect.name == "postgresql" else _of_sqlite
        raise translate(cause, doing) from None


def driver_error(error: Exception) -> Exception:
    """What the driver raised, out of what SQLAlchemy made of it."""
    return getattr(error, "orig", None) or error


def _of_sqlite(error: Exception, doing: str) -> RingwatchError:
    from sqlite3 import OperationalError

    message = f"the ledger cannot {doing}: {error}"
    if not isinstance(error, OperationalError):
        return Corrupt(message, hint="restore the ledger from a backup")
    if "no such table" in str(error):
        return Corrupt(message, hint="is this a ringwatch data folder? `ringwatch doctor`")
    return Unavailable(message, hint="free disk space or release the file, then run again")

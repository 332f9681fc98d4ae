"""A Neo4j server over Bolt: named statements in managed transactions, and its errors in our words.

Managed transactions are tried again by the driver after a deadlock, a lost connection or a change of leader, so the
work given must be safe to run more than once. Each transaction carries its name in its metadata
(`SHOW TRANSACTIONS YIELD metaData`) and a time limit the server keeps.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import neo4j
from neo4j import GraphDatabase, ManagedTransaction, TrustCustomCAs, unit_of_work
from neo4j.exceptions import AuthError, ClientError, ConfigurationError, DriverError, Neo4jError

from cypher.load import load
from graph.neo4j_names import typed
from ringwatch import deadline
from ringwatch.errors import BadInput, Corrupt, RingwatchError, ServerDenied, StoreAway, Unavailable

SCHEMES = ("neo4j", "neo4j+s", "neo4j+ssc", "bolt", "bolt+s", "bolt+ssc")
ENDED = "Neo.ClientError.Transaction."
"""Codes of a transaction the server ended (its time was over, it was stopped): client errors to Neo4j, not to us."""
SECURITY, NO_DATABASE = "Neo.ClientError.Security.", "Neo.ClientError.Database.DatabaseNotFound"
_LOCKED_S = 5.0
"""Neo4j's own setting for how long a user is locked out (`dbms.security.auth_lock_time`)."""
_CLOSE_S = 5.0
T = TypeVar("T")
log = logging.getLogger("ringwatch.graph")


@dataclass(frozen=True, slots=True)
class Limits:
    connect_s: float = 5.0
    """For a connection to be made, and for one of the pool to come free."""
    read_s: float = 15.0
    """A read transaction; the server ends it after that."""
    write_s: float = 60.0
    """A write transaction, waiting for locks included."""
    retry_s: float = 15.0
    """How long after the first failure a transaction is still tried again."""
    connections: int = 20
    waiting: int = 8
    """Reads with a deadline under way at once."""


class Statements:
    """Runs named statements within one transaction; remembers the last name, for errors."""

    def __init__(self, transaction: ManagedTransaction, texts: Mapping[str, str], running: list[str]) -> None:
        self._transaction = transaction
        self._texts = texts
        self._running = running

    def run(self, name: str, /, *, of_kind: str | None = None, **params: Any) -> list[neo4j.Record]:
        """All rows. `of_kind`: the entity kind whose links the statement is about."""
        self._running[:] = [name]
        text = self._texts[name] if of_kind is None else typed(self._texts[name], of_kind)
        return list(self._transaction.run(text, params))


class Neo4jConnection:
    """A pool of connections to one database. Safe to use from several threads; reconnects by itself.

    Raises `BadInput` for an address or certificate that cannot be used; a server that is away is found out by the first call.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: tuple[str, str] | None,
        database: str | None,
        ca_file: Path | None,
        limits: Limits,
    ) -> None:
        self.limits = limits
        self.url = url
        self._database = database
        self._texts = load("neo4j")
        self._driver = _driver(url, auth, ca_file, limits)
        self._threads = ThreadPoolExecutor(limits.waiting, thread_name_prefix="graph-read")
        self._free = threading.BoundedSemaphore(limits.waiting)

    def read(self, name: str, work: Callable[[Statements], T], *, timeout_s: float | None = None) -> T:
        try:
            return self._transact(name, work, deadline.left_s(timeout_s or self.limits.read_s), write=False)
        except StoreAway:
            deadline.check()
            raise

    def write(self, name: str, work: Callable[[Statements], T], *, timeout_s: float | None = None) -> T:
        return self._transact(name, work, timeout_s or self.limits.write_s, write=True)

    def rows(self, name: str, /, **params: Any) -> list[neo4j.Record]:
        """One read statement in a transaction of its own."""
        return self.read(name, lambda statements: statements.run(name, **params))

    def change(self, name: str, /, **params: Any) -> None:
        """One writing statement in a transaction of its own."""
        self.write(name, lambda statements: statements.run(name, **params))

    def by(self, name: str, deadline_s: float, /, **params: Any) -> list[neo4j.Record]:
        """One read, tried once, or `Unavailable` when `deadline_s` is over, even when the network says nothing.

        The read goes on in its thread until the server ends it; while `waiting` of them do, further ones are refused at once.
        """
        if not self._free.acquire(blocking=False):
            raise _too_late(name, self.url, f"{self.limits.waiting} earlier ones still wait")
        waited = self._threads.submit(self._once, name, deadline_s, params)
        waited.add_done_callback(lambda _: self._free.release())
        try:
            return waited.result(timeout=deadline_s)
        except TimeoutError:
            waited.cancel()
            raise _too_late(name, self.url, f"no answer within {deadline_s * 1e3:.0f} ms") from None

    def close(self) -> None:
        """Reads whose deadline is over may still wait for the server; connections that are in use then are left to it."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        until = monotonic() + _CLOSE_S
        if all(self._free.acquire(timeout=max(0.0, until - monotonic())) for _ in range(self.limits.waiting)):
            self._driver.close()
        else:
            log.warning("%s still owes answers; its connections are left open", self.url)

    def _once(self, name: str, deadline_s: float, params: dict[str, Any]) -> list[neo4j.Record]:
        query = neo4j.Query(self._texts[name], metadata={"app": "ringwatch", "query": name}, timeout=deadline_s)
        try:
            with self._driver.session(database=self._database, default_access_mode=neo4j.READ_ACCESS) as session:
                return list(session.run(query, params))
        except (Neo4jError, DriverError, OSError) as error:
            raise self._explained(error, name, name) from error

    def _transact(self, name: str, work: Callable[[Statements], T], timeout_s: float, *, write: bool) -> T:
        running: list[str] = [name]

        @unit_of_work(metadata={"app": "ringwatch", "query": name}, timeout=timeout_s)
        def unit(transaction: ManagedTransaction) -> T:
            if not write:
                deadline.check()
            return work(Statements(transaction, self._texts, running))

        try:
            with self._driver.session(database=self._database, **({} if write else self._patience())) as session:
                return session.execute_write(unit) if write else session.execute_read(unit)
        except (Neo4jError, DriverError, OSError) as error:
            raise self._explained(error, name, running[0]) from error

    def _patience(self) -> dict[str, Any]:
        """Of a read whose answer has a time. The driver waits up to as long again as it has tried, so it may try for half of what is left."""
        if not deadline.is_set():
            return {}
        return {
            "max_transaction_retry_time": deadline.left_s(2 * self.limits.retry_s) / 2,
            "connection_acquisition_timeout": deadline.left_s(self.limits.connect_s),
        }

    def _explained(self, error: Exception, name: str, statement: str) -> RingwatchError:
        query = name if name == statement else f"{name} ({statement})"
        said, code = _first_line(error), getattr(error, "code", None) or ""
        context: dict[str, Any] = {"query": statement, "code": code or None}
        if isinstance(error, AuthError) or code.startswith(SECURITY):
            return _refused(f"Neo4j at {self.url} refused graph query {query}: {said}", code)
        if code == NO_DATABASE:
            return BadInput(f"Neo4j at {self.url}: {said}", hint="check RINGWATCH_NEO4J_DATABASE, or leave it out")
        if isinstance(error, ClientError) and not (error.is_retryable() or (error.code or "").startswith(ENDED)):
            return Corrupt(
                f"Neo4j at {self.url} cannot run graph query {query}: {error.code}: {said}",
                hint="the graph was changed by another program, or its server is older than 5.26",
                **context,
            )
        why, hint = _away(error)
        return StoreAway(f"graph query {query} failed at {self.url}: {why}", hint=hint, **context)


def _refused(text: str, code: str) -> RingwatchError:
    if code == f"{SECURITY}AuthenticationRateLimit":
        hint = (
            "check RINGWATCH_NEO4J_PASSWORD_FILE, here and elsewhere: after wrong ones nobody gets in for some seconds"
        )
        return StoreAway(text, hint=hint, retry_after_s=_LOCKED_S)
    if code == f"{SECURITY}CredentialsExpired":
        return ServerDenied(text, hint="the user's first password must be changed: ALTER CURRENT USER SET PASSWORD")
    if code == f"{SECURITY}Forbidden":
        return ServerDenied(text, hint="the user needs the right to read and to write in this database")
    return ServerDenied(text, hint="check RINGWATCH_NEO4J_USERNAME and RINGWATCH_NEO4J_PASSWORD_FILE")


def _away(error: BaseException) -> tuple[str, str]:
    """What went wrong, and what to do. The driver wraps what a connection said several times: that is at the bottom."""
    why = _first_line(error)
    while (below := error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__) is not None:
        error = below
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "it must be in date, for the name in the address, and signed by an authority in RINGWATCH_NEO4J_CA_FILE"
        return f"its certificate is not taken: {error.verify_message}", hint
    if isinstance(error, ssl.SSLError):
        return f"TLS does not come about: {_first_line(error)}", "does it speak TLS there? neo4j:// is without"
    below_said = _first_line(error)
    if "incomplete handshake" in below_said:
        return below_said, "does it ask for TLS there? That is neo4j+s://; else look at its log"
    why = why if below_said in why else f"{why.rstrip(':')}: {below_said}"
    return why, "check that Neo4j runs and is not overloaded; it is tried again and takes up where it was"


def _first_line(error: BaseException) -> str:
    lines = str(getattr(error, "message", None) or error).splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _driver(url: str, auth: tuple[str, str] | None, ca_file: Path | None, limits: Limits) -> neo4j.Driver:
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest:
        raise BadInput(
            f"graph address {url!r} is no Neo4j address", hint=f"one of {', '.join(SCHEMES)}:// and host:port"
        )
    trust: dict[str, Any] = {}
    if ca_file is not None:
        if not scheme.endswith("+s"):
            raise BadInput(
                f"a certificate authority is given for {url}, which is not checked against one",
                hint="write neo4j+s:// or bolt+s://, or leave the certificate file out",
            )
        if not ca_file.is_file():
            raise BadInput(f"certificate file {ca_file} is missing", hint="a PEM file with the authority is needed")
        try:
            ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise BadInput(
                f"certificate file {ca_file} cannot be used: {error}", hint="a PEM file with the authority is needed"
            ) from None
        url = f"{scheme.removesuffix('+s')}://{rest}"
        trust = {"encrypted": True, "trusted_certificates": TrustCustomCAs(str(ca_file))}
    try:
        return GraphDatabase.driver(
            url,
            auth=auth,
            user_agent="ringwatch",
            connection_timeout=limits.connect_s,
            connection_acquisition_timeout=limits.connect_s,
            connection_write_timeout=limits.write_s,
            max_connection_pool_size=limits.connections,
            max_transaction_retry_time=limits.retry_s,
            initial_retry_delay=0.05,
            liveness_check_timeout=30.0,
            notifications_min_severity="OFF",
            telemetry_disabled=True,
            **trust,
        )
    except (ConfigurationError, ValueError, OSError) as error:
        raise BadInput(
            f"graph address {url!r} cannot be used: {error}", hint="neo4j://host:port is the usual form"
        ) from error


def _too_late(name: str, url: str, what: str) -> Unavailable:
    return StoreAway(
        f"graph query {name} at {url}: {what}",
        hint="answers are degraded meanwhile; check the load of Neo4j",
        query=name,
    )


def one(rows: Sequence[neo4j.Record], column: str, default: Any = None) -> Any:
    return rows[0][column] if rows else default

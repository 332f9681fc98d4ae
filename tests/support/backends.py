"""Real servers for tests: found in the environment, else as containers, else started by `servers.launcher`.

Fixtures (session, shared by all workers of pytest-xdist; nothing is left running after the run):
    redis_server, kafka_server, neo4j_server, postgres_server    one each, with `.settings` (RINGWATCH_* variables)
    backends                                                     all four; `.settings` of all together
    own_servers                                                  a factory of private servers a test may kill, stop and pause

The order for each: `RINGWATCH_TEST_REDIS_URL` (KAFKA, NEO4J, POSTGRES), with `RINGWATCH_TEST_REDIS_PASSWORD_FILE` and the like, which
stand for `RINGWATCH_REDIS_...` (tests erase all of a Redis and a Neo4j: only with `RINGWATCH_TEST_MAY_ERASE=1`); a container where a
Docker engine answers; a process of the launcher. Else the test is skipped and says what is missing; with `RINGWATCH_REQUIRE_BACKENDS=1` it fails.

A test keeps away from the others so:
    with redis_server.fresh() as settings: ...         an empty database number
    with postgres_server.fresh() as settings: ...      a new database (`template=` copies one), dropped at the end
    with kafka_server.fresh() as prefix: ...           a prefix for topics and groups; its topics are deleted at the end
    with neo4j_server.tenant() as tenant: ...          a tenant nobody else has; others work in the same graph
    with neo4j_server.emptied() as settings: ...       alone in the graph, without nodes, constraints or indexes; waits for the others
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from ringwatch.errors import NotFound, RingwatchError, Unavailable
from servers import record
from servers.launcher import NAMES, Servers
from servers.process import Proc, began
from servers.server import Sizing
from tests.support.containers import Containers, engine_answers

_FOLDER = "RINGWATCH_TEST_RUN_FOLDER"
_OWNER = "RINGWATCH_TEST_RUN_OWNER"
_URLS = {"redis": "STATE", "kafka": "BUS", "neo4j": "GRAPH", "postgres": "LEDGER"}
_ERASED, _MAY_ERASE = ("redis", "neo4j"), "RINGWATCH_TEST_MAY_ERASE"
"""Nothing in these keeps tests apart from what was there before."""
_numbers = count()


@dataclass(frozen=True)
class Backend:
    """One real server. `origin`: environment, container or launcher."""

    name: str
    origin: str
    settings: Mapping[str, str]
    folder: Path
    """The run's folder, for locks between workers."""

    @property
    def url(self) -> str:
        return self.settings[f"RINGWATCH_{_URLS[self.name]}_URL"]

    @property
    def address(self) -> str:
        """host:port"""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def password(self) -> str | None:
        path = self.settings.get(f"RINGWATCH_{self.name.upper()}_PASSWORD_FILE")
        return Path(path).read_text().strip() if path else None

    def _with_path(self, path: str) -> dict[str, str]:
        """The settings, with another path in the URL."""
        changed = urlunsplit(urlsplit(self.url)._replace(path=path))
        return {**self.settings, f"RINGWATCH_{_URLS[self.name]}_URL": changed}


class RedisBackend(Backend):
    @contextmanager
    def fresh(self) -> Iterator[dict[str, str]]:
        """Settings that lead to an empty database number of this worker."""
        import redis

        host, port = self.address.split(":")
        with redis.Redis(host=host, port=int(port), password=self.password) as client:
            numbers = int(client.config_get("databases")["databases"])
        worker, workers = _worker()
        mine = [n for n in range(1, numbers) if n % workers == worker]
        if not mine:
            pytest.fail(f"Redis has {numbers} databases, too few for {workers} workers: start it with --databases 256")
        number = mine[next(_numbers) % len(mine)]
        with redis.Redis(host=host, port=int(port), password=self.password, db=number) as client:
            client.flushdb()
            yield self._with_path(f"/{number}")
            client.flushdb()


class PostgresBackend(Backend):
    @contextmanager
    def fresh(self, template: str = "template0") -> Iterator[dict[str, str]]:
        """Settings that lead to a database of its own, made from a template nobody is connected to."""
        import psycopg
        from psycopg import sql

        name = f"rw_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, password=self.password, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
            try:
                yield self._with_path(f"/{name}")
            finally:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class KafkaBackend(Backend):
    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A prefix nobody else has; topics that begin with it are deleted at the end."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        prefix = f"t{uuid.uuid4().hex[:8]}."
        yield prefix
        admin = AdminClient({"bootstrap.servers": self.address})
        topics = [name for name in admin.list_topics(timeout=10).topics if name.startswith(prefix)]
        for future in (admin.delete_topics(topics, operation_timeout=10) if topics else {}).values():
            try:
                future.result(20)
            except KafkaException:
                continue


class Neo4jBackend(Backend):
    @contextmanager
    def tenant(self) -> Iterator[str]:
        """A tenant nobody else has. Its nodes (those with this `tenant`) are deleted at the end."""
        tenant = f"t{uuid.uuid4().hex[:12]}"
        with self._held(fcntl.LOCK_SH):
            yield tenant
            self.query(
                "MATCH (n {tenant: $tenant}) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS", tenant=tenant
            )

    @contextmanager
    def emptied(self) -> Iterator[dict[str, str]]:
        """Alone in an empty graph, without constraints and indexes. Never inside `tenant` of the same process."""
        with self._held(fcntl.LOCK_EX):
            self.empty()
            yield dict(self.settings)
            self.empty()

    def empty(self) -> None:
        self.query("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS")
        for row in self.query("SHOW CONSTRAINTS YIELD name"):
            self.query("DROP CONSTRAINT $name", name=row["name"])
        for row in self.query("SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP'"):
            self.query("DROP INDEX $name", name=row["name"])

    def query(self, text: str, **values: object) -> list[dict[str, object]]:
        """The rows of one statement, run in a transaction of its own."""
        from neo4j import GraphDatabase, Query

        auth = (self.settings["RINGWATCH_NEO4J_USERNAME"], self.password or "")
        with GraphDatabase.driver(self.url, auth=auth) as driver, driver.session() as session:
            return session.run(Query(text), values).data()  # type: ignore[arg-type]

    @contextmanager
    def _held(self, how: int) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "neo4j.lock").open("a") as lock:
            fcntl.flock(lock, how)
            yield


_CLASSES: dict[str, type[Backend]] = {
    "redis": RedisBackend,
    "kafka": KafkaBackend,
    "neo4j": Neo4jBackend,
    "postgres": PostgresBackend,
}


@dataclass(frozen=True)
class Backends:
    """All four."""

    redis: RedisBackend
    postgres: PostgresBackend
    kafka: KafkaBackend
    neo4j: Neo4jBackend

    @property
    def settings(self) -> dict[str, str]:
        each = (self.redis, self.postgres, self.kafka, self.neo4j)
        return {name: value for one in each for name, value in one.settings.items()}


def find(name: str) -> Backend:
    """The server of this name, started if need be. Skips the test, or fails it, when there is none."""
    folder = run_folder()
    given = _given(name)
    if given and name in _ERASED and os.environ.get(_MAY_ERASE) != "1":
        raise pytest.fail.Exception(
            f"RINGWATCH_TEST_{name.upper()}_URL names a server, and tests erase what is in it: with {_MAY_ERASE}=1 they may",
            pytrace=False,
        )
    if given:
        return _CLASSES[name](name, "environment", given, folder)
    with _prepared(folder) as servers:
        missing = "no Docker engine answers"
        if engine_answers():
            try:
                return _CLASSES[name](name, "container", Containers(folder / "containers").up(name), folder)
            except Unavailable as error:
                missing = error.message
        try:
            servers.up([name], Sizing(quick_start=True))
        except NotFound as error:
            missing += f", {error.message} ({error.hint})"
        except RingwatchError as error:
            missing += f", {error.message}"
        else:
            kept = {k: v for k, v in servers.settings.items() if f"_{name.upper()}_" in k or f"_{_URLS[name]}_" in k}
            return _CLASSES[name](name, "launcher", kept, folder)
    raise absent(f"no {name}: RINGWATCH_TEST_{name.upper()}_URL is not set, {missing}")


def find_all() -> Backends:
    """All four, started together."""
    wanted = [name for name in NAMES if not _given(name)]
    if wanted and not engine_answers():
        with _prepared(run_folder()) as servers, suppress(RingwatchError):
            servers.up(wanted, Sizing(quick_start=True))
    found = {name: find(name) for name in NAMES}
    return Backends(**found)  # type: ignore[arg-type]


def absent(why: str) -> Exception:
    """To be raised: a skip, or a failure where servers are required."""
    if os.environ.get("RINGWATCH_REQUIRE_BACKENDS") == "1":
        return pytest.fail.Exception(why, pytrace=False)
    return pytest.skip.Exception(why)


@contextmanager
def private() -> Iterator[Callable[..., Servers]]:
    """A factory of servers nobody else uses: `make("redis", "kafka")`; all of them are gone at the end."""
    made: list[Servers] = []

    def make(*names: str, sizing: Sizing | None = None) -> Servers:
        unknown = set(names) - set(NAMES)
        assert not unknown, unknown
        place = run_folder() / f"own-{uuid.uuid4().hex[:8]}"
        with _prepared(run_folder()):
            place.mkdir()
        servers = Servers(place)
        made.append(servers)
        try:
            servers.up(names, sizing or Sizing(quick_start=True))
        except NotFound as error:
            raise absent(f"no {', '.join(names)}: {error.message} ({error.hint})") from None
        return servers

    try:
        yield make
    finally:
        for servers in made:
            if record.exists(servers.folder):
                servers.delete()


def begin_run() -> None:
    """On the controller, before workers start: where this run's servers will be, and who answers for them."""
    os.environ[_FOLDER] = str(Path(tempfile.gettempdir()) / f"ringwatch-tests-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    os.environ[_OWNER] = f"{os.getpid()} {began(os.getpid())}"


def end_run() -> None:
    """On the controller, at the very end: stop and remove whatever this run started."""
    clear(run_folder())


def run_folder() -> Path:
    return Path(os.environ[_FOLDER])


def clear(folder: Path) -> None:
    for place in [p.parent for p in folder.glob("*/servers.json")]:
        _patiently(Servers(place).delete)
    Containers(folder / "containers").down()
    shutil.rmtree(folder, ignore_errors=True)


def _patiently(delete: Callable[[], None]) -> None:
    """Again while a worker that is about to end still holds the folder."""
    for _ in range(600):
        try:
            return delete()
        except NotFound:
            return None
        except RingwatchError:
            time.sleep(0.1)
    return delete()


def _given(name: str) -> dict[str, str]:
    """Settings named in the environment for this server."""
    start = f"RINGWATCH_TEST_{name.upper()}_"
    found = {k.removeprefix(start): v for k, v in os.environ.items() if k.startswith(start)}
    if "URL" not in found:
        return {}
    url = found.pop("URL")
    return {f"RINGWATCH_{_URLS[name]}_URL": url} | {f"RINGWATCH_{name.upper()}_{k}": v for k, v in found.items()}


@contextmanager
def _prepared(folder: Path) -> Iterator[Servers]:
    """The run's shared servers, held against other workers; the first to come posts a watchman."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "watched").exists():
            (folder / "watched").touch()
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.backends", str(folder), *os.environ[_OWNER].split(" ", 1)],
                cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        yield Servers(folder / "shared")


def _worker() -> tuple[int, int]:
    """Which of how many workers this is."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(name.removeprefix("gw")), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def watch(folder: Path, owner: Proc) -> None:
    """Until the run's controller has ended, however it ended; then clear up what it left."""
    while owner.alive() and folder.exists():
        time.sleep(0.5)
    if folder.exists():
        clear(folder)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), Proc(int(sys.argv[2]), sys.argv[3]))

"""Neo4j Community with its Browser as one Java process, from Maven Central."""

from __future__ import annotations

import hashlib
import secrets
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from servers.java import class_path, flags, java, require_jars
from servers.process import Command, listens
from servers.server import Place, Say, write_private

_ROUNDS = 1024
_USER = "neo4j"
_OPENED = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch", "java.base/java.util.concurrent")


class Neo4jServer:
    """One database with a password, Bolt and Browser on loopback; nothing is reported to anybody."""

    name: ClassVar[str] = "neo4j"
    ports: ClassVar[tuple[str, ...]] = ("bolt", "http")
    stop_with: ClassVar[signal.Signals] = signal.SIGTERM

    def require(self) -> None:
        java()
        require_jars(self.name)

    def prepare(self, at: Place, say: Say) -> None:
        class_path(self.name, say)
        conf = at.folder / "conf"
        conf.mkdir(parents=True, exist_ok=True)
        (conf / "neo4j.conf").write_text("".join(f"{name}={value}\n" for name, value in _config(at).items()))
        if not (at.folder / "data" / "databases").exists():
            write_private(at.folder / "data" / "dbms" / "auth.ini", first_user(at.password))

    def command(self, at: Place) -> Command:
        options = flags(
            class_path(self.name, lambda line: None),
            at.sizing.neo4j_heap_mb,
            "-Dfile.encoding=UTF-8",
            "-Dio.netty.tryReflectionSetAccessible=true",
            *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED),
            quick=at.sizing.quick_start,
        )
        places = [f"--home-dir={at.folder}", f"--config-dir={at.folder / 'conf'}"]
        argv = [str(java()), *options, "org.neo4j.server.CommunityEntryPoint", *places]
        return Command(argv, at.folder, at.folder / "logs" / "console.log", gives_way=not at.sizing.quick_start)

    def trouble(self, at: Place, wait_s: float) -> str | None:
        import neo4j
        from neo4j.exceptions import DriverError, Neo4jError

        if not listens(at.ports["bolt"]):
            return f"nobody listens on port {at.ports['bolt']}"
        with neo4j.GraphDatabase.driver(
            f"bolt://127.0.0.1:{at.ports['bolt']}", auth=(_USER, at.password), connection_timeout=wait_s,
            connection_acquisition_timeout=wait_s, max_transaction_retry_time=0, keep_alive=False,
        ) as driver, driver.session() as session:  # fmt: skip
            try:
                session.run("RETURN 1").consume()
            except (DriverError, Neo4jError) as error:
                return str(error)
        return None if listens(at.ports["http"]) else f"nobody listens on port {at.ports['http']}"

    def settings(self, at: Place) -> Mapping[str, str]:
        return {
            "RINGWATCH_GRAPH_URL": f"neo4j://127.0.0.1:{at.ports['bolt']}",
            "RINGWATCH_NEO4J_USERNAME": _USER,
            "RINGWATCH_NEO4J_PASSWORD_FILE": str(at.secret),
        }

    def logs(self, at: Place) -> list[Path]:
        return [at.folder / "logs" / "neo4j.log", at.folder / "logs" / "console.log"]

    def leftovers(self, at: Place) -> list[Path]:
        return []


def first_user(password: str) -> str:
    """The line `neo4j-admin dbms set-initial-password` writes; read when the system database is first made."""
    salt = secrets.token_bytes(32)
    digest = hashlib.sha256(salt + password.encode()).digest()
    for _ in range(_ROUNDS - 1):
        digest = hashlib.sha256(digest).digest()
    return f"{_USER}:SHA-256,{digest.hex()},{salt.hex()},{_ROUNDS}:\n"


def _config(at: Place) -> Mapping[str, str]:
    bolt, http = f"127.0.0.1:{at.ports['bolt']}", f"127.0.0.1:{at.ports['http']}"
    return {
        "server.default_listen_address": "127.0.0.1",
        "server.default_advertised_address": "127.0.0.1",
        "server.bolt.listen_address": bolt,
        "server.bolt.advertised_address": bolt,
        "server.http.listen_address": http,
        "server.http.advertised_address": http,
        "server.memory.pagecache.size": f"{at.sizing.neo4j_cache_mb}m",
        "db.tx_log.preallocate": "false",
        "db.tx_log.rotation.size": "64m",
        "db.tx_log.rotation.retention_policy": "256M size",
        "db.logs.query.enabled": "OFF",
        "dbms.usage_report.enabled": "false",
        "client.allow_telemetry": "false",
        "internal.server.bolt.thread_pool_shutdown_wait_time": "1s",
        "internal.server.bolt.connection_shutdown_wait_time": "1s",
    }

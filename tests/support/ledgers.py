"""Ledgers for tests: a fresh database each, and a PostgreSQL server of a test's own, to be stopped or filled up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from sqlalchemy.engine import make_url

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.stream import ScoringStream
from ledger.sql_store import SqlLedger
from ringwatch.errors import NotFound
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy, TenantPolicy
from scorers.registry import build_scorers
from servers.postgres_server import binary
from tests.support.backends import PostgresBackend, absent
from tests.support.streams import stream


@contextmanager
def fresh_database(server: PostgresBackend) -> Iterator[str]:
    """URL, password and all, of an empty database of its own."""
    with server.fresh() as settings:
        url = make_url(settings["RINGWATCH_LEDGER_URL"])
        yield url.set(password=url.password or server.password).render_as_string(hide_password=False)


@contextmanager
def fresh_ledger(server: PostgresBackend) -> Iterator[str]:
    """As `fresh_database`, with the tables made."""
    with fresh_database(server) as url:
        with closing(SqlLedger(url, FeatureSchema())) as ledger:
            ledger.prepare()
        yield url


def scored(events: int) -> Decisions:
    """Decisions on a synthetic stream of so many items, by a policy that is quick to alert."""
    schema = FeatureSchema()
    eager = Policy(TenantPolicy(levels={"MEDIUM": 0.05, "HIGH": 0.2, "CRITICAL": 0.6}))
    scoring = ScoringStream(MemoryState(schema, max_entities=5000), Assessor(build_scorers(), eager, schema))
    return scoring.feed(list(enumerate(stream(11, events))))


class OwnPostgres:
    """A server in a folder, on a free port of loopback."""

    user, password = "ringwatch", "wordless-" + token_hex(6)

    def __init__(self, folder: Path, *options: str) -> None:
        try:
            binary("initdb")
        except NotFound as error:
            raise absent(str(error)) from None
        self.folder, self.data = folder, folder / "data"
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        secret = folder / "secret"
        secret.write_text(self.password)
        if os.geteuid() == 0:
            for path in (folder, secret):
                shutil.chown(path, "postgres", "postgres")
        self._command(
            "initdb", "-D", self.data, "-U", self.user, "--pwfile", secret, "-A", "scram-sha-256", "-E", "UTF8"
        )
        with (self.data / "postgresql.conf").open("a") as file:
            lines = (
                "listen_addresses='127.0.0.1'",
                f"port={self.port}",
                f"unix_socket_directories='{folder}'",
                *options,
            )
            file.write("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        self._command("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "start")

    def start_if_stopped(self) -> None:
        """A server whose log cannot be written stops by itself; its recovery may still be going on."""
        with suppress(subprocess.CalledProcessError):
            self.start()

    def stop(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self._command("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def _command(self, name: str, *arguments: object) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_user, str(binary(name)), *map(str, arguments)]
        with (self.folder / "commands").open("a") as out:
            subprocess.run(command, check=True, timeout=120, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder)

"""PostgreSQL from the operating system's package. It refuses to run as root, so root runs it as another user."""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ringwatch.errors import NotFound, Unavailable
from servers.process import Command, run
from servers.server import Place, Say, program, write_private

_ELSEWHERE = Path("/var/lib/ringwatch-servers")
_ROLE = "ringwatch"
_PACKAGE = "postgresql"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class PostgresServer:
    """One PostgreSQL cluster with one role and one database, both named ringwatch; passwords by SCRAM, loopback only."""

    name: ClassVar[str] = "postgres"
    ports: ClassVar[tuple[str, ...]] = ("postgres",)
    stop_with: ClassVar[signal.Signals] = signal.SIGINT
    """PostgreSQL's fast stop: clients are cut off, everything is written. SIGTERM would wait for the clients."""

    def require(self) -> None:
        binary("postgres")
        _user()

    def prepare(self, at: Place, say: Say) -> None:
        data, user = self._data(at), _user()
        if (data / "PG_VERSION").exists() and not (data / "initialising").exists():
            return
        if data.exists():
            shutil.rmtree(data)
        say("making its database")
        data.parent.mkdir(parents=True, exist_ok=True)
        data.mkdir(mode=0o700)
        handed = data.with_name(f"{data.name}.password")
        try:
            handed.touch(mode=0o600)
            handed.write_text(at.password)
            for path in (data, handed):
                shutil.chown(path, user, user) if user else None
            code, text = run(
                [
                    str(binary("initdb")), "-D", str(data), "-U", _ROLE, f"--pwfile={handed}", "--auth=scram-sha-256",
                    "--encoding=UTF8", "--no-locale",
                ],
                user=user, folder=data,
            )  # fmt: skip
        finally:
            handed.unlink()
        if code:
            shutil.rmtree(data)
            raise Unavailable(
                f"initdb failed (status {code}): {' '.join(text.split()[-40:])}", hint="is the disk full, or not ours?"
            )

    def command(self, at: Place) -> Command:
        data = self._data(at)
        options = {**_OPTIONS, "port": str(at.ports["postgres"])}
        argv = [str(binary("postgres")), "-D", str(data)]
        argv += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return Command(argv, data, at.folder / "postgres.log", user=_user(), gives_way=not at.sizing.quick_start)

    def trouble(self, at: Place, wait_s: float) -> str | None:
        import psycopg

        try:
            with psycopg.connect(
                host="127.0.0.1", port=at.ports["postgres"], user=_ROLE, password=at.password, dbname="postgres",
                connect_timeout=max(2, round(wait_s)), autocommit=True, options=f"-c statement_timeout={round(wait_s * 1000)}",
            ) as connection:  # fmt: skip
                if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'ringwatch'").fetchone() is None:
                    connection.execute("CREATE DATABASE ringwatch")
        except psycopg.Error as error:
            return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        return None

    def settings(self, at: Place) -> Mapping[str, str]:
        """With the keys of the audit trail and of personal fields, which lie in this database: all who use it need the same."""
        keys = {name: at.secret.with_name(name) for name in ("audit", "personal")}
        for path in keys.values():
            if not path.exists():
                write_private(path, secrets.token_hex(32) + "\n")
        return {
            "RINGWATCH_LEDGER_URL": f"postgresql://{_ROLE}@127.0.0.1:{at.ports['postgres']}/ringwatch",
            "RINGWATCH_POSTGRES_PASSWORD_FILE": str(at.secret),
            "RINGWATCH_AUDIT_KEY_FILE": str(keys["audit"]),
            "RINGWATCH_PERSONAL_KEY_FILE": str(keys["personal"]),
        }

    def logs(self, at: Place) -> list[Path]:
        return [at.folder / "postgres.log"]

    def leftovers(self, at: Place) -> list[Path]:
        data = self._data(at)
        return [] if data.is_relative_to(at.folder) else [data]

    def _data(self, at: Place) -> Path:
        """In the place, unless the user PostgreSQL runs as is kept out of a folder above it (root's home, say)."""
        user = _user()
        if user is None or reaches(user, at.folder):
            return at.folder / "data"
        return _ELSEWHERE / hashlib.sha256(str(at.folder).encode()).hexdigest()[:16]


def binary(name: str) -> Path:
    """Raises NotFound when PostgreSQL is not installed; Debian keeps its programs off the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    return program(name, _PACKAGE, *versions)


def reaches(user: str, folder: Path) -> bool:
    """Whether a user may pass through every folder above (and the folder itself, where it exists)."""
    entry = pwd.getpwnam(user)
    for path in (folder, *folder.parents):
        if not path.exists():
            continue
        stat = path.stat()
        mine = stat.st_uid == entry.pw_uid and stat.st_mode & 0o100
        ours = stat.st_gid == entry.pw_gid and stat.st_mode & 0o010
        if not (mine or ours or stat.st_mode & 0o001):
            return False
    return True


def _user() -> str | None:
    """Whom to run it as: ourselves, but root as the package's own user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise NotFound(
            "PostgreSQL does not run as root, and there is no user postgres",
            hint=f"apt-get install {_PACKAGE} makes it",
        ) from None

"""What the launcher asks of each server, and what it gives it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from ringwatch.errors import NotFound
from servers.process import Command

Say = Callable[[str], None]
"""Takes one line about what goes on."""
_PRIVATE = 0o600


@dataclass(frozen=True)
class Sizing:
    """What the Java servers may take, in MiB. Redis and PostgreSQL take what their data needs.

    `quick_start` is for tests: lightly compiled, so up in half the time and slower at its peak, and none gives way to another.
    """

    kafka_heap_mb: int = 384
    neo4j_heap_mb: int = 512
    neo4j_cache_mb: int = 256
    quick_start: bool = False


@dataclass(frozen=True)
class Place:
    """Where one server lives: its own folder, its ports by name, the file with its password."""

    folder: Path
    ports: Mapping[str, int]
    secret: Path
    sizing: Sizing

    @property
    def password(self) -> str:
        return self.secret.read_text().strip()


class Server(Protocol):
    """One kind of server. Its methods are called by the launcher alone, which holds the folder's lock."""

    name: ClassVar[str]
    ports: ClassVar[tuple[str, ...]]
    """Names of the ports it listens on; the first is the one clients use."""
    stop_with: ClassVar[signal.Signals]
    """Signal after which it writes what it holds and ends."""

    def require(self) -> None:
        """Raises NotFound for a program it needs that is not installed."""

    def prepare(self, at: Place, say: Say) -> None:
        """Make its folder ready to start from; again and again."""

    def command(self, at: Place) -> Command: ...

    def trouble(self, at: Place, wait_s: float) -> str | None:
        """Why it does not answer a real request yet, or None when it does. Blocks for about `wait_s` at most."""

    def settings(self, at: Place) -> Mapping[str, str]:
        """Ringwatch's settings (environment variables) that lead to it."""

    def logs(self, at: Place) -> list[Path]:
        """Files it writes about itself, the most telling first."""

    def leftovers(self, at: Place) -> list[Path]:
        """Folders of its own outside the place."""


def program(name: str, package: str, *others: Path) -> Path:
    """The full path of a program. Raises NotFound that names the Debian package it comes in."""
    found = shutil.which(name)
    if found:
        return Path(found)
    for path in others:
        if (path / name).exists():
            return path / name
    raise NotFound(f"{name} is not installed", hint=f"on Debian and Ubuntu: apt-get install {package}")


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=_PRIVATE)
    path.chmod(_PRIVATE)
    path.write_text(text)

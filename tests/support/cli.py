"""Run the `ringwatch` command as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    def lines(self) -> list[Any]:
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


def environment(**settings: object) -> dict[str, str]:
    """This process's environment without Ringwatch settings, and the given ones."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RINGWATCH_")}
    return kept | {f"RINGWATCH_{k.upper()}": str(v) for k, v in settings.items()} | {"COLUMNS": "160"}


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "ringwatch.cli", *map(str, args)]


def ringwatch(*args: object, stdin: bytes = b"", cwd: Path | None = None, **settings: object) -> Done:
    """Run to the end; no run may ever show a traceback."""
    done = subprocess.run(
        command(*args), input=stdin, capture_output=True, cwd=cwd, env=environment(**settings), timeout=300
    )
    found = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in found.err, found.err
    assert "unexpected:" not in found.err, found.err
    return found

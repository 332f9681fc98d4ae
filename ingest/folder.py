"""The data folder: one process owns it, and what lies where."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO

from ringwatch.errors import BadInput, Conflict

MARKER = "ringwatch.json"
_DESK = ("audit.key", "desk.sqlite", "desk.sqlite-wal", "desk.sqlite-shm")
_BESIDE = frozenset(
    {"owner.lock", "personal.key", "rules", "policies", "models", "registry", "datasets", "training", *_DESK}
)
"""What may be there before the first event: commands that need not own the folder write it."""
_FORMAT = 1


class DataFolder:
    """A folder held by this process until `close`. Made if absent; refused if it holds something else.

    Raises `Conflict` when another process holds it (the message says which), `BadInput` when it is not ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"data folder {path} cannot be made: {error.strerror}", hint="choose another --data-dir"
            ) from None
        if not (path / MARKER).exists() and any(p.name not in _BESIDE for p in path.iterdir()):
            raise BadInput(
                f"{path} is not empty and not a Ringwatch data folder", hint="choose an empty folder with --data-dir"
            )
        self._lock = self._hold()
        if not (path / MARKER).exists():
            self.write_marker({"format": _FORMAT})

    def _hold(self) -> IO[str]:
        lock = (self.path / "owner.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            lock.close()
            raise Conflict(
                f"{self.path} is in use by process {owner}",
                hint="stop that process, or choose another folder with --data-dir",
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def marker(self) -> dict[str, object]:
        content = json.loads((self.path / MARKER).read_text())
        if not isinstance(content, dict):
            raise BadInput(f"{self.path / MARKER} is not a JSON object", hint="restore it or reset the folder")
        return content

    def write_marker(self, content: dict[str, object]) -> None:
        temporary = self.path / (MARKER + ".part")
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        temporary.replace(self.path / MARKER)

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def graph(self) -> Path:
        return self.path / "graph.lbug"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def dead_letters(self) -> Path:
        return self.path / "dead-letters.jsonl"

    def close(self) -> None:
        self._lock.close()

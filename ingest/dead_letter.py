"""The dead-letter file: every record that was refused, with reason, place and bytes. One JSON object a line."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ringwatch.model import Refusal


class DeadLetterFile:
    """Appends refusals, and has them on disk before the ledger counts them.

    `counted` is how many the ledger has counted in this folder: lines beyond were written by a run that ended before
    its transaction did. Their records are read again, so they are dropped, and nothing stands there twice.
    """

    def __init__(self, path: Path, *, counted: int) -> None:
        self._file = path.open("a+b")
        self._file.seek(0)
        for _ in range(counted):
            if not self._file.readline().endswith(b"\n"):
                break
        self._file.truncate()

    def write(self, refusals: Iterable[Refusal]) -> None:
        for r in refusals:
            row: dict[str, object] = {
                "reason": r.reason, "code": r.code, "source": r.source, "position": r.position, "bytes": len(r.raw),
            }  # fmt: skip
            try:
                row["raw"] = r.raw.decode()
            except UnicodeDecodeError:
                row["raw_base64"] = base64.b64encode(r.raw).decode()
            self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

"""The dead-letter file: every record that was refused, with reason, place and bytes. One JSON object a line."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path

from ringwatch.model import Refusal

RAW_LIMIT = 4096


class DeadLetterFile:
    """Appends refusals. A refusal already there (same source and position) is not written again, and a last line torn by a
    crash is dropped, so a restart that repeats its last records leaves no duplicates."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = self._load()
        self._file = path.open("ab")

    def _load(self) -> set[tuple[str, int, str]]:
        written: set[tuple[str, int, str]] = set()
        if not self._path.exists():
            return written
        whole = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                row = json.loads(line)
                written.add((row["source"], row["position"], row["code"]))
                whole += len(line)
        with self._path.open("r+b") as file:
            file.truncate(whole)
        return written

    def write(self, refusals: Iterable[Refusal]) -> None:
        """Append and flush; what is written survives the end of the process."""
        for r in refusals:
            key = (r.source, r.position, r.code)
            if r.position > 0 and key in self._written:
                continue
            self._written.add(key)
            row: dict[str, object] = {
                "reason": r.reason, "code": r.code, "source": r.source, "position": r.position, "bytes": len(r.raw),
            }  # fmt: skip
            raw = r.raw[:RAW_LIMIT]
            try:
                row["raw"] = raw.decode()
            except UnicodeDecodeError:
                row["raw_base64"] = base64.b64encode(raw).decode()
            self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

"""StateStore in this process: one array of records, snapshots to a file. The embedded product mode."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, ColumnBuilder, layout_of
from features.index import BEGAN, EVICTED, SIGNUPS, USED, Table, find, new_table, rebuild, table_of
from features.kernel import LABEL_FRAUD, Columns, run
from features.record import RECORD
from features.schema import FeatureSchema
from features.seen import NOTHING, Seen, room_for
from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import DAY_US

_FORMAT = 4
_CHUNK = 4096
"""Records written at a time."""


class MemoryState:
    """In-process arrays. Memory grows with the entities seen, up to `max_entities` (1 KB each, plus 40 bytes of index).

    One thread at a time. When full, the entity used longest ago is forgotten (counted in `stats`), and is a new one when
    it comes back.
    """

    def __init__(self, schema: FeatureSchema, *, max_entities: int = 2_000_000, late_full_us: int = DAY_US) -> None:
        if max_entities < 1000:
            raise BadInput(f"max_entities is {max_entities}", hint="at least 1,000 entities are needed")
        self.schema = schema
        self._late_full_us = late_full_us
        self._layout = layout_of(schema)
        self._builder = ColumnBuilder(schema)
        self._table = new_table(max_entities)

    def apply(self, items: Sequence[Applied], *, commit: bool = True) -> NDArray[np.float32]:
        cols = self._builder.build(items)
        return self._run(cols, self._table if commit else self._touched(cols), NOTHING)

    def apply_seen(self, items: Sequence[Applied]) -> tuple[NDArray[np.float32], Seen]:
        cols = self._builder.build(items)
        seen = room_for(cols.keys[cols.op < LABEL_FRAUD], self._layout.strength)
        return self._run(cols, self._table, seen), seen

    def _run(self, cols: Columns, table: Table, seen: Seen) -> NDArray[np.float32]:
        events = int(np.count_nonzero(cols.op < LABEL_FRAUD))
        features = np.full((events, self.schema.size), np.nan, np.float32)
        run(table, cols, self._layout, self._late_full_us, features, seen)
        return features

    def _touched(self, cols: Columns) -> Table:
        """A table of copies: the records the batch names and, where it labels, their neighbours'."""
        wanted = np.unique(cols.keys)
        wanted = wanted[wanted != 0]
        labelled = np.unique(cols.keys[cols.op >= LABEL_FRAUD])
        linked = [self._table.records[s]["link_key"] for s in self._slots(labelled)]
        if linked:
            wanted = np.unique(np.concatenate([wanted, *linked]))
            wanted = wanted[wanted != 0]
        meta = self._table.meta
        records = self._table.records[self._slots(wanted)]
        return table_of(records, max(1000, len(wanted) + 1), int(meta[BEGAN]), int(meta[SIGNUPS]))

    def _slots(self, keys: NDArray[np.uint64]) -> list[int]:
        return [slot for key in keys if key != 0 and (slot := find(self._table, np.uint64(key))) >= 0]

    def snapshot(self, path: Path, *, position: int) -> None:
        """Write to a temporary file, flush it to disk, then rename: a crash leaves the old snapshot or the new one."""
        used = int(self._table.meta[USED])
        header = {
            "format": _FORMAT,
            "schema": self.schema.hash,
            "record": RECORD.itemsize,
            "position": position,
            "used": used,
            "capacity": len(self._table.records),
            "meta": [int(v) for v in self._table.meta],
        }
        temporary = path.with_suffix(path.suffix + ".part")
        with temporary.open("wb") as file:
            line = json.dumps(header).encode() + b"\n"
            file.write(line)
            checksum = zlib.crc32(line)
            for part in self._parts(used):
                file.write(part)
                checksum = zlib.crc32(part, checksum)
            file.write(checksum.to_bytes(4, "little"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _parts(self, used: int) -> list[memoryview]:
        arrays = (self._table.newer[:used], self._table.older[:used])
        parts = [memoryview(a.data).cast("B") for a in arrays if used]
        for start in range(0, used, _CHUNK):
            rows = self._table.records[start : min(start + _CHUNK, used)]
            parts.append(memoryview(rows.view(np.uint8).data).cast("B"))
        return parts

    def restore(self, path: Path) -> int:
        try:
            with path.open("rb") as file:
                return self._read(file, path)
        except (OSError, ValueError, KeyError) as error:
            raise Corrupt(
                f"snapshot {path.name} cannot be read: {error}", hint="remove it to use the one before"
            ) from None

    def _read(self, file: IO[bytes], path: Path) -> int:
        line = file.readline(10_000)
        header = json.loads(line)
        if header["format"] != _FORMAT or header["record"] != RECORD.itemsize:
            raise Corrupt(f"snapshot {path.name} has another format", hint="it was written by another version")
        if header["schema"] != self.schema.hash:
            raise Corrupt(
                f"snapshot {path.name} belongs to feature schema {header['schema']}, not {self.schema.hash}",
                hint="use the entity kinds it was made with, or reset the data folder",
            )
        used = int(header["used"])
        table = new_table(max(len(self._table.records), used))
        checksum = zlib.crc32(line)
        targets = [table.newer[:used], table.older[:used]]
        targets += [table.records[s : min(s + _CHUNK, used)] for s in range(0, used, _CHUNK)]
        for target in targets:
            if not len(target):
                continue
            raw = file.read(target.nbytes)
            if len(raw) != target.nbytes:
                raise Corrupt(f"snapshot {path.name} is cut short", hint="remove it to use the one before")
            checksum = zlib.crc32(raw, checksum)
            target.view(np.uint8).reshape(-1)[:] = np.frombuffer(raw, np.uint8)
        if file.read(4) != checksum.to_bytes(4, "little"):
            raise Corrupt(f"snapshot {path.name} fails its checksum", hint="remove it to use the one before")
        table.meta[:] = header["meta"]
        rebuild(table)
        self._table = table
        return int(header["position"])

    def contents(self) -> tuple[NDArray[Any], int, int]:
        """The records in use (not copied), time of the first event in microseconds, sign-ups seen."""
        meta = self._table.meta
        return self._table.records[: int(meta[USED])], int(meta[BEGAN]), int(meta[SIGNUPS])

    def record(self, key: int) -> NDArray[np.void] | None:
        """A copy of one entity's record (0-d structured), or None."""
        slot = find(self._table, np.uint64(key))
        return None if slot < 0 else self._table.records[slot].copy()

    def digest(self) -> str:
        """Hash over all records and their order of use: equal states have equal digests."""
        used = int(self._table.meta[USED])
        digest = hashlib.sha256(self._table.meta.tobytes())
        for part in self._parts(used):
            digest.update(part)
        return digest.hexdigest()

    def stats(self) -> dict[str, int]:
        used = int(self._table.meta[USED])
        per_entity = RECORD.itemsize + 8 + 12 * len(self._table.index_key) // len(self._table.records)
        return {
            "entities": used,
            "capacity": len(self._table.records),
            "evicted": int(self._table.meta[EVICTED]),
            "bytes": used * per_entity,
            "bytes_per_entity": per_entity,
        }

    def close(self) -> None:
        pass

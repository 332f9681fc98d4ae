"""Snapshots of everything that is in memory, each in its own folder, the last two kept.

A snapshot is the state, the rings, what the learners have learned, and the position: the running number of the last item it
holds and, for each source, the record to continue after. It is complete or absent: written under another name,
flushed, then renamed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.stream import ScoringStream
from ringwatch.errors import Corrupt

_KEPT = 2


class Position(msgspec.Struct, frozen=True):
    seq: int = -1
    """Running number of the last item applied."""
    watermark_us: int | None = None
    sources: dict[str, int] = {}
    """source_id -> record to continue after."""


class Snapshots:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def write(self, position: Position, stream: ScoringStream) -> None:
        part = self._folder / "part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        stream.state.snapshot(part / "state.bin", position=position.seq)
        _save(part / "learned.npz", stream.assessor.dump())
        if stream.rings is not None:
            _save(part / "rings.npz", stream.rings.dump())
        with (part / "position.json").open("wb") as file:
            file.write(msgspec.json.encode(position))
            file.flush()
            os.fsync(file.fileno())
        target = self._folder / f"{position.seq:015d}"
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        for old in self._present()[:-_KEPT]:
            shutil.rmtree(old)

    def restore(self, stream: ScoringStream) -> tuple[Position, list[str]]:
        """The newest snapshot that can be read, and a sentence for each that could not. An empty `Position` and an empty
        stream without any. The state comes last: it is taken up whole or not at all, the others can be emptied."""
        troubles: list[str] = []
        empty = stream.assessor.dump(), {} if stream.rings is None else stream.rings.dump()
        for path in reversed(self._present()):
            try:
                position = msgspec.json.decode((path / "position.json").read_bytes(), type=Position)
                learned = load_arrays(path / "learned.npz")
                rings = load_arrays(path / "rings.npz") if stream.rings is not None else {}
                stream.assessor.load(learned)
                if stream.rings is not None:
                    stream.rings.load(rings)
                stream.state.restore(path / "state.bin")
            except (OSError, ValueError, KeyError, EOFError, BadZipFile, msgspec.MsgspecError) as error:
                troubles.append(f"snapshot {path.name} cannot be read: {error}")
            except Corrupt as error:
                troubles.append(str(error))
            else:
                return position, troubles
            stream.assessor.load(empty[0])
            if stream.rings is not None:
                stream.rings.load(empty[1])
        return Position(), troubles

    def newest(self) -> Path | None:
        """The folder of the newest snapshot, for readers that do not own the data folder."""
        return next(reversed(self._present()), None)

    def _present(self) -> list[Path]:
        return sorted(p for p in self._folder.iterdir() if p.name.isdigit())


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}

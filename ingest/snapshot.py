"""Snapshots of everything that is in memory, each in its own folder, the last two kept.

A snapshot is the state, the rings, what the learners have learned, and the position: the running number of the last item it
holds and, for each source, the record to continue after. It is complete or absent: written under another name,
flushed, then renamed.

`begin` has a forked child write it, which holds memory as it was at the fork while the parent goes on (copy on write, as Redis
saves); it takes milliseconds where writing takes longer the more there is. ADR 13 has what speaks for it and against.
"""

from __future__ import annotations

import gc
import os
import select
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any, NoReturn
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.stream import ScoringStream
from ringwatch.errors import Corrupt

_KEPT = 2
_PART = "part-"
_WRITTEN = b"written"
_CHILD_S, _POLL_S = 600.0, 0.02
"""A child that takes longer is ended, and the snapshot is tried again later."""


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
        for part in folder.glob(f"{_PART}*"):
            shutil.rmtree(part, ignore_errors=True)

    def write(self, position: Position, stream: ScoringStream) -> None:
        """Write a snapshot and wait for it."""
        self._publish(self._fill(position, stream), position)

    def begin(self, position: Position, stream: ScoringStream, settle: Callable[[], None]) -> Underway:
        """Start a snapshot of the stream as it is now. `settle` waits until ledger and graph hold all of it; a snapshot is not
        there before. Where processes cannot be forked safely it is written at once."""
        if sys.platform != "linux":
            settle()
            self.write(position, stream)
            return Underway(position.seq, (), lambda: None)
        stream.assessor.book.settle()  # threads are not forked
        child = self._fork(position, stream)
        part = self._part(position, child.pid)

        def sweep() -> None:
            shutil.rmtree(part, ignore_errors=True)

        try:
            return Underway(position.seq, (child.wait, settle, lambda: self._publish(part, position)), sweep)
        except RuntimeError:  # no thread to be had
            os.kill(child.pid, signal.SIGKILL)
            with suppress(OSError):
                child.wait()
            sweep()
            raise

    def _fork(self, position: Position, stream: ScoringStream) -> _Child:
        reading, writing = os.pipe()
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # about other threads' locks: the child takes none
                pid = os.fork()
            if not pid:
                self._be_child(position, stream, writing)
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        return _Child(pid, reading)

    def _be_child(self, position: Position, stream: ScoringStream, words: int) -> NoReturn:
        """Write the part, say so and end: nothing of the parent's may run here."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
            gc.disable()
            os.dup2(words, 3)
            os.closerange(4, 1 << 16)  # the folder's lock and the listening socket must not outlive the parent
            os.nice(5)
            self._fill(position, stream)
            os.write(3, _WRITTEN)
        except BaseException as error:  # noqa: BLE001 - as said
            os.write(3, str(error).encode()[:4096])
        finally:
            os._exit(0)

    def _part(self, position: Position, pid: int) -> Path:
        return self._folder / f"{_PART}{position.seq}-{pid}"

    def _fill(self, position: Position, stream: ScoringStream) -> Path:
        part = self._part(position, os.getpid())
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
        return part

    def _publish(self, part: Path, position: Position) -> None:
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

    def _present(self) -> list[Path]:
        return sorted(p for p in self._folder.iterdir() if p.name.isdigit())


class Underway:
    """A snapshot being written behind the caller, in steps."""

    def __init__(self, seq: int, steps: Sequence[Callable[[], None]], sweep: Callable[[], None]) -> None:
        """`sweep` takes away what is left of one that failed."""
        self.seq = seq
        self.seconds = 0.0
        self._trouble = ""
        self._sweep = sweep
        self._thread = threading.Thread(target=self._run, args=(steps,), name="snapshot", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> str:
        """Wait for it; what went wrong, empty when it is there."""
        self._thread.join()
        return self._trouble

    def _run(self, steps: Sequence[Callable[[], None]]) -> None:
        started = perf_counter()
        try:
            for step in steps:
                step()
        except Exception as error:  # noqa: BLE001 - a top: it is told, and the next one is tried later
            self._trouble = f"the snapshot at {self.seq} was not written: {error}"
            self._sweep()
        self.seconds = perf_counter() - started


class _Child:
    def __init__(self, pid: int, words: int) -> None:
        self.pid, self._words = pid, words

    def wait(self) -> None:
        """Until it has ended; by its own words it says whether well. Raises OSError."""
        with open(self._words, "rb") as words:
            deadline = monotonic() + _CHILD_S
            while not self._ended():
                sleep(_POLL_S)
                if monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
            said = words.read()
        if said != _WRITTEN:
            raise OSError(said.decode("utf-8", "replace") or "its process was ended")

    def _ended(self) -> bool:
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # where SIGCHLD is ignored nobody waits for children: the end of its words is its end
            return bool(select.select([self._words], [], [], 0.0)[0])


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}

"""A replay to a data set on disk: features and scores of every event as they were then, with what became known of it.

Two passes over the source: who is who, then the replay. Parts and a snapshot of the stream are written behind it; interrupted and run
again it goes on after the newest snapshot, and the result is the same to the bit. A folder is finished when its card is there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.columns import ResolvedLabel
from ingest.snapshot import Position, Snapshots, Underway
from ingest.source import Source
from ingest.stream import ScoringStream
from ringwatch.errors import BadInput, Conflict, Corrupt
from ringwatch.model import Label
from scorers.decision import Decisions
from training.card import CARD, Card, Job, describe
from training.graph import GRAPH_PARTS, graph_kinds
from training.labelled import NEVER, UNLABELLED, Rows, read_rows
from training.parts import PartWriter, column, part_paths
from training.replay import Replay, Where

UNFINISHED = "unfinished"
_JOB = "job.json"
_READ, _REPLAYED = 0.2, 0.9
"""Shares of the work that are done after the first pass and after the replay."""
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, slots=True)
class Options:
    label_delay_us: int | None = None
    """Instead of the labels' own."""
    snapshot_interval_s: float = 30.0
    """Least time between snapshots, which are written at the end of a part."""
    settings: str = ""
    """Hash of what else the rows depend on: policy, lists, rules, rates, limits."""
    anew: bool = False
    """Whether a data set that is there is written over."""


class _Memory(msgspec.Struct, frozen=True):
    """What a snapshot of the stream does not hold."""

    parts: int
    where: Where
    heard_s: float | None
    """Of fraud; see `Silence`."""
    pending: tuple[tuple[int, int, Label, dict[str, str]], ...]
    graph: dict[str, bytes]
    """See `GraphParts`."""


def job_of(source: Source, stream: ScoringStream, options: Options) -> Job:
    assessor = stream.assessor
    return Job(
        source.name, source.source_id, assessor.schema.hash,
        tuple((kind.name, int(kind.strength), kind.crowded) for kind in assessor.schema.kinds),
        {scorer.name: scorer.version for scorer in assessor.scorers}, options.label_delay_us, options.settings, version("ringwatch"),
    )  # fmt: skip


def finished(folder: Path) -> Card | None:
    """The card of a finished data set. Raises Corrupt for one that cannot be read."""
    path = folder / CARD
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{path}: no card of a data set: {error}", hint="make the data set anew with --force") from None


def make(
    source: Source,
    stream: ScoringStream,
    folder: Path,
    options: Options,
    *,
    progress: Progress = lambda share, words: None,
    stop: Callable[[], bool] = lambda: False,
) -> Card | None:
    """Write the data set, or go on with it; None where `stop` ended it before. `stream` is empty. Raises BadInput for a folder that holds
    something else, and for a source that can be read once only."""
    if not source.resumable:
        raise BadInput(
            f"{source.name} can be read once only", hint="write it to a file first: a data set takes two passes"
        )
    with _held(folder):
        return _make(source, stream, folder, options, progress, stop)


def _make(
    source: Source, stream: ScoringStream, folder: Path, options: Options, progress: Progress, stop: Callable[[], bool]
) -> Card | None:
    job = job_of(source, stream, options)
    if (card := _begin(folder, job, options)) is not None:
        return card
    rows = read_rows(source, progress=lambda done, n: progress(_part(done, 0.0, _READ), f"reading: {n:,} events"))
    if not rows.ids:
        raise BadInput(f"{source.name} holds no events", hint="look at what `ringwatch ingest` refuses of it, and why")
    delay_us = options.label_delay_us
    known_us = np.array(rows.known_us) if delay_us is None else np.array(rows.at_us) + delay_us
    known_us[np.array(rows.label) == UNLABELLED] = NEVER
    with closing(PartWriter(folder, stream.assessor.schema, stream.assessor.names, rows, known_us)) as writer:
        making = _Making(stream, folder / UNFINISHED, rows, writer, options)
        if not making.run(
            source, lambda n: progress(_part(n / len(rows.ids), _READ, _REPLAYED), f"{n:,} events"), stop
        ):
            return None
        writer.graph.write_told()
    kinds = graph_kinds(stream.assessor.schema, rows.kinds)
    card = describe(folder, job, rows.refused, kinds, lambda s, words: progress(_part(s, _REPLAYED, 1.0), words))
    _put(folder / CARD, msgspec.json.format(msgspec.json.encode(card), indent=1))
    shutil.rmtree(folder / UNFINISHED)
    return card


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """By this process alone. Raises Conflict."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        message = f"{folder} is being written by another process"
        raise Conflict(message, hint="wait until it is done, or name another folder") from None
    finally:
        os.close(lock)


def _put(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)


def _part(done: float | None, start: float, stop: float) -> float | None:
    return None if done is None else start + done * (stop - start)


def _begin(folder: Path, job: Job, options: Options) -> Card | None:
    """The card where this job is finished already. Else the folder holds this job, begun or to be gone on with."""
    unfinished = folder / UNFINISHED
    if options.anew:
        (folder / CARD).unlink(missing_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        for path in (*part_paths(folder), *folder.glob(GRAPH_PARTS)):
            path.unlink()
    if (card := finished(folder)) is not None:
        if _same(card.job, job):
            return card
        raise BadInput(f"{folder} holds a data set of {_unlike(job, card.job)}", hint="name another folder, or --force")
    if folder.exists() and not unfinished.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty and holds no data set", hint="name an empty or a new folder")
    unfinished.mkdir(parents=True, exist_ok=True)
    path = unfinished / _JOB
    if not path.exists():
        _put(path, msgspec.json.encode(job))
    elif (begun := msgspec.json.decode(path.read_bytes(), type=Job)) and not _same(begun, job):
        message = f"{folder} holds an unfinished data set of {_unlike(job, begun)}"
        raise BadInput(message, hint="name another folder, or begin anew with --force")
    return None


def _same(one: Job, other: Job) -> bool:
    """Wherever its files are."""
    return msgspec.structs.replace(one, source=other.source) == other


def _unlike(job: Job, other: Job) -> str:
    differ = [name for name in job.__struct_fields__ if name != "source" and getattr(job, name) != getattr(other, name)]
    return f"{other.source}: other {', '.join(differ).replace('_', ' ')}"


class _Making:
    """The replay, with parts and snapshots written behind it."""

    def __init__(self, stream: ScoringStream, folder: Path, rows: Rows, writer: PartWriter, options: Options) -> None:
        self._stream, self._rows, self._writer = stream, rows, writer
        self._folder = folder
        self._snapshots = Snapshots(folder / "snapshots")
        self._interval_s = options.snapshot_interval_s
        self._due = monotonic() + self._interval_s
        self._underway: Underway | None = None
        feeding = np.array(rows.label) != UNLABELLED
        self._replay = Replay(stream, rows, feeding, options.label_delay_us, self._keep, writer.graph.tell)
        self._done = 0

    def run(self, source: Source, progress: Callable[[int], None], stop: Callable[[], bool]) -> bool:
        """Whether it came to the end. Raises what stopped a part; a snapshot that fails is tried again later."""
        self._restore()

        def after(position: int) -> bool:
            progress(self._done)
            if self._writer.full:
                self._writer.end_part()
                self._snapshot()
            return stop()

        ended = self._replay.run(source, after)
        self._writer.end_part()
        self._writer.settle()
        if self._underway is not None:
            self._underway.result()
        if not ended:
            position = self._remember()
            self._snapshots.write(position, self._stream)
        return ended

    def _keep(self, decisions: Decisions, rows: NDArray[np.int64]) -> None:
        self._writer.keep(decisions, rows)
        self._done += len(rows)

    def _snapshot(self) -> None:
        if monotonic() < self._due or (self._underway is not None and not self._underway.done):
            return
        self._due = monotonic() + self._interval_s
        with suppress(OSError, RuntimeError):
            self._underway = self._snapshots.begin(self._remember(), self._stream, self._writer.settle)

    def _memory_path(self, seq: int) -> Path:
        return self._folder / f"memory-{seq:015d}.msgpack"

    def _remember(self) -> Position:
        """What goes with a snapshot of now; that of snapshots which are gone is swept."""
        where, heard_s = self._replay.where, self._writer.silence.heard_s
        pending = tuple((known_us, seq, r.label, r.entities) for known_us, seq, r in self._stream.pending)
        memory = _Memory(
            self._writer.parts, where, None if np.isinf(heard_s) else heard_s, pending, self._writer.graph.dump()
        )
        present = sorted(path.name for path in (self._folder / "snapshots").iterdir() if path.name.isdigit())
        for old in self._folder.glob("memory-*.msgpack"):
            if present and old.stem.removeprefix("memory-") < present[0]:
                old.unlink()
        _put(self._memory_path(where.seq), msgspec.msgpack.encode(memory))
        return Position(where.seq, self._stream.watermark_us)

    def _restore(self) -> None:
        """Go on after the newest snapshot; parts after it are made again."""
        position, _ = self._snapshots.restore(self._stream)
        paths = part_paths(self._folder.parent)
        kept = 0
        if position.seq >= 0:
            memory = msgspec.msgpack.decode(self._memory_path(position.seq).read_bytes(), type=_Memory)
            pending = [(known_us, seq, ResolvedLabel(label, of)) for known_us, seq, label, of in memory.pending]
            self._stream.resume(position.watermark_us, pending)
            kept = self._writer.parts = memory.parts
            self._writer.silence.heard_s = -np.inf if memory.heard_s is None else memory.heard_s
            seen = column(paths[:kept], "row").astype(np.int64)
            self._writer.graph.load(memory.graph)
            self._replay.go_on(memory.where, seen)
            self._done = len(seen)
        for path in paths[kept:]:
            path.unlink()

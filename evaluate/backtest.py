"""Backtest: replay events in order of time through the scoring path, labels with their delay, and measure.

Two passes over the source. The first learns who is who: times, labels, parts. The second replays and scores. A label
is fed only if the protocol lets it: all of them after their delay, or those of training rows.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evaluate.metrics import METRICS, Figures, Scored, best_f1_threshold, f1_macro, precision_at_k
from evaluate.protocol import Fold, Protocol
from features.columns import Applied, ResolvedLabel
from ingest.source import Source
from ingest.stream import ScoringStream
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, Action, Event, Label, Level, Refusal
from scorers.decision import Decisions

UNLABELLED, GOOD, FRAUD = -1, 0, 1
_BATCH = 2000


@dataclass(slots=True)
class Rows:
    """One row an event, in source order, then in order of time after `in_time_order`."""

    ids: list[str] = field(default_factory=list)
    at_us: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    entity: list[int] = field(default_factory=list)
    removed: list[bool] = field(default_factory=list)
    """Of the entity that the protocol reports without."""
    index: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    detached: set[int] = field(default_factory=set)
    """Rows whose label comes in a later chunk than the event."""
    refused: int = 0


@dataclass(slots=True)
class Report:
    events: int
    labelled: int
    frauds: int
    refused: int
    figures: Figures
    """Means over the folds."""
    folds: list[Figures]
    scorers: dict[str, Figures]
    """Each scorer alone, means over the folds; abstaining counts as 0."""
    levels: dict[str, dict[str, int]]
    """level -> {fraud, good, unlabelled} over the test rows."""
    seconds: float = 0.0


def backtest(
    source: Source,
    new_stream: Callable[[], ScoringStream],
    protocol: Protocol,
    *,
    label_delay_us: int | None = None,
    out: Path | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Report:
    """`label_delay_us` overrides the mapping's delay. Scores of every event go to `out` (.parquet or .csv)."""
    rows = _first_pass(source, protocol)
    if not rows.ids:
        raise BadInput(f"{source.name} has no usable events", hint="`ringwatch ingest` tells why records are refused")
    at_us, label = np.array(rows.at_us), np.array(rows.label)
    folds = _folds(rows, protocol, at_us, label)
    feeding = np.ones(len(at_us), np.bool_) if protocol.labels == "all" else np.any([f.train for f in folds], axis=0)
    writer = _Writer(out, folds) if out is not None else None
    replay = _Replay(new_stream(), rows, feeding, label_delay_us, writer, progress)
    replay.run(source, at_us)
    if writer is not None:
        writer.close()
    report = _measure(rows, replay, folds, protocol, at_us, label)
    report.refused = rows.refused
    return report


def _first_pass(source: Source, protocol: Protocol) -> Rows:
    rows = Rows()
    for chunk in source.read():
        chunk_start = len(rows.ids)
        for item in chunk.items:
            if isinstance(item, Event):
                if item.event_id in rows.index:
                    rows.refused += 1
                    continue
                rows.index[item.event_id] = len(rows.ids)
                rows.ids.append(item.event_id)
                rows.at_us.append(item.at_us)
                rows.label.append(UNLABELLED)
                entity = item.entities.get(protocol.precision_entity, "")
                rows.entity.append(rows.codes.setdefault(entity, len(rows.codes)))
                rows.removed.append(any(item.entities.get(k) == v for k, v in protocol.without.items()))
            elif isinstance(item, Label):
                i = rows.index.get(item.target_id) if item.target_kind == "event" else None
                if i is not None:
                    rows.label[i] = FRAUD if item.label == "fraud" else GOOD
                    if i < chunk_start:
                        rows.detached.add(i)
            elif isinstance(item, Refusal):
                rows.refused += 1
    return rows


@dataclass(frozen=True, slots=True)
class Part:
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]
    excluded: NDArray[np.bool_]


def _folds(rows: Rows, protocol: Protocol, at_us: NDArray[np.int64], label: NDArray[np.int64]) -> list[Part]:
    none = np.zeros(len(at_us), np.bool_)
    if protocol.folds:
        return [_time_fold(rows, protocol, fold, at_us, label) for fold in protocol.folds]
    if protocol.time_share is not None:
        order = np.lexsort((np.array(rows.ids), at_us)) if _unsorted(at_us) else np.arange(len(at_us))
        labelled = order[label[order] != UNLABELLED]
        cut = int(protocol.time_share * len(labelled))
        last_us = at_us[labelled[cut - 1]] if cut else at_us.min() - 1
        return [Part(at_us <= last_us, at_us > last_us, none)]
    if protocol.random_test_size is not None:
        from sklearn.model_selection import train_test_split

        classes = np.where(label == UNLABELLED, 2, label)
        train, _ = train_test_split(
            np.arange(len(at_us)), test_size=protocol.random_test_size, stratify=classes, random_state=protocol.seed,
            shuffle=True,
        )  # fmt: skip
        is_train = none.copy()
        is_train[train] = True
        return [Part(is_train, ~is_train, none)]
    if protocol.file is not None:
        return [_file_split(rows, protocol.file)]
    return [Part(none, ~none, none)]


def _unsorted(at_us: NDArray[np.int64]) -> bool:
    return bool(np.any(at_us[1:] < at_us[:-1]))


def _time_fold(rows: Rows, protocol: Protocol, fold: Fold, at_us: NDArray[np.int64], label: NDArray[np.int64]) -> Part:
    """Spans of time; an entity with a fraud on a day from the training start to test day - (delay + 1) is left out
    of that test day."""
    train = (at_us >= fold.train_from_us) & (at_us < fold.train_until_us)
    test = (at_us >= fold.test_from_us) & (at_us < fold.test_until_us)
    excluded = np.zeros(len(at_us), np.bool_)
    if protocol.exclude_entity is not None:
        entity = np.array(rows.entity)
        days = at_us // DAY_US
        known = (label == FRAUD) & (at_us >= fold.train_from_us)
        first_fraud: dict[int, int] = {}
        for code, day in zip(entity[known].tolist(), days[known].tolist(), strict=True):
            first_fraud[code] = min(day, first_fraud.get(code, day))
        for i in np.flatnonzero(test):
            day = first_fraud.get(int(entity[i]))
            excluded[i] = day is not None and day <= days[i] - protocol.exclude_delay_days - 1
    return Part(train, test, excluded)


def _file_split(rows: Rows, path: Path) -> Part:
    train = np.zeros(len(rows.ids), np.bool_)
    test = train.copy()
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            part, event_id = row.get("part"), row.get("event_id")
            if part not in ("train", "test", "") or event_id is None:
                raise BadInput(
                    f"{path}:{number}: {row}", hint="the columns are event_id and part (train, test or empty)"
                )
            i = rows.index.get(event_id)
            if i is not None and part:
                (train if part == "train" else test)[i] = True
    return Part(train, test, np.zeros(len(rows.ids), np.bool_))


class _Replay:
    """The second pass: everything in order of time, each event scored with what was known then."""

    def __init__(
        self, stream: ScoringStream, rows: Rows, feeding: NDArray[np.bool_], delay_us: int | None,
        writer: _Writer | None, progress: Callable[[float, int], None] | None,
    ) -> None:  # fmt: skip
        self._stream, self._rows, self._feeding = stream, rows, feeding
        self._delay_us, self._writer, self._progress = delay_us, writer, progress
        self.names = stream.assessor.names
        self.score = np.full(len(rows.ids), np.nan)
        self.level = np.zeros(len(rows.ids), np.uint8)
        self.scores = np.full((len(rows.ids), len(self.names)), np.nan, np.float32)
        self._done = 0
        self._seq = 0
        self._seen: set[int] = set()
        self._entities: dict[str, dict[str, str]] = {}
        """Of the events whose label is still to come."""

    def run(self, source: Source, at_us: NDArray[np.int64]) -> None:
        if _unsorted(at_us):
            self._feed_sorted(source)
        else:
            for chunk in source.read():
                self._feed([i for i in chunk.items if not isinstance(i, Refusal)])

    def _feed_sorted(self, source: Source) -> None:
        """Out of order: all in memory, by (time, id); a label goes with the time it became known."""
        items = [i for chunk in source.read() for i in chunk.items if not isinstance(i, Refusal)]
        items.sort(key=lambda i: (i.at_us, 1, i.event_id) if isinstance(i, Event) else (i.known_at_us, 0, i.target_id))
        self._rows.detached.update(range(len(self._rows.ids)))
        for start, stop in pairwise([*range(0, len(items), _BATCH), len(items)]):
            self._feed(items[start:stop])

    def _feed(self, items: list[Event | Label]) -> None:
        here = {i.event_id: i.entities for i in items if isinstance(i, Event)}
        applied: list[tuple[int, Applied]] = []
        for item in items:
            self._seq += 1
            if isinstance(item, Event):
                row = self._rows.index[item.event_id]
                if row not in self._seen:
                    self._seen.add(row)
                    applied.append((self._seq, item))
                    if row in self._rows.detached:
                        self._entities[item.event_id] = item.entities
            else:
                resolved = self._label(item, here)
                if resolved is not None:
                    applied.append((self._seq, resolved))
        self._keep(self._stream.feed(applied))

    def _label(self, label: Label, here: dict[str, dict[str, str]]) -> ResolvedLabel | None:
        if label.target_kind != "event":
            return ResolvedLabel(label, {label.target_kind: label.target_id})
        row = self._rows.index.get(label.target_id)
        if row is None or not self._feeding[row]:
            return None
        entities = here.get(label.target_id) or self._entities.get(label.target_id)
        if entities is None:
            return None
        if self._delay_us is not None:
            label = msgspec.structs.replace(label, known_at_us=self._rows.at_us[row] + self._delay_us)
        return ResolvedLabel(label, entities)

    def _keep(self, decisions: Decisions) -> None:
        rows = np.array([self._rows.index[e.event_id] for e in decisions.events], np.int64)
        self.score[rows] = decisions.score
        self.level[rows] = decisions.level
        self.scores[rows] = decisions.scores
        self._done += len(rows)
        if self._writer is not None and len(rows):
            self._writer.write(decisions, rows, np.array([self._rows.label[i] for i in rows]))
        if self._progress is not None:
            self._progress(self._done / len(self._rows.ids), self._done)


class _Writer:
    """Every event with its part, score and reasons, to Parquet by row groups, or to CSV."""

    def __init__(self, path: Path, folds: list[Part]) -> None:
        self._path, self._folds = path, folds
        self._parquet: pq.ParquetWriter | None = None
        self._csv_header = True
        if path.suffix not in (".parquet", ".csv"):
            raise BadInput(f"--out is {path}", hint="the name ends in .parquet or .csv")
        path.unlink(missing_ok=True)

    def _part(self, row: int) -> str:
        if any(f.test[row] for f in self._folds):
            return "test"
        return "train" if any(f.train[row] for f in self._folds) else ""

    def write(self, d: Decisions, rows: NDArray[np.int64], label: NDArray[np.int64]) -> None:
        columns: dict[str, object] = {
            "event_id": [e.event_id for e in d.events],
            "at": pa.array([e.at_us for e in d.events], pa.timestamp("us", "UTC")),
            "user": pa.array([e.user for e in d.events], pa.string()),
            "part": [self._part(int(r)) for r in rows],
            "score": d.score,
            "level": [Level(int(v)).name for v in d.level],
            "action": [Action(int(v)).name.lower() for v in d.action],
            "label": pa.array([None if v == UNLABELLED else ("fraud" if v else "good") for v in label], pa.string()),
            "reasons": pa.array(["; ".join(r.text for r in rs) or None for rs in d.reasons], pa.string()),
        }
        for j, name in enumerate(d.scorer_names):
            columns[name] = pa.array(d.scores[:, j], pa.float64(), from_pandas=True)
        table = pa.table(columns)
        if self._path.suffix == ".csv":
            from pyarrow.csv import WriteOptions, write_csv

            with self._path.open("ab") as file:
                write_csv(table, file, WriteOptions(include_header=self._csv_header))
            self._csv_header = False
            return
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._path, table.schema)
        self._parquet.write_table(table)

    def close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()


def _measure(
    rows: Rows,
    replay: _Replay,
    folds: list[Part],
    protocol: Protocol,
    at_us: NDArray[np.int64],
    label: NDArray[np.int64],
) -> Report:
    order = np.argsort(np.argsort(np.array(rows.ids)))
    everything = Scored(replay.score, label == FRAUD, at_us, np.array(rows.entity), order)
    usable = (label != UNLABELLED) & ~np.isnan(replay.score)
    removed = np.array(rows.removed)
    per_fold, per_scorer = [], {name: [] for name in replay.names}  # type: ignore[var-annotated]
    tested = np.zeros(len(at_us), np.bool_)
    for part in folds:
        test, train = part.test & usable & ~part.excluded, part.train & usable
        tested |= part.test
        per_fold.append(_figures(everything, test, train, removed, protocol))
        for j, name in enumerate(replay.names):
            alone = replace(everything, score=np.nan_to_num(replay.scores[:, j].astype(np.float64)))
            per_scorer[name].append(_figures(alone, test, train, np.zeros_like(removed), protocol))
    levels = {
        level.name: {
            name: int(np.sum(tested & (replay.level == int(level)) & (label == code)))
            for name, code in (("fraud", FRAUD), ("good", GOOD), ("unlabelled", UNLABELLED))
        }
        for level in Level
    }
    return Report(
        len(at_us), int(np.sum(label != UNLABELLED)), int(np.sum(label == FRAUD)), 0, _mean(per_fold), per_fold,
        {name: _mean(figures) for name, figures in per_scorer.items()}, levels,
    )  # fmt: skip


def _figures(
    s: Scored, test: NDArray[np.bool_], train: NDArray[np.bool_], removed: NDArray[np.bool_], protocol: Protocol
) -> Figures:
    figures: Figures = {"rows": float(test.sum()), "frauds": float((s.fraud & test).sum())}
    for suffix, keep in (("", test), ("_without", test & ~removed)):
        if suffix and not removed.any():
            continue
        some = s.where(keep)
        for name in protocol.metrics:
            if name == "f1_macro":
                figures[name + suffix] = f1_macro(some, best_f1_threshold(s.where(train)))
            elif name.startswith("precision_at_"):
                figures[name + suffix] = precision_at_k(some, int(name.removeprefix("precision_at_")))
            else:
                figures[name + suffix] = METRICS[name](some)
    return figures


def _mean(folds: list[Figures]) -> Figures:
    return {name: float(np.mean([f[name] for f in folds])) for name in folds[0]}

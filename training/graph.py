"""The stream of a replay as a graph network learns from it: every event, unlabelled ones too, and the labels that were fed.

In memory for a backtest; beside the parts of a data set as `graph-00000.safetensors`, .. and `graph-told.safetensors`. Entities are numbers in the
order in which they were met, so nothing in these files names one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from gnn.history import Batch, History, Labels
from gnn.intake import Intake
from ringwatch.errors import Corrupt
from scorers.decision import Decisions
from training.labelled import FRAUD

TOLD, GRAPH_PARTS = "graph-told.safetensors", "graph-*.safetensors"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Graph:
    """`place` int64 (rows of the source,): where each is in the history, -1 for none."""

    history: History
    place: NDArray[np.int64]


def graph_kinds(schema: FeatureSchema, kinds: Collection[str]) -> tuple[str, ...]:
    """Columns of a graph, of the kinds that events name."""
    return tuple(kind.name for kind in schema.kinds if kind.name in kinds)


class Told:
    """The labels of a replay, by row of the source; the first one of a row counts."""

    def __init__(self, rows: int) -> None:
        self.label = np.full(rows, -1, np.int8)
        self.known_us = np.zeros(rows, np.int64)

    def tell(self, row: int, label: int, known_us: int) -> None:
        """A label of a row of the source that is fed."""
        if self.label[row] < 0:
            self.label[row], self.known_us[row] = label == FRAUD, known_us


def graph_of(
    events: Batch, place: NDArray[np.int64], told: Told, kinds: tuple[str, ...], schema: FeatureSchema
) -> Graph:
    """`place` as in `Graph`."""
    some = np.flatnonzero((told.label >= 0) & (place >= 0))
    known_us = np.maximum(told.known_us[some], events.at_us[place[some]])
    labels = Labels.ordered(place[some], told.label[some], known_us)
    crowded = tuple(schema.kinds[schema.kind_index[kind]].crowded for kind in kinds)
    return Graph(History(events, labels, kinds, crowded), place)


class GraphBuilder:
    """Collects a replay: 40 to 60 bytes an event, labels included. `rows`: of the source."""

    def __init__(self, schema: FeatureSchema, kinds: Collection[str], rows: int) -> None:
        self._schema, self._kinds = schema, graph_kinds(schema, kinds)
        self._intake = Intake(schema, self._kinds)
        self._events = Batch(
            np.zeros(rows, np.int64), np.zeros(rows, np.int16), np.zeros(rows, np.float32), np.zeros(rows, np.int8),
            np.zeros((rows, len(self._kinds)), np.int32), np.zeros(rows, np.uint64),
        )  # fmt: skip
        self._place = np.full(rows, -1, np.int64)
        self._told = Told(rows)
        self.tell = self._told.tell
        self._n = 0

    def keep(self, decisions: Decisions, rows: NDArray[np.int64]) -> None:
        batch = self._intake.batch(decisions.events)
        to = slice(self._n, self._n + len(rows))
        for f in fields(Batch):
            getattr(self._events, f.name)[to] = getattr(batch, f.name)
        self._place[rows] = np.arange(to.start, to.stop)
        self._n = to.stop

    def graph(self) -> Graph:
        return graph_of(self._events[slice(0, self._n)], self._place, self._told, self._kinds, self._schema)


class GraphParts:
    """Writes a replay beside the parts of a data set. It goes on where another was after `load` of what that one's `dump` gave."""

    def __init__(self, folder: Path, schema: FeatureSchema, kinds: Collection[str], rows: int) -> None:
        self._folder = folder
        self._intake = Intake(schema, graph_kinds(schema, kinds))
        self._told = Told(rows)
        self.tell = self._told.tell

    def batch(self, decisions: Decisions) -> Batch:
        return self._intake.batch(decisions.events)

    def write(self, number: int, batches: Sequence[Batch], row: NDArray[np.int64]) -> None:
        """A part; `row`: of the source, of each of its events."""
        arrays = {f.name: np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(Batch)}
        _save(_path(self._folder, number), {**arrays, "row": row})

    def write_told(self) -> None:
        _save(self._folder / TOLD, {"label": self._told.label, "known_us": self._told.known_us})

    def dump(self) -> dict[str, bytes]:
        arrays: Arrays = {"label": self._told.label, "known_us": self._told.known_us, **self._intake.numbers.dump()}
        return {name: a.tobytes() for name, a in arrays.items()}

    def load(self, dumped: dict[str, bytes]) -> None:
        types = {
            "label": np.int8,
            "known_us": np.int64,
            "kind": np.int16,
            "key": np.uint64,
            "number": np.int32,
            "free": np.int32,
        }
        arrays = {name: np.frombuffer(dumped[name], of).copy() for name, of in types.items()}
        self._told.label, self._told.known_us = arrays["label"], arrays["known_us"]
        self._intake.numbers.load(arrays)


def read_graph(folder: Path, parts: int, kinds: tuple[str, ...], schema: FeatureSchema) -> Graph:
    """What a replay wrote beside so many parts of a data set. Raises Corrupt where some of it is missing."""
    arrays = list(_read(folder, parts))
    told = Told(0)
    told.label, told.known_us = (_load(folder / TOLD)[name] for name in ("label", "known_us"))
    events = Batch(*(np.concatenate([a[f.name] for a in arrays]) for f in fields(Batch)))
    place = np.full(len(told.label), -1, np.int64)
    place[np.concatenate([a["row"] for a in arrays])] = np.arange(len(events))
    return graph_of(events, place, told, kinds, schema)


def graph_bytes(folder: Path, parts: int) -> Iterator[bytes]:
    """All of it, for a hash, however it is cut into parts."""
    names = (*(f.name for f in fields(Batch)), "row")
    for name in names:
        for arrays in _read(folder, parts):
            yield arrays[name].tobytes()
    yield from (array.tobytes() for _, array in sorted(_load(folder / TOLD).items()))


def _read(folder: Path, parts: int) -> Iterator[Arrays]:
    return (_load(_path(folder, number)) for number in range(parts))


def _path(folder: Path, number: int) -> Path:
    return folder / f"graph-{number:05d}.safetensors"


def _save(path: Path, arrays: Arrays) -> None:
    from safetensors.numpy import save_file

    beside = path.with_name(path.name + ".new")
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, beside)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def _load(path: Path) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise Corrupt(f"{path}: {error}", hint="restore it, or make the data set anew with --force") from None

"""The card of a data set: what is in it, column by column, from its parts alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ringwatch.model import MICROSECONDS, Kind, Strength
from training.graph import graph_bytes
from training.labelled import FRAUD, UNLABELLED
from training.parts import FACTS, column, part_paths

FORMAT = 2
CARD = "card.json"
_ABREAST = 64
"""Columns read at a time."""
_SAMPLED = 20_000
"""Rows that quantiles are of, evenly spread, where there are more."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Job(msgspec.Struct, frozen=True):
    """What a data set is made of: equal jobs make equal data sets."""

    source: str
    """Names, for people."""
    source_hash: str
    """Of names, contents and mapping."""
    schema: str
    """Hash of the feature schema."""
    kinds: tuple[tuple[str, int, bool], ...]
    """Entity kinds: name, strength, crowded."""
    scorers: dict[str, str]
    """Name to version."""
    label_delay_us: int | None
    """Instead of the labels' own delay."""
    settings: str
    """Hash of what else the rows depend on: policy, lists, rules, rates, limits."""
    version: str
    """Of Ringwatch."""
    format: int = FORMAT

    @property
    def name(self) -> str:
        """Short, the same for equal jobs wherever their files are."""
        same = msgspec.json.encode(msgspec.structs.replace(self, source=""), order="sorted")
        return hashlib.blake2b(same, digest_size=8).hexdigest()


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """Figures of the values that are there; none where nothing is."""

    missing: float
    """Share of the rows."""
    mean: float | None = None
    std: float | None = None
    least: float | None = None
    most: float | None = None
    quantiles: tuple[float, ...] = ()
    """At 1, 5, 25, 50, 75, 95 and 99 %."""

    @property
    def varies(self) -> bool:
        """Whether it can tell rows apart."""
        return self.least is not None and (self.least != self.most or self.missing > 0.0)


class Card(msgspec.Struct, frozen=True):
    job: Job
    rows: int
    labelled: int
    frauds: int
    label_rate: float | None
    """Share of frauds among what is labelled."""
    first_at: str
    last_at: str
    refused: int
    """Records of the source that became no row: refused ones, and repeated event ids."""
    content: str
    """Hash of all columns and of the graph, however the rows are cut into parts."""
    parts: tuple[str, ...]
    columns: dict[str, Column]
    graph_kinds: tuple[str, ...] = ()
    """Entity kinds of the graph beside the parts; empty where there is none, as in data sets of earlier versions."""

    @property
    def entity_kinds(self) -> tuple[Kind, ...]:
        return tuple(Kind(name, Strength(strength), crowded) for name, strength, crowded in self.job.kinds)


def describe(
    folder: Path, job: Job, refused: int, kinds: tuple[str, ...], progress: Callable[[float, str], None]
) -> Card:
    """Of the parts in a folder, of which there is at least one. `kinds`: of the graph beside them."""
    paths = part_paths(folder)
    names = pq.read_schema(paths[0]).names
    digest = hashlib.blake2b(digest_size=16)
    for name in FACTS:
        values = column(paths, name)
        digest.update(f"{name}\0".encode())
        digest.update("\0".join(values).encode() if values.dtype == object else values.tobytes())
    columns: dict[str, Column] = {}
    inputs = names[len(FACTS) :]
    for start in range(0, len(inputs), _ABREAST):
        for name, values in _columns(paths, inputs[start : start + _ABREAST]):
            digest.update(f"{name}\0".encode())
            digest.update(values.tobytes())
            columns[name] = _figures(values)
        progress(len(columns) / len(inputs), "looking at the columns")
    for some in graph_bytes(folder, len(paths)):
        digest.update(some)
    at_us, label = column(paths, "at"), column(paths, "label")
    labelled, frauds = int(np.sum(label != UNLABELLED)), int(np.sum(label == FRAUD))
    return Card(
        job, len(label), labelled, frauds, frauds / labelled if labelled else None, _time(at_us.min()), _time(at_us.max()),
        refused, digest.hexdigest(), tuple(path.name for path in paths), columns, kinds,
    )  # fmt: skip


def _columns(paths: Sequence[Path], names: Sequence[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    tables = [pq.read_table(path, columns=list(names)) for path in paths]
    for name in names:
        yield name, np.concatenate([t.column(name).to_numpy() for t in tables])


def _figures(values: NDArray[np.float32]) -> Column:
    known = values[np.isfinite(values)].astype(np.float64)
    missing = 1.0 - len(known) / len(values)
    if not len(known):
        return Column(missing)
    some = known[:: -(-len(known) // _SAMPLED)]
    quantiles = tuple(np.quantile(some, QUANTILES, method="nearest").tolist())
    return Column(missing, float(known.mean()), float(known.std()), float(known.min()), float(known.max()), quantiles)


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / MICROSECONDS, UTC).isoformat()

"""The Parquet files of a data set: one row an event, in the order of the replay; written as it goes, each whole or not there.

Columns: `event_id`, `at`, `row` (its number in the source), `label` (0 good, 1 fraud, null unknown), `known_at` (when the label became
known), `silence_s`, `score` (the robust rule's), `scorer.<name>` and the features by name; float32, NaN where missing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.schema import FeatureSchema
from gnn.history import Batch
from scorers.decision import Decisions
from scorers.learned.inputs import OF_MODELS
from scorers.learned.silence import Silence
from training.graph import GraphParts
from training.labelled import UNLABELLED, Rows
from training.table import columns_of

PART_ROWS = 50_000
SCORED = "scorer."
FACTS = ("event_id", "at", "row", "label", "known_at", "silence_s", "score")
"""Columns that are no inputs."""


@dataclass(frozen=True, slots=True)
class Block:
    """What one batch gave. Shapes (n,), `scores` (n, scorers), `features` (n, schema.size)."""

    ids: list[str]
    at_us: NDArray[np.int64]
    row: NDArray[np.int64]
    silence_s: NDArray[np.float32]
    score: NDArray[np.float32]
    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    graph: Batch


class PartWriter:
    """Collects rows, and writes them behind the caller, a part at a time, with the stream as a graph beside each. Columns of kinds that
    no event names are left out."""

    def __init__(
        self, folder: Path, schema: FeatureSchema, scorers: Sequence[str], rows: Rows, known_us: NDArray[np.int64]
    ) -> None:
        """`known_us` (rows of the source,): when their labels became known."""
        self._folder = folder
        self._rows, self._label, self._known_us = rows, np.array(rows.label, np.int8), known_us
        self._columns = columns_of(schema, rows.kinds)
        self._scorers = [name for name in scorers if name not in OF_MODELS]
        self._names = [*(f"{SCORED}{name}" for name in self._scorers), *(schema.names[i] for i in self._columns)]
        self.silence = Silence(schema)
        self.graph = GraphParts(folder, schema, rows.kinds, len(rows.ids))
        self.parts = 0
        self._blocks: list[Block] = []
        self._buffered = 0
        self._behind = ThreadPoolExecutor(1, "parts")
        self._writing: Future[None] | None = None

    def keep(self, decisions: Decisions, rows: NDArray[np.int64]) -> None:
        at_us = np.array([event.at_us for event in decisions.events], np.int64)
        silence_s = self.silence.take(at_us, decisions.features).astype(np.float32)
        self._blocks.append(
            Block(
                [event.event_id for event in decisions.events], at_us, rows, silence_s, decisions.score.astype(np.float32),
                decisions.scores_of(self._scorers).astype(np.float32), decisions.features, self.graph.batch(decisions),
            )
        )  # fmt: skip
        self._buffered += len(rows)

    @property
    def full(self) -> bool:
        return self._buffered >= PART_ROWS

    def end_part(self) -> None:
        """What was kept becomes a part. Returns before it is written; waits for the one before. Raises what stopped that."""
        self.settle()
        if self._buffered:
            blocks, self._blocks, self._buffered = self._blocks, [], 0
            self._writing = self._behind.submit(self._write, self.parts, blocks)
            self.parts += 1

    def settle(self) -> None:
        """Wait until all parts are on disk."""
        if self._writing is not None:
            self._writing.result()

    def close(self) -> None:
        self._behind.shutdown()

    def _write(self, number: int, blocks: list[Block]) -> None:
        path, row = part_path(self._folder, number), np.concatenate([b.row for b in blocks])
        self.graph.write(number, [b.graph for b in blocks], row)
        unknown = self._label[row] == UNLABELLED
        facts: list[Any] = [
            pa.array([event_id for b in blocks for event_id in b.ids], pa.string()),
            pa.array(np.concatenate([b.at_us for b in blocks]), pa.timestamp("us", "UTC")),
            pa.array(row),
            pa.array(self._label[row], mask=unknown),
            pa.array(self._known_us[row], pa.timestamp("us", "UTC"), mask=unknown),
            pa.array(np.concatenate([b.silence_s for b in blocks])),
            pa.array(np.concatenate([b.score for b in blocks])),
        ]
        values = [np.ascontiguousarray(np.concatenate([b.scores for b in blocks]).T)]
        values.append(np.ascontiguousarray(np.concatenate([b.features[:, self._columns] for b in blocks]).T))
        columns = [pa.array(column) for block in values for column in block]
        table = pa.table([*facts, *columns], names=[*FACTS, *self._names])
        beside = path.with_name(path.name + ".new")
        pq.write_table(
            table, beside, compression="zstd", compression_level=1, use_dictionary=["event_id"], write_statistics=False
        )
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)


def part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def part_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def column(paths: Sequence[Path], name: str) -> NDArray[Any]:
    """One column of all parts; nulls as UNLABELLED in `label`, times as microseconds (null: the smallest int64)."""
    found = []
    for path in paths:
        values = pq.read_table(path, columns=[name]).column(0)
        if name == "label":
            values = values.fill_null(UNLABELLED)
        elif pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64()).fill_null(np.iinfo(np.int64).min)
        found.append(values.to_numpy())
    return np.concatenate(found) if found else np.zeros(0)

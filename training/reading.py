"""A data set on disk back to a table: its labelled rows, and the columns that can tell them apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.errors import BadInput, Corrupt, NotFound
from scorers.learned.inputs import SAID, derived_from
from training.card import Card
from training.dataset import UNFINISHED, finished
from training.labelled import UNLABELLED
from training.parts import SCORED, column
from training.table import Table

_ABREAST = 64
"""Columns read at a time."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labelled rows of a data set, in order of time. Shapes (n,)."""

    card: Card
    table: Table
    known_us: NDArray[np.int64]
    """When the label became known."""
    rule: NDArray[np.float32]
    """Score by the robust rule."""


def read_card(folder: Path) -> Card:
    """Raises NotFound where there is no finished data set."""
    if (card := finished(folder)) is None:
        begun = (folder / UNFINISHED).exists()
        hint = "run the `ringwatch dataset` that was interrupted again" if begun else "`ringwatch dataset` makes one"
        raise NotFound(f"{folder} holds no {'finished ' if begun else ''}data set", hint=hint)
    return card


def read_labelled(folder: Path, scorers: dict[str, str]) -> Labelled:
    """`scorers`: name -> version in this process. Raises NotFound, BadInput for a data set of other features or scorers, Corrupt where
    parts are missing. Memory: 4 bytes a labelled row and column, and a part's."""
    card = read_card(folder)
    schema = FeatureSchema(card.entity_kinds)
    again = "make it anew with this version: `ringwatch dataset ... --force`"
    if schema.hash != card.job.schema:
        raise BadInput(f"{folder} has feature schema {card.job.schema}, this version {schema.hash}", hint=again)
    if unlike := [name for name, of in card.job.scorers.items() if name not in SAID and scorers.get(name) != of]:
        name = unlike[0]
        message = (
            f"{folder} was scored by {name} {card.job.scorers[name]}, this version has {scorers.get(name, 'none')}"
        )
        raise BadInput(message, hint=again)
    paths = [folder / name for name in card.parts]
    if gone := [path for path in paths if not path.is_file()]:
        raise Corrupt(f"{gone[0]} is missing", hint="restore it, or make the data set anew with --force")
    label = column(paths, "label")
    rows = np.flatnonzero(label != UNLABELLED)
    at_us = column(paths, "at")[rows]
    order = np.argsort(at_us, kind="stable")
    rows = rows[order]
    names = [name for name, c in card.columns.items() if name.startswith(SCORED) or c.varies or derived_from(name)]
    values = _values(paths, names, rows)
    split = sum(name.startswith(SCORED) for name in names)
    table = Table(
        tuple(names[split:]), tuple(name.removeprefix(SCORED) for name in names[:split]), values[:, split:], values[:, :split],
        label[rows].astype(np.int8), at_us[order], column(paths, "silence_s")[rows], column(paths, "row")[rows],
    )  # fmt: skip
    return Labelled(card, table, column(paths, "known_at")[rows], column(paths, "score")[rows])


def _values(paths: list[Path], names: list[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 (rows, names) of rows of all parts together."""
    found = np.empty((len(rows), len(names)), np.float32)
    sizes = [pq.read_metadata(path).num_rows for path in paths]
    first = 0
    for path, size in zip(paths, sizes, strict=True):
        to = np.flatnonzero((rows >= first) & (rows < first + size))
        if len(to):
            file = pq.ParquetFile(path)
            for start in range(0, len(names), _ABREAST):
                some = names[start : start + _ABREAST]
                read = file.read(columns=some)
                for j, name in enumerate(some, start):
                    found[to, j] = read.column(name).to_numpy()[rows[to] - first]
        first += size
    return found

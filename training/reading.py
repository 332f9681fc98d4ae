"""A data set on disk back to a table: the rows that teach, and the columns that can tell them apart.

Labels are seldom of all events: what was alerted is looked at, what was charged back is known. A model of those alone knows nothing of
ordinary events and calls many of them fraud. So where few events are labelled, those without a label count as good once they are older
than half of the labels were when they came; what a later label says of them counts when it comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.errors import BadInput, Corrupt, NotFound
from scorers.learned.inputs import SAID, derived_from
from training.card import Card
from training.dataset import UNFINISHED, finished
from training.graph import Graph, read_graph
from training.labelled import GOOD, UNLABELLED
from training.parts import SCORED, column
from training.table import Table

_ABREAST = 64
"""Columns read at a time."""
_FEW = 0.1
"""Share of events that are labelled, below which the others count."""


class Unlabelled(StrEnum):
    """What events without a label are, once they are old enough to have one."""

    AUTO = "auto"
    """Good, where fewer than one event in ten is labelled; else left out."""
    GOOD = "good"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Labelled:
    """The rows of a data set that teach, in order of time. Shapes (n,)."""

    card: Card
    table: Table
    """`known_us` is when the label became known, or counts as known: none sooner than `waited_us` after the event, or the youngest events
    would be those alone that turned out fraud quickly."""
    rule: NDArray[np.float32]
    """Score by the robust rule."""
    assumed: int = 0
    """Rows among them that have no label and count as good."""
    waited_us: int = 0
    """How old events are then when they teach."""


def read_card(folder: Path) -> Card:
    """Raises NotFound where there is no finished data set."""
    if (card := finished(folder)) is None:
        begun = (folder / UNFINISHED).exists()
        hint = "run the `ringwatch dataset` that was interrupted again" if begun else "`ringwatch dataset` makes one"
        raise NotFound(f"{folder} holds no {'finished ' if begun else ''}data set", hint=hint)
    return card


def read_stream(folder: Path, card: Card) -> Graph | None:
    """What a graph network learns from; None where the data set does not have it. Raises Corrupt."""
    if not card.graph_kinds:
        return None
    return read_graph(folder, len(card.parts), card.graph_kinds, FeatureSchema(card.entity_kinds))


def read_labelled(folder: Path, scorers: dict[str, str], unlabelled: Unlabelled = Unlabelled.AUTO) -> Labelled:
    """`scorers`: name -> version in this process. Raises NotFound, BadInput for a data set of other features or scorers, Corrupt where
    parts are missing. Memory: 4 bytes a row that teaches and column, and a part's."""
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
    label, at_us, known_us = column(paths, "label"), column(paths, "at"), column(paths, "known_at")
    labelled = label != UNLABELLED
    teach, waited_us = labelled, 0
    if labelled.any() and (unlabelled == Unlabelled.GOOD or (unlabelled == Unlabelled.AUTO and labelled.mean() < _FEW)):
        last_us = max(at_us.max(), known_us.max())
        waited_us = max(0, int(np.median(known_us[labelled] - at_us[labelled])))
        known_us = np.maximum(known_us, at_us + waited_us)
        label[~labelled] = GOOD
        teach = known_us <= last_us
    rows = np.flatnonzero(teach)
    rows = rows[np.argsort(at_us[rows], kind="stable")]
    names = [name for name, c in card.columns.items() if name.startswith(SCORED) or c.varies or derived_from(name)]
    values = _values(paths, names, rows)
    split = sum(name.startswith(SCORED) for name in names)
    table = Table(
        tuple(names[split:]), tuple(name.removeprefix(SCORED) for name in names[:split]), values[:, split:], values[:, :split],
        label[rows].astype(np.int8), at_us[rows], known_us[rows], column(paths, "silence_s")[rows],
        column(paths, "row")[rows],
    )  # fmt: skip
    assumed = int(np.count_nonzero(teach & ~labelled))
    return Labelled(card, table, column(paths, "score")[rows], assumed, waited_us)


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

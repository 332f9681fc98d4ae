"""The stream of a replay as a graph network learns from it: every event, unlabelled ones too, and the labels that were fed."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from gnn.history import Batch, History, Labels
from gnn.intake import Intake
from scorers.decision import Decisions
from training.labelled import FRAUD


@dataclass(frozen=True, slots=True)
class Graph:
    """`place` int64 (rows of the source,): where each is in the history, -1 for none."""

    history: History
    place: NDArray[np.int64]


class GraphBuilder:
    """Collects a replay: 40 to 60 bytes an event, labels included. `rows`: of the source."""

    def __init__(self, schema: FeatureSchema, kinds: frozenset[str], rows: int) -> None:
        named = [kind for kind in schema.kinds if kind.name in kinds]
        self._kinds, self._crowded = tuple(k.name for k in named), tuple(k.crowded for k in named)
        self._intake = Intake(schema, self._kinds)
        self._events = Batch(
            np.zeros(rows, np.int64), np.zeros(rows, np.int16), np.zeros(rows, np.float32), np.zeros(rows, np.int8),
            np.zeros((rows, len(named)), np.int32), np.zeros(rows, np.uint64),
        )  # fmt: skip
        self._place = np.full(rows, -1, np.int64)
        self._label = np.full(rows, -1, np.int8)
        self._known_us = np.zeros(rows, np.int64)
        self._n = 0

    def keep(self, decisions: Decisions, rows: NDArray[np.int64]) -> None:
        batch = self._intake.batch(decisions.events)
        to = slice(self._n, self._n + len(rows))
        for f in fields(Batch):
            getattr(self._events, f.name)[to] = getattr(batch, f.name)
        self._place[rows] = np.arange(to.start, to.stop)
        self._n = to.stop

    def tell(self, row: int, label: int, known_us: int) -> None:
        """A label of a row of the source that is fed; the first one counts."""
        if self._label[row] < 0:
            self._label[row], self._known_us[row] = label == FRAUD, known_us

    def graph(self) -> Graph:
        told = np.flatnonzero((self._label >= 0) & (self._place >= 0))
        events = self._events[slice(0, self._n)]
        known_us = np.maximum(self._known_us[told], events.at_us[self._place[told]])
        labels = Labels.ordered(self._place[told], self._label[told], known_us)
        return Graph(History(events, labels, self._kinds, self._crowded), self._place)

"""What a model is trained and tested on: one row an event with its features as they were then, in memory."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from scorers.decision import Decisions
from scorers.learned.inputs import OF_MODELS
from scorers.learned.silence import Silence
from training.blocks import Blocks
from training.labelled import LEAST_OF_EACH, TooFewLabels


@dataclass(frozen=True, slots=True)
class Table:
    """`features` float32 (n, features), `scores` float32 (n, scorers), NaN where missing; `label` int8 (n,), -1 unknown, 0 good,
    1 fraud; `at_us` and `known_us` int64 (n,), of the event and of its label; `silence_s` float32 (n,), since a fraud was last heard of;
    `row` int64 (n,), where it is in the source."""

    feature_names: tuple[str, ...]
    scorer_names: tuple[str, ...]
    features: NDArray[np.float32]
    scores: NDArray[np.float32]
    label: NDArray[np.int8]
    at_us: NDArray[np.int64]
    known_us: NDArray[np.int64]
    silence_s: NDArray[np.float32]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Table:
        return replace(
            self,
            features=self.features[rows], scores=self.scores[rows], label=self.label[rows], at_us=self.at_us[rows],
            known_us=self.known_us[rows], silence_s=self.silence_s[rows], row=self.row[rows],
        )  # fmt: skip

    def blocks(self, rows: NDArray[np.int64]) -> Blocks:
        """`rows`: in order of time, with labels."""
        return Blocks(self.label[rows], self.at_us[rows], self.known_us[rows])

    def labelled(self) -> NDArray[np.int64]:
        """Which rows have a label, in order of time. Raises TooFewLabels where there are too few of either."""
        rows = np.flatnonzero(self.label >= 0)
        rows = rows[np.lexsort((self.row[rows], self.at_us[rows]))]
        frauds = int(np.count_nonzero(self.label[rows]))
        if min(frauds, len(rows) - frauds) < LEAST_OF_EACH:
            raise TooFewLabels(
                f"{frauds} frauds and {len(rows) - frauds} good events are labelled",
                hint=f"{LEAST_OF_EACH} of each are needed; until then the robust rule combines the scorers",
            )
        return rows


def columns_of(schema: FeatureSchema, kinds: Set[str]) -> list[int]:
    """Features without those of kinds that no event names; `kinds` are those that one does."""
    absent = {kind.name for kind in schema.kinds} - kinds
    return [i for i, name in enumerate(schema.names) if name.partition(".")[0] not in absent]


class TableBuilder:
    """Collects the wanted rows of a replay. Columns of kinds that no event names are left out."""

    def __init__(
        self, schema: FeatureSchema, scorers: Sequence[str], wanted: NDArray[np.bool_], kinds: frozenset[str]
    ) -> None:
        self._columns = columns_of(schema, kinds)
        self._names = tuple(schema.names[i] for i in self._columns)
        self._judges = [j for j, name in enumerate(scorers) if name not in OF_MODELS]
        self._scorers = tuple(scorers[j] for j in self._judges)
        self._wanted = wanted
        self._silence = Silence(schema)
        n = int(wanted.sum())
        self._features = np.empty((n, len(self._columns)), np.float32)
        self._scores = np.empty((n, len(self._scorers)), np.float32)
        self._silent = np.empty(n, np.float32)
        self._at = np.empty(n, np.int64)
        self._row = np.empty(n, np.int64)
        self._n = 0

    def keep(self, decisions: Decisions, rows: NDArray[np.int64]) -> None:
        at_us = np.array([event.at_us for event in decisions.events], np.int64)
        silent = self._silence.take(at_us, decisions.features)
        some = np.flatnonzero(self._wanted[rows])
        to = slice(self._n, self._n + len(some))
        self._n += len(some)
        self._features[to] = decisions.features[some][:, self._columns]
        self._scores[to] = decisions.scores[some][:, self._judges]
        self._silent[to], self._at[to], self._row[to] = silent[some], at_us[some], rows[some]

    def table(self, label: NDArray[np.int8], known_us: NDArray[np.int64] | None = None) -> Table:
        """`label` (rows of the source,), known at the time of the event where `known_us` is not given."""
        n = slice(0, self._n)
        row, at_us = self._row[n], self._at[n]
        return Table(
            self._names, self._scorers, self._features[n], self._scores[n], label[row], at_us,
            at_us if known_us is None else known_us[row], self._silent[n], row,
        )  # fmt: skip

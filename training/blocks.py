"""Labelled rows in four blocks of time. What is judged on a block was learned from the blocks before it, by labels that were known when it
begins: as a model that serves knows nothing that nobody knew when it was trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.labelled import FRAUD

BLOCKS = 4
LATE = "labels come later than the blocks of training are long: what was chosen on them does not know their delay"
_KNOWN = 0.5
"""Share of either sort of labels that must have been known."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Of n rows in order of time: `y` int8 (n,), `at_us` and `known_us` int64 (n,), of the events and of their labels."""

    y: NDArray[np.int8]
    at_us: NDArray[np.int64]
    known_us: NDArray[np.int64]

    def _cut(self, k: int) -> int:
        return len(self.y) * k // BLOCKS

    def __getitem__(self, k: int) -> slice:
        """Rows of block k."""
        return slice(self._cut(k), self._cut(k + 1))

    def since(self, k: int) -> slice:
        """Rows of block k and those after it."""
        return slice(self._cut(k), len(self.y))

    def before(self, k: int) -> NDArray[np.int64]:
        """Rows (m,) of the blocks before k that teach what is judged on k. Where less than half of the frauds or of the good ones were
        known when k begins, because labels come later than blocks are long, all teach."""
        known = self._known(k)
        return np.flatnonzero(known) if self._enough(known) else np.arange(len(known))

    @property
    def late(self) -> bool:
        """Whether somewhere labels teach that were not known yet, because too few were."""
        return not all(self._enough(self._known(k)) for k in (BLOCKS - 2, BLOCKS - 1))

    def _known(self, k: int) -> NDArray[np.bool_]:
        cut = self._cut(k)
        known: NDArray[np.bool_] = self.known_us[:cut] <= self.at_us[cut]
        return known

    def _enough(self, known: NDArray[np.bool_]) -> bool:
        fraud = self.y[: len(known)] == FRAUD
        return all(known[sort].mean() >= _KNOWN for sort in (fraud, ~fraud) if sort.any())

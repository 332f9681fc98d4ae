"""A learned model as it serves: the probability of fraud from features and the other scorers' scores, and what each input adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scorers.learned.inputs import Inputs
from scorers.learned.trees import Trees


@dataclass(frozen=True, slots=True)
class View:
    """Trees and the names of what they look at: column i of theirs is input i."""

    names: tuple[str, ...]
    trees: Trees


@dataclass(frozen=True, slots=True)
class Addends:
    """Values of inputs, float32 (n, m), and what each adds to the log-odds, float64 (n, m + 1): last is what they add to."""

    names: tuple[str, ...]
    values: NDArray[np.float32]
    log_odds: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LearnedModel:
    """Two sets of trees: `told` looks at what labels said, too, `untold` does not; it takes over where no fraud was heard of for much
    longer than ever while the model was trained."""

    told: View
    untold: View
    patience_s: float
    """The longest silence in which `told` is asked, in seconds."""


class Evaluator:
    """A model on the features and scorers of this process. Raises Corrupt where they cannot make what it looks at."""

    def __init__(self, model: LearnedModel, features: Sequence[str], scorers: Sequence[str]) -> None:
        self.model = model
        self._told = Inputs.of(model.told.names, features, scorers)
        self._untold = Inputs.of(model.untold.names, features, scorers)
        self._ancestry = model.told.trees.ancestry(), model.untold.trees.ancestry()

    def margin(
        self, features: NDArray[np.float32], scores: NDArray[np.float64], silence_s: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Log-odds of fraud, float64 (n,), of features (n, features), scores (n, scorers), and seconds since a fraud was heard of (n,);
        the same bits for any batch size."""
        stale = silence_s > self.model.patience_s
        found = np.empty(len(features))
        for inputs, view, rows in ((self._told, self.model.told, ~stale), (self._untold, self.model.untold, stale)):
            if rows.any():
                found[rows] = view.trees.margin(inputs.values(features[rows], scores[rows]))
        return found

    def stale(self, silence_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where labels are not looked at (n,)."""
        return silence_s > self.model.patience_s

    def explain(self, features: NDArray[np.float32], scores: NDArray[np.float64], *, stale: bool) -> Addends:
        """What inputs add to the log-odds of rows whose view is the one without labels (`stale`), or with them."""
        inputs, view = (self._untold, self.model.untold) if stale else (self._told, self.model.told)
        values, columns = inputs.values(features, scores), view.trees.columns
        names = tuple(view.names[j] for j in columns.tolist())
        return Addends(names, values[:, columns], view.trees.contributions(values, self._ancestry[stale]))


def probability(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """In (0, 1)."""
    return 1.0 / (1.0 + np.exp(-margin))

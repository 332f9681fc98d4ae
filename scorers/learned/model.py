"""A learned model as it serves: the probability of fraud from features and the other scorers' scores, and what each input adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn.network import Gnn
from ringwatch.errors import BadInput
from scorers.learned.inputs import Inputs
from scorers.learned.trees import Trees

NETWORK = "graph_network"
"""The name that the network's part of a score has among contributions."""


@dataclass(frozen=True, slots=True)
class View:
    """Trees and the names of what they look at: column i of theirs is input i. `network` times the network's margin is added to theirs."""

    names: tuple[str, ...]
    trees: Trees
    network: float = 0.0


@dataclass(frozen=True, slots=True)
class Addends:
    """Values of inputs, float32 (n, m), and what each adds to the log-odds, float64 (n, m + 1): last is what they add to."""

    names: tuple[str, ...]
    values: NDArray[np.float32]
    log_odds: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LearnedModel:
    """Two sets of trees: `told` looks at what labels said, too, `untold` does not; it takes over where no fraud was heard of for much
    longer than ever while the model was trained. `network` is there where either gives it weight."""

    told: View
    untold: View
    patience_s: float
    """The longest silence in which `told` is asked, in seconds."""
    network: Gnn | None = None


class Evaluator:
    """A model on the features and scorers of this process. Raises Corrupt where they cannot make what it looks at."""

    def __init__(self, model: LearnedModel, features: Sequence[str], scorers: Sequence[str]) -> None:
        self.model = model
        self._told = Inputs.of(model.told.names, features, scorers)
        self._untold = Inputs.of(model.untold.names, features, scorers)
        self._ancestry = model.told.trees.ancestry(), model.untold.trees.ancestry()

    def margin(
        self, features: NDArray[np.float32], scores: NDArray[np.float64], silence_s: NDArray[np.float64],
        network: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Log-odds of fraud, float64 (n,), of features (n, features), scores (n, scorers), seconds since a fraud was heard of (n,), and
        the margins of the model's network, where it has one (n,); the same bits for any batch size."""
        stale = silence_s > self.model.patience_s
        found = np.empty(len(features))
        for inputs, view, rows in ((self._told, self.model.told, ~stale), (self._untold, self.model.untold, stale)):
            if rows.any():
                found[rows] = view.trees.margin(inputs.values(features[rows], scores[rows]))
                if view.network:
                    found[rows] += view.network * _given(network)[rows]
        return found

    def stale(self, silence_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where labels are not looked at (n,)."""
        return silence_s > self.model.patience_s

    def explain(
        self, features: NDArray[np.float32], scores: NDArray[np.float64], *, stale: bool,
        network: NDArray[np.float64] | None = None,
    ) -> Addends:  # fmt: skip
        """What inputs add to the log-odds of rows whose view is the one without labels (`stale`), or with them. The network is one
        input, the last of them, where it has weight."""
        inputs, view = (self._untold, self.model.untold) if stale else (self._told, self.model.told)
        values, columns = inputs.values(features, scores), view.trees.columns
        names = tuple(view.names[j] for j in columns.tolist())
        found = view.trees.contributions(values, self._ancestry[stale])
        if not view.network:
            return Addends(names, values[:, columns], found)
        added = view.network * _given(network)
        looked_at = np.column_stack([values[:, columns], probability(_given(network))]).astype(np.float32)
        return Addends((*names, NETWORK), looked_at, np.insert(found, found.shape[1] - 1, added, axis=1))


def _given(network: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if network is None:
        raise BadInput("the model has a graph network", hint="give its margins of these events")
    return network


def probability(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """In (0, 1)."""
    return 1.0 / (1.0 + np.exp(-margin))

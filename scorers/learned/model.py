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
_FAR = 20.0
"""Log-odds that a probability still tells apart as finely as float32 does."""


@dataclass(frozen=True, slots=True)
class View:
    """Trees and the names of what they look at: column i of theirs is input i. `network` times the network's margin is added to theirs."""

    names: tuple[str, ...]
    trees: Trees
    network: float = 0.0
    alone: Trees | None = None
    """The same trees as they were blended without the network: they answer where it has weight and is not asked."""
    rule: bool = False
    """Whether the robust rule's scorers keep their say beside it."""
    network_usual: float = 0.0
    """Mean of the network's margins over what the blend was fitted on: what its part is counted from."""

    def of(self, asked: bool) -> Trees:
        """Those that answer with the network, or without it."""
        if asked or not self.network:
            return self.trees
        if self.alone is None:
            raise _lacking()
        return self.alone

    def margin(self, values: NDArray[np.float32], network: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Log-odds (n,) of inputs (n, m) and margins of the network (n,), NaN where it is not asked."""
        if not self.network:
            return self.trees.margin(values)
        given = _given(network)
        unasked = np.isnan(given)
        if not unasked.any():
            return self.trees.margin(values) + self.network * given
        found = self.of(False).margin(values)
        if not unasked.all():
            found[~unasked] = self.trees.margin(values[~unasked]) + self.network * given[~unasked]
        return found


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
        the margins of the model's network, where it has one (n,), NaN where it is not asked; the same bits for any batch size."""
        stale = self.stale(silence_s)
        found = np.empty(len(features))
        for inputs, view, rows in ((self._told, self.model.told, ~stale), (self._untold, self.model.untold, stale)):
            if rows.any():
                values = inputs.values(features[rows], scores[rows])
                found[rows] = view.margin(values, None if network is None else network[rows])
        return found

    def stale(self, silence_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where labels are not looked at (n,)."""
        return silence_s > self.model.patience_s

    def beside_rule(self, stale: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where the robust rule keeps its say (n,), by whether labels are looked at."""
        return np.where(stale, self.model.untold.rule, self.model.told.rule)

    def looks_at_network(self, silence_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where the network has weight (n,)."""
        stale = self.stale(silence_s)
        return np.where(stale, self.model.untold.network > 0.0, self.model.told.network > 0.0)

    def explain(
        self, features: NDArray[np.float32], scores: NDArray[np.float64], *, stale: bool,
        network: NDArray[np.float64] | None = None,
    ) -> Addends:  # fmt: skip
        """What inputs add to the log-odds of rows whose view is the one without labels (`stale`), or with them. The network is one
        input, the last of them, where it has weight and was asked: about all of the rows (n,), or about none (None). Its part is the
        Shapley value of a linear term, weight times (margin - mean): Lundberg and Lee 2017, corollary 1."""
        inputs, view = (self._untold, self.model.untold) if stale else (self._told, self.model.told)
        trees = view.of(network is not None)
        values, columns = inputs.values(features, scores), trees.columns
        names = tuple(view.names[j] for j in columns.tolist())
        found = trees.contributions(values, self._ancestry[stale])
        if network is None or not view.network:
            return Addends(names, values[:, columns], found)
        looked_at = np.column_stack([values[:, columns], probability(network)]).astype(np.float32)
        part = view.network * (network - view.network_usual)
        found[:, -1] += view.network * view.network_usual
        return Addends((*names, NETWORK), looked_at, np.insert(found, found.shape[1] - 1, part, axis=1))


def _given(network: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if network is None:
        raise _lacking()
    return network


def _lacking() -> BadInput:
    return BadInput("the model has a graph network", hint="give its margins of these events")


def probability(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """In (0, 1)."""
    return 1.0 / (1.0 + np.exp(-margin))


def beside(prob: NDArray[np.float64], rule: NDArray[np.float64]) -> NDArray[np.float64]:
    """A model's probabilities and the robust rule's scores (n,) as one score: noisy-or, as the rule is one itself."""
    return 1.0 - (1.0 - prob) * (1.0 - rule)


def margin_of(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    """A network's margin as its probability holds it, which is what is stored: that of float32 which gave it, for margins that are not
    far out; NaN of NaN. Models are given this one, so that what was said can be made again."""
    with np.errstate(divide="ignore"):
        logit = np.log(prob) - np.log1p(-prob)
    margin: NDArray[np.float64] = np.minimum(np.maximum(logit, -_FAR), _FAR).astype(np.float32).astype(np.float64)
    return margin

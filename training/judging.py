"""What rows that were not trained on say: how well fraud is ranked, and whether the robust rule is worth keeping beside a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scorers.combine import combine
from scorers.learned.inputs import OF_MODELS, SAID
from scorers.learned.model import beside, probability
from scorers.policy import BUILT_IN
from training.table import Table


def precision(score: NDArray[np.float64], y: NDArray[np.int8], weight: NDArray[np.int64]) -> tuple[float, float]:
    """Average precision of scores (n,) for labels of 0 and 1, some 1, each row standing for `weight`; and the standard error of the mean
    over frauds that it is."""
    order = np.argsort(-score, kind="stable")
    hits, passed = np.cumsum((y * weight)[order]), np.cumsum(weight[order])
    at = (hits / passed)[y[order] > 0]
    return float(at.mean()), float(at.std() / np.sqrt(len(at)))


def rule_of(table: Table) -> NDArray[np.float64]:
    """The robust rule's score (n,), by the weights it has where no policy says otherwise, without what people decided."""
    counted = [0.0 if name in (*SAID, *OF_MODELS) else BUILT_IN.weight(name) for name in table.scorer_names]
    return combine(table.scores.astype(np.float64), np.array(counted))


def rule_stays(
    log_odds: NDArray[np.float64], rule: NDArray[np.float64], y: NDArray[np.int8], weight: NDArray[np.int64]
) -> bool:
    """Whether the rule costs no more than a standard error of average precision beside a model that says `log_odds` of rows it was not
    trained on: it knows frauds of which no label has told yet, which no figure here shows."""
    p = probability(log_odds)
    alone, error = precision(p, y, weight)
    return precision(beside(p, rule), y, weight)[0] >= alone - error

"""What rows that were not trained on say: how well fraud is ranked, and whether the robust rule is worth keeping beside a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scorers.combine import combine
from scorers.learned.inputs import OF_MODELS, SAID
from scorers.learned.model import beside, probability
from scorers.policy import BUILT_IN
from training.table import Table

_DRAWS = 50
RULE_STAYS = "the robust rule stays beside the model"


def precision(score: NDArray[np.float64], y: NDArray[np.int8], weight: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average precision of scores (n,) for labels of 0 and 1, some 1, each row standing for `weight`: first as it is, then of rows drawn anew
    as often as by chance (Efron: Bootstrap methods, 1979, by Poisson weights). The same rows are drawn for scores of the same rows."""
    order = np.argsort(-score, kind="stable")
    rng, found = np.random.default_rng(0), np.empty(1 + _DRAWS)
    for draw in range(len(found)):
        times = (weight * rng.poisson(1.0, len(y)) if draw else weight)[order]
        hits = times * y[order]
        passed = np.cumsum(hits) / np.maximum(np.cumsum(times), 1)
        found[draw] = passed @ hits / max(hits.sum(), 1)
    return found


def rule_of(table: Table) -> NDArray[np.float64]:
    """The robust rule's score (n,), by the weights it has where no policy says otherwise, without what people decided."""
    counted = [0.0 if name in (*SAID, *OF_MODELS) else BUILT_IN.weight(name) for name in table.scorer_names]
    return combine(table.scores.astype(np.float64), np.array(counted))


def rule_stays(
    log_odds: NDArray[np.float64], rule: NDArray[np.float64], y: NDArray[np.int8], weight: NDArray[np.int64]
) -> bool:
    """Whether the rule costs no more average precision than a standard error beside a model that says `log_odds` of rows it was not trained
    on: it knows frauds of which no label has told yet, which no figure here shows."""
    p = probability(log_odds)
    lost = precision(p, y, weight) - precision(beside(p, rule), y, weight)
    return bool(lost[0] <= lost[1:].std())

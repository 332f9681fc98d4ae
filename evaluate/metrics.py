"""Detection metrics over scored events. Ties are broken by event id, so a figure does not depend on the order of rows.

Card precision top-k: per day, each entity counts with its highest score; the k highest entities are looked at; the
share of them with a fraud that day; entities caught on a day are left out of later days; the mean over days (Le
Borgne et al., "Reproducible Machine Learning for Credit Card Fraud Detection", chapter 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ringwatch.model import DAY_US

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """Labelled test rows. `score` float64, `fraud` bool, `at_us` int64, `entity` the codes precision at k counts by,
    `order`
    the rank of the event id, all of shape (n,)."""

    score: NDArray[np.float64]
    fraud: NDArray[np.bool_]
    at_us: NDArray[np.int64]
    entity: NDArray[np.int64]
    order: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_]) -> Scored:
        return Scored(self.score[keep], self.fraud[keep], self.at_us[keep], self.entity[keep], self.order[keep])


def roc_auc(s: Scored) -> float:
    """Area under the ROC curve; NaN with one class only."""
    if s.fraud.all() or not s.fraud.any():
        return float("nan")
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(s.fraud, s.score))


def average_precision(s: Scored) -> float:
    if not s.fraud.any():
        return float("nan")
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(s.fraud, s.score))


def f1_macro(s: Scored, threshold: float) -> float:
    """Mean F1 of the two classes at a threshold chosen elsewhere (on the training part)."""
    if not len(s.fraud):
        return float("nan")
    from sklearn.metrics import f1_score

    return float(f1_score(s.fraud, s.score >= threshold, average="macro", zero_division=0.0))


def best_f1_threshold(s: Scored) -> float:
    """The score that maximises macro F1 over the rows given (of the training part)."""
    if not len(s.fraud):
        return 0.5
    order = np.lexsort((s.order, -s.score))
    fraud, score = s.fraud[order], s.score[order]
    hits, flagged = np.cumsum(fraud), np.arange(1, len(fraud) + 1)
    total, n = hits[-1], len(fraud)
    f1_fraud = 2 * hits / np.maximum(flagged + total, 1)
    good_kept = (n - flagged) - (total - hits)
    f1_good = 2 * good_kept / np.maximum((n - flagged) + (n - total), 1)
    last_of_tie = np.append(score[1:] != score[:-1], True)
    macro = np.where(last_of_tie, (f1_fraud + f1_good) / 2, -1.0)
    return float(score[int(np.argmax(macro))])


def precision_at_k(s: Scored, k: int) -> float:
    """Card precision top-k by UTC day, entities caught removed on later days."""
    if not len(s.score):
        return float("nan")
    days = s.at_us // DAY_US
    caught: set[int] = set()
    shares = []
    for day in np.unique(days):
        today = days == day
        best: dict[int, tuple[float, int]] = {}
        guilty: set[int] = set()
        rows = zip(s.entity[today], s.score[today], s.order[today], s.fraud[today], strict=True)
        for entity, score, order, fraud in rows:
            code = int(entity)
            if code in caught:
                continue
            key = (-float(score), int(order))
            if code not in best or key < best[code]:
                best[code] = key
            if fraud:
                guilty.add(code)
        top = sorted(best, key=lambda code: best[code])[:k]
        found = [code for code in top if code in guilty]
        shares.append(len(found) / k)
        caught.update(found)
    return float(np.mean(shares))


METRICS: dict[str, Callable[[Scored], float]] = {"roc_auc": roc_auc, "average_precision": average_precision}

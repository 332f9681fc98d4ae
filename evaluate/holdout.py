"""How good a model is on time that it has not seen: the last part of the labelled rows is held out, and what was known before it trains."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.metrics import Scored, average_precision, best_f1_threshold, f1_macro, roc_auc
from ringwatch.errors import BadInput
from scorers.learned.model import Evaluator, LearnedModel, beside, probability
from training import network
from training.fit import Progress, learn
from training.graph import Graph
from training.judging import rule_of
from training.labelled import FRAUD, GOOD, UNLABELLED, TooFewLabels
from training.reading import Labelled
from training.table import Table

HIGHER_IS_BETTER = {
    "roc_auc": True, "average_precision": True, "brier": False, "ece": False, "recall_at_1_percent": True, "f1_macro": True,
}  # fmt: skip
"""What is measured."""
_BINS = 10
_EXPLAINED = 1000
"""Rows that importances are means over."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of like probability: how many, what was said on the mean, and what share of them was fraud."""

    rows: int
    least: float
    most: float
    said: float
    was: float


@dataclass(frozen=True, slots=True)
class Holdout:
    """What came of it."""

    id: str
    """Equal where the held-out rows and their labels are."""
    rows: int
    frauds: int
    trained_on: int
    from_us: int
    """Held out are events from then on; trained on what was known before."""
    metrics: dict[str, float]
    rule: dict[str, float]
    """Of the robust rule on the same rows, as far as they mean anything for it."""
    threshold: float
    """Of `f1_macro`: the best out of fold in training."""
    rule_stays: tuple[bool, bool]
    """Beside the model, with and without labels: what ranks is then the score of both."""
    reliability: tuple[Bin, ...]
    """Of the model's probability, like Brier score and calibration error."""
    prob: NDArray[np.float64]
    """(rows,): what the model says."""
    score: NDArray[np.float64]
    """(rows,): with the robust rule, where that stays."""
    rule_score: NDArray[np.float64]
    fraud: NDArray[np.bool_]

    def summary(self) -> dict[str, Any]:
        """Without the rows."""
        whole = asdict(self)
        return {name: whole[name] for name in whole if name not in ("prob", "score", "rule_score", "fraud")}


def hold_out(
    of: Labelled, *, seed: int, share: float, progress: Progress, graph: Graph | None = None, state: Path | None = None
) -> Holdout:
    """Train on what was known when the last `share` of the labelled rows begins, and test on these. Raises TooFewLabels. `graph`: with a
    graph network, which hears labels of the tested rows as they come, as trees do; `state` as of `learn`."""
    table = of.table
    if not 0.0 < share < 1.0:
        raise BadInput(f"--holdout is {share}", hint="a share between 0 and 1 is needed, for example 0.2")
    if not len(table):
        raise TooFewLabels("no event is labelled", hint="until there are labels the robust rule combines the scorers")
    from_us = int(table.at_us[min(int(len(table) * (1.0 - share)), len(table) - 1)])
    test = table.at_us >= from_us
    fraud = table.label[test] == FRAUD
    if fraud.all() or not fraud.any():
        raise TooFewLabels(
            f"the held-out {fraud.size} labels are all {'fraud' if fraud.all() else 'good'}",
            hint="hold out a larger share with --holdout; until then the robust rule combines the scorers",
        )
    known = ~test & (table.known_us <= from_us)
    label, known_us = np.where(known, table.label, UNLABELLED).astype(np.int8), table.known_us
    if of.assumed:
        late = ~known & (table.at_us + of.waited_us <= from_us)
        label[late], known = GOOD, known | late
        known_us = np.where(late, table.at_us + of.waited_us, known_us)
    try:
        found = learn(
            replace(table, label=label, known_us=known_us),
            seed=seed,
            graph=graph,
            rule=(True, True) if of.assumed else None,
            state=state,
            progress=progress,
        )
    except TooFewLabels as error:
        message = f"of the labels known when the held-out {share:.0%} begins: {error.message}"
        raise TooFewLabels(message, hint=error.hint) from None
    tested = table.where(test)
    prob = said(found.model, tested, graph)
    score = with_rule(found.model, tested, prob)
    threshold = best_f1_threshold(_scored(found.told.oof, found.told.y == FRAUD))
    scored, calibrated = _scored(score, fraud), _scored(prob, fraud)
    rule = _scored(of.rule[test].astype(np.float64), fraud)
    return Holdout(
        _id(tested), len(fraud), int(fraud.sum()), int(known.sum()), from_us,
        {**ranked(scored), "brier": brier(calibrated), "ece": ece(calibrated), "f1_macro": f1_macro(scored, threshold)},
        ranked(rule), threshold, (found.model.told.rule, found.model.untold.rule), reliability(calibrated), prob, score, rule.score, fraud,
    )  # fmt: skip


def predict(model: LearnedModel, table: Table, graph: Graph | None = None) -> NDArray[np.float64]:
    """Scores (n,): probabilities, with the robust rule beside them where the model says so. `graph`: of a model that has a graph network."""
    return with_rule(model, table, said(model, table, graph))


def with_rule(model: LearnedModel, table: Table, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n,) of the model, with the robust rule beside them where it says so."""
    evaluator = Evaluator(model, table.feature_names, table.scorer_names)
    stays = evaluator.beside_rule(evaluator.stale(table.silence_s.astype(np.float64)))
    return np.where(stays, beside(p, rule_of(table)), p) if stays.any() else p


def said(model: LearnedModel, table: Table, graph: Graph | None = None) -> NDArray[np.float64]:
    """Probabilities (n,) of the model alone."""
    evaluator = Evaluator(model, table.feature_names, table.scorer_names)
    margin = None if model.network is None or graph is None else network.margins(model.network, graph, table.row)
    return probability(
        evaluator.margin(table.features, table.scores.astype(np.float64), table.silence_s.astype(np.float64), margin)
    )


def importances(model: LearnedModel, table: Table) -> dict[str, float]:
    """Input -> mean of what it moves the log-odds by (TreeSHAP), over rows spread evenly; the strongest first."""
    some = table.where(np.unique(np.linspace(0, len(table) - 1, _EXPLAINED).astype(np.int64)))
    evaluator = Evaluator(model, table.feature_names, table.scorer_names)
    found = evaluator.explain(some.features, some.scores.astype(np.float64), stale=False)
    strength = np.abs(found.log_odds[:, :-1]).mean(axis=0)
    return {found.names[i]: float(strength[i]) for i in np.argsort(-strength, kind="stable")}


def ranked(s: Scored) -> dict[str, float]:
    """Figures that need no probability."""
    return {
        "roc_auc": roc_auc(s),
        "average_precision": average_precision(s),
        "recall_at_1_percent": recall_alerted(s, 0.01),
    }


def recall_alerted(s: Scored, share: float) -> float:
    """Share of the frauds among the `share` of rows with the highest score."""
    top = np.lexsort((s.order, -s.score))[: max(1, round(share * len(s.score)))]
    return float(s.fraud[top].sum() / s.fraud.sum())


def brier(s: Scored) -> float:
    """Mean squared distance of probability and what was; 0 is best."""
    return float(np.mean((s.score - s.fraud) ** 2))


def reliability(s: Scored) -> tuple[Bin, ...]:
    """Ten bins of as many rows each, by probability; ties are never parted."""
    order = np.argsort(s.score, kind="stable")
    p, fraud = s.score[order], s.fraud[order]
    edges = np.unique(np.searchsorted(p, p[np.arange(_BINS) * len(p) // _BINS]))
    bins = zip(edges.tolist(), [*edges[1:].tolist(), len(p)], strict=True)
    return tuple(
        Bin(b - a, float(p[a]), float(p[b - 1]), float(p[a:b].mean()), float(fraud[a:b].mean())) for a, b in bins
    )


def ece(s: Scored) -> float:
    """Expected calibration error: mean distance of said and was over the bins, by their rows; 0 is best."""
    return float(sum(b.rows * abs(b.said - b.was) for b in reliability(s)) / len(s.score))


def _scored(score: NDArray[np.float64], fraud: NDArray[np.bool_]) -> Scored:
    nothing = np.zeros(len(score), np.int64)
    return Scored(score, fraud, nothing, nothing, np.arange(len(score)))


def _id(table: Table) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for values in (table.at_us, table.label, table.row):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()

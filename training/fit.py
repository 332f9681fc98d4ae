"""Rows with labels to a learned model: which inputs, how its trees are grown, how they are blended. Everything is chosen inside the rows
given, in order of time, by one rule for all data sets.

The rows are cut into four blocks of time. Settings are tried on the last block by trees that were trained on the blocks before it; the
blend is fitted on the last two blocks, each scored by trees of the blocks before it; then all rows train the trees that serve.

Twice: with all inputs, and without those that depend on labels, for when labels have stopped coming.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from ringwatch.errors import BadInput
from scorers.learned.inputs import Inputs, of_labels
from scorers.learned.model import LearnedModel, View
from training.blending import Blend, blend, joined
from training.boosting import Settings, fit, flat, margins
from training.table import Table


class TooFewLabels(BadInput):
    """Nothing can be learned from so few."""


LEAST_OF_EACH = 20
"""Labels of good and of fraud that there must be: fewer teach nothing that can be checked."""
_BLOCKS, _LOOKED_AT, _MOST_INPUTS = 4, 50_000, 256
_ROUNDS = (100, 200, 400)
_PATIENCE = 3.0
"""Labels have stopped coming after so many times the longest silence there was: they come irregularly."""
Progress = Callable[[float, str], None]
Values = Callable[..., NDArray[np.float32]]
"""(inputs, rows or all): their values."""
Wanted = Callable[[str], bool]
"""Whether an input may be looked at."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one view of the inputs came to; for people who look at how a model was made."""

    inputs: tuple[str, ...]
    settings: tuple[Settings, ...]
    blend: Blend
    oof: NDArray[np.float64]
    """Log-odds of the rows in the last two blocks, out of fold."""
    y: NDArray[np.int8]
    gains: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Learned:
    model: LearnedModel
    told: Chosen
    untold: Chosen


def learn(
    table: Table,
    *,
    seed: int,
    wanted: Wanted = lambda name: True,
    progress: Progress = lambda share, words: None,
) -> Learned:
    """Of the labelled rows of the table. Raises TooFewLabels where there are too few of either."""
    rows = np.flatnonzero(table.label >= 0)
    rows = rows[np.lexsort((table.row[rows], table.at_us[rows]))]
    y = table.label[rows]
    frauds = int(np.count_nonzero(y))
    if min(frauds, len(y) - frauds) < LEAST_OF_EACH:
        raise TooFewLabels(
            f"{frauds} frauds and {len(y) - frauds} good events are labelled",
            hint=f"{LEAST_OF_EACH} of each are needed; until then the robust rule combines the scorers",
        )
    inputs = useful(table.where(rows[_spread(len(rows), _LOOKED_AT)]), wanted)
    values = partial(_values, table, rows)
    plain = np.flatnonzero([not of_labels(name) for name in inputs.names])
    all_there = len(plain) == len(inputs)
    told, told_as = _view(inputs, values, y, seed, lambda s, words: progress(s * (1.0 if all_there else 0.5), words))
    if all_there:
        return Learned(LearnedModel(told, told, np.inf), told_as, told_as)
    untold, untold_as = _view(inputs.select(plain), values, y, seed, lambda s, words: progress(0.5 + 0.5 * s, words))
    silence_s = table.silence_s[rows]
    heard = silence_s[np.isfinite(silence_s)]
    patience_s = _PATIENCE * float(heard.max()) if len(heard) else 0.0
    return Learned(LearnedModel(told, untold, patience_s), told_as, untold_as)


def useful(table: Table, wanted: Wanted) -> Inputs:
    """Candidates that are there and vary, as a part of the rows shows."""
    inputs = Inputs.candidates(table.feature_names, table.scorer_names)
    inputs = inputs.select([i for i, name in enumerate(inputs.names) if wanted(name)])
    some = _spread(len(table), _LOOKED_AT)
    values = inputs.values(table.features[some], table.scores[some].astype(np.float64))
    known = np.isfinite(values)
    least = np.where(known, values, np.inf).min(axis=0)
    most = np.where(known, values, -np.inf).max(axis=0)
    return inputs.select(np.flatnonzero(most > least))


def _spread(n: int, most: int) -> NDArray[np.int64]:
    """At most so many of n rows, evenly."""
    return np.unique(np.linspace(0, n - 1, most).astype(np.int64))


def _values(
    table: Table, rows: NDArray[np.int64], inputs: Inputs, some: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Inputs of the rows, or of some of these, made a block at a time: the features are not copied as a whole."""
    rows = rows if some is None else rows[some]
    found = np.empty((len(rows), len(inputs)), np.float32)
    for start in range(0, len(rows), _LOOKED_AT):
        block = rows[start : start + _LOOKED_AT]
        scores = table.scores[block].astype(np.float64)
        found[start : start + len(block)] = inputs.values(table.features[block], scores)
    return found


def _view(inputs: Inputs, values: Values, y: NDArray[np.int8], seed: int, progress: Progress) -> tuple[View, Chosen]:
    cuts = [len(y) * k // _BLOCKS for k in range(_BLOCKS + 1)]
    last = slice(cuts[-2], cuts[-1])
    before = slice(0, cuts[-2])
    kept, gains = _strongest(partial(values, inputs), y[before], seed)
    inputs = inputs.select(kept)
    x = values(inputs)
    progress(0.1, "inputs are chosen")
    tried = [(s, fit(x[before], y[before], s, seed)) for s in _boosted(len(y))]
    progress(0.4, "settings are tried")
    boosted, booster = _best(tried, x[last], y[last])
    forest = _forest(len(y))
    families = (boosted, forest)
    of_last = [margins(booster, x[last], boosted.rounds), margins(fit(x[before], y[before], forest, seed), x[last])]
    middle, early = slice(cuts[-3], cuts[-2]), slice(0, cuts[-3])
    of_middle = [margins(fit(x[early], y[early], s, seed), x[middle]) for s in families]
    progress(0.7, "the blend is fitted")
    out = np.column_stack([np.concatenate(pair) for pair in zip(of_middle, of_last, strict=True)])
    out_y = np.concatenate([y[middle], y[last]])
    if len(np.unique(out_y)) < 2:
        raise TooFewLabels(
            "the later half of the labels is all of one sort",
            hint="the robust rule combines the scorers until both come",
        )
    b = blend(out, out_y)
    columns = range(x.shape[1])
    trees = [flat(fit(x, y, s, seed), columns) for s in families]
    progress(1.0, "trained")
    chosen = Chosen(inputs.names, families, b, b.of(out), out_y, dict(zip(inputs.names, gains, strict=True)))
    return View(inputs.names, joined(trees, b)), chosen


def _strongest(
    values: Callable[[NDArray[np.int64]], NDArray[np.float32]], y: NDArray[np.int8], seed: int
) -> tuple[NDArray[np.int64], list[float]]:
    """Inputs that a quick model gains by, at most 256, and how much."""
    some = _spread(len(y), 2 * _LOOKED_AT)
    quick = fit(values(some), y[some], Settings("boosted", 60, 31, _least_rows(len(y)), rate=0.1), seed)
    gain = quick.feature_importance("gain")
    kept = np.sort(np.argsort(-gain, kind="stable")[:_MOST_INPUTS])
    kept = kept[gain[kept] > 0.0] if (gain > 0.0).any() else kept
    return kept, gain[kept].tolist()


def _least_rows(n: int) -> int:
    return int(np.clip(n // 500, 5, 100))


def _boosted(n: int) -> list[Settings]:
    return [Settings("boosted", _ROUNDS[-1], leaves, _least_rows(n)) for leaves in (7, 15, 31)]


def _forest(n: int) -> Settings:
    return Settings("forest", 150, 255, int(np.clip(n // 5000, 2, 10)), rows=0.6, penalty=0.0)


def _best(tried: Sequence[tuple[Settings, Any]], x: NDArray[np.float32], y: NDArray[np.int8]) -> tuple[Settings, Any]:
    """By average precision; of equals the smaller."""
    found = []
    for s, booster in tried:
        for rounds in _ROUNDS:
            precision = average_precision_score(y, margins(booster, x, rounds)) if y.any() else 0.0
            found.append((-round(float(precision), 6), rounds * s.leaves, rounds, s, booster))
    _, _, rounds, s, booster = min(found, key=lambda f: f[:2])
    return Settings(s.family, rounds, s.leaves, s.least_rows), booster

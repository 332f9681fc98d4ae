"""Rows with labels to a learned model: which inputs, how its trees are grown, how they are blended. Everything is chosen inside the rows
given, in order of time, by one rule for all data sets.

The rows are cut into four blocks of time. How many trees is seen on the last block, by trees that were trained on the blocks before it; the
blend is fitted on the last two blocks, each scored by trees of the blocks before it (`training/blocks.py`); then all rows train the trees
that serve. A graph network, where there is one, joins the blend by the same blocks (`training/network.py`).

Twice: with all inputs, and without those that depend on labels, for when labels have stopped coming.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.options import USUAL, Options
from scorers.learned.inputs import Inputs, of_labels
from scorers.learned.model import LearnedModel, View, beside, probability
from scorers.learned.trees import Trees
from training import network
from training.blending import Blend, blend, joined
from training.blocks import BLOCKS, Blocks
from training.boosting import Settings, fit, flat, margins
from training.graph import Graph
from training.judging import precision, rule_of, rule_stays
from training.labelled import FRAUD, TooFewLabels
from training.table import Table

_LOOKED_AT, _MOST_GOOD = 50_000, 200_000
_INPUTS = 50, 256
"""At least and at most so many, and between them one for ten of the rarer label (Peduzzi et al.: A simulation study of the number of events
per variable in logistic regression analysis, 1996)."""
_FEW = 10_000
"""Fewer rows than these are few: a second forest of fully grown trees joins, and the blend stays nearer to equal weights, which are hard to
beat by weights learned of few rows (Clemen: Combining forecasts, 1989)."""
_PULL = 2.0, 20.0
"""Of the blend towards equal weights, for many rows and for few."""
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
    """Scores of the rows in the last two blocks, out of fold."""
    y: NDArray[np.int8]
    network: str = ""
    """What became of the graph network."""
    gains: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Learned:
    model: LearnedModel
    told: Chosen
    untold: Chosen
    late: bool
    """Whether choices were made with labels that were not known yet, because they come later than blocks are long."""


def learn(
    table: Table,
    *,
    seed: int,
    graph: Graph | None = None,
    options: Options = USUAL,
    wanted: Wanted = lambda name: True,
    rule: tuple[bool, bool] | None = None,
    state: Path | None = None,
    progress: Progress = lambda share, words: None,
) -> Learned:
    """Of the labelled rows of the table. With `graph` a graph network, trained by `options`, may become a part of the model. `rule`: whether
    the robust rule stays beside either view; if it is not given, rows out of fold say so. `state`: a folder that keeps a
    graph network in training, to go on after an interruption. Raises TooFewLabels where there are too few of either."""
    rows, weight = _thinned(table, table.labelled())
    blocks = table.blocks(rows)
    inputs = useful(table.where(rows[_spread(len(rows), _LOOKED_AT)]), wanted)
    given = _Given(partial(_values, table, rows), blocks, weight, seed, rule)
    plain = np.flatnonzero([not of_labels(name) for name in inputs.names])
    all_there = len(plain) == len(inputs)
    grown = 1.0 if graph is None else 0.7
    half = grown if all_there else grown / 2
    told = untold = _grown(inputs, given, lambda s, words: progress(half * s, words))
    if not all_there:
        untold = _grown(inputs.select(plain), given, lambda s, words: progress(half + (grown - half) * s, words))
    joined_by = None
    if graph is not None:
        rows_of = network.Rows(graph.place[table.row[rows]], weight, blocks)
        joined_by = network.join(
            graph,
            rows_of,
            (told.out, untold.out),
            seed,
            options,
            state,
            lambda s, words: progress(grown + (1.0 - grown) * s, words),
        )
    of_rule = None
    if all(wanted(name) for name in Inputs.candidates((), table.scorer_names).names):
        of_rule = rule_of(table.where(rows[blocks.since(2)]))
    (one, one_as), (other, other_as) = (
        _finished(g, given, joined_by, k, of_rule) for k, g in enumerate((told, untold))
    )
    progress(1.0, "trained")
    silence_s = table.silence_s[rows]
    heard = silence_s[np.isfinite(silence_s)]
    patience_s = np.inf if all_there else _PATIENCE * float(heard.max()) if len(heard) else 0.0
    return Learned(
        LearnedModel(one, other, patience_s, joined_by.gnn if joined_by else None), one_as, other_as, blocks.late
    )


def _thinned(table: Table, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of rows with labels those that are looked at, and for how many each stands: where there are very many, every so manieth good one."""
    fraud = table.label[rows] == FRAUD
    stride = max(1, -(-int(np.count_nonzero(~fraud)) // _MOST_GOOD))
    kept = fraud | (np.cumsum(~fraud) % stride == 0)
    return rows[kept], np.where(fraud[kept], 1, stride)


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


@dataclass(frozen=True, slots=True)
class _Given:
    """Rows that teach, in order of time."""

    values: Values
    blocks: Blocks
    weight: NDArray[np.int64]
    """For how many rows each stands."""
    seed: int
    rule: tuple[bool, bool] | None
    """Whether the robust rule stays beside either view, where that is decided."""


@dataclass(frozen=True, slots=True)
class _Grown:
    """One view's trees: their inputs and settings, one set a family of all rows, and margins of the last two blocks of time by the trees of
    the blocks before each (rows, families)."""

    inputs: Inputs
    families: tuple[Settings, ...]
    trees: list[Trees]
    out: NDArray[np.float64]
    gains: dict[str, float]


def _grown(inputs: Inputs, given: _Given, progress: Progress) -> _Grown:
    blocks, weight = given.blocks, given.weight
    y, before, last = blocks.y, blocks.before(BLOCKS - 1), blocks[BLOCKS - 1]
    for half, of in (("earlier", y[blocks.before(2)]), ("later", y[blocks.since(2)])):
        if len(np.unique(of)) < 2:
            message = f"the {half} half of the labels is all of one sort"
            raise TooFewLabels(message, hint="the robust rule combines the scorers until both have come for longer")
    kept, gains = _strongest(inputs, given, before)
    inputs = inputs.select(kept)
    x = given.values(inputs)

    def grow(some: NDArray[np.int64] | slice, s: Settings) -> Any:
        return fit(x[some], y[some], s, given.seed, weight[some])

    progress(0.1, "inputs are chosen")
    few = Settings("boosted", _ROUNDS[0], 31, _least_rows(len(y)), columns=_columns(len(kept), 0.3))
    boosted, booster = _boosted(partial(grow, before), few, x[last], y[last], weight[last])
    progress(0.4, "settings are chosen")
    families = (boosted, *_forests(*x.shape))
    early, third = blocks.before(2), blocks[2]
    of_third = [margins(grow(early, s), x[third]) for s in families]
    of_last = [
        margins(booster, x[last], boosted.rounds),
        *(margins(grow(before, s), x[last]) for s in families[1:]),
    ]
    out = np.column_stack([np.concatenate(both) for both in zip(of_third, of_last, strict=True)])
    progress(0.7, "the blend is fitted")
    trees = [flat(grow(slice(None), s), range(x.shape[1])) for s in families]
    return _Grown(inputs, families, trees, out, dict(zip(inputs.names, gains, strict=True)))


def _finished(
    grown: _Grown, given: _Given, joined_by: network.Joined | None, which: int, rule: NDArray[np.float64] | None
) -> tuple[View, Chosen]:
    """The blend of a view's trees, and of the network where the view takes it in; with the robust rule beside it, of which the scores of the
    last two blocks are given where it may be, if it is worth its place."""
    later = given.blocks.since(2)
    y, weight = given.blocks.y[later], given.weight[later]
    out, trees = grown.out, len(grown.trees)
    added = None if joined_by is None else joined_by.margins[which]
    pull = _PULL[len(given.blocks.y) < _FEW]
    b, alone = blend(out, y, weight, pull), None
    if added is not None:
        alone, out = joined(grown.trees, b), np.column_stack([out, added])
        b = blend(out, y, weight, pull)
    of_trees = Blend(b.weights[:trees], b.bias)
    words = "" if joined_by is None else joined_by.words[which]
    log_odds = b.of(out)
    decided = None if given.rule is None else given.rule[which]
    stays = rule is not None and (rule_stays(log_odds, rule, y, weight) if decided is None else decided)
    oof = beside(probability(log_odds), rule) if rule is not None and stays else probability(log_odds)
    chosen = Chosen(
        grown.inputs.names, grown.families, b, np.repeat(oof, weight), np.repeat(y, weight), words, grown.gains
    )
    share, usual = (0.0, 0.0) if added is None else (float(b.weights[trees]), float(np.average(added, weights=weight)))
    return View(grown.inputs.names, joined(grown.trees, of_trees), share, alone, stays, usual), chosen


def _strongest(inputs: Inputs, given: _Given, before: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[float]]:
    """Inputs that a quick model of the rows before gains by, and how much."""
    y, some = given.blocks.y, before[_spread(len(before), 2 * _LOOKED_AT)]
    settings = Settings("boosted", 60, 31, _least_rows(len(before)), rate=0.1, bins=255)
    most = int(np.clip(np.bincount(y[before], minlength=2).min() // 10, *_INPUTS))
    quick = fit(given.values(inputs, some), y[some], settings, given.seed, given.weight[some])
    gain = quick.feature_importance("gain")
    kept = np.sort(np.argsort(-gain, kind="stable")[:most])
    kept = kept[gain[kept] > 0.0] if (gain > 0.0).any() else kept
    return kept, gain[kept].tolist()


def _least_rows(n: int) -> int:
    return int(np.clip(n // 150, 5, 100))


def _columns(m: int, share: float) -> float:
    """That share of m inputs, where those are ten or more."""
    return max(share, min(1.0, 10 / m))


def _forests(n: int, m: int) -> tuple[Settings, ...]:
    """For n rows of m inputs; where they are few, also Breiman's: fully grown, about the square root of the inputs at each split."""
    least_rows = int(np.clip(n // 1000, 2, 20))
    forest = Settings("forest", 100, 63, least_rows, columns=_columns(m, 0.2), rows=0.6, penalty=0.0, bins=255)
    if n >= _FEW:
        return (forest,)
    return forest, replace(forest, leaves=255, least_rows=1, columns=min(1.0, 1.5 / np.sqrt(m)))


def _boosted(
    grow: Callable[[Settings], Any],
    few: Settings,
    x: NDArray[np.float32],
    y: NDArray[np.int8],
    weight: NDArray[np.int64],
) -> tuple[Settings, Any]:
    """How many boosted trees, and those that `grow` made of the rows before, at least as many; twice as many as long as they rank rows x
    better by more than a standard error (Breiman et al.: Classification and regression trees, 1984, 3.4.3). The best of all would be too
    many: what is true of an entity in the rows before is still true of it here, and will not be later."""
    for fewer, rounds in pairwise(_ROUNDS):
        booster = grow(replace(few, rounds=rounds))
        before, after = (precision(margins(booster, x, n), y, weight) for n in (fewer, rounds))
        if after[0] <= before[0] + before[1:].std():
            return replace(few, rounds=fewer), booster
    return replace(few, rounds=_ROUNDS[-1]), booster

"""Rows with labels to a learned model: which inputs, how its trees are grown, how they are blended. Everything is chosen inside the rows
given, in order of time, by one rule for all data sets.

The rows are cut into four blocks of time. Settings are tried on the last block by trees that were trained on the blocks before it; the
blend is fitted on the last two blocks, each scored by trees of the blocks before it; then all rows train the trees that serve. A graph
network, where there is one, joins the blend by the same blocks (`training/network.py`).

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

from gnn.options import USUAL, Options
from scorers.learned.inputs import Inputs, of_labels
from scorers.learned.model import LearnedModel, View
from scorers.learned.trees import Trees
from training import network
from training.blending import Blend, blend, joined
from training.boosting import Settings, fit, flat, margins
from training.graph import Graph
from training.labelled import FRAUD, TooFewLabels
from training.table import Table

_LOOKED_AT, _MOST_INPUTS, _MOST_GOOD = 50_000, 256, 200_000
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
    network: str = ""
    """What became of the graph network."""
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
    graph: Graph | None = None,
    options: Options = USUAL,
    wanted: Wanted = lambda name: True,
    progress: Progress = lambda share, words: None,
) -> Learned:
    """Of the labelled rows of the table. With `graph` a graph network, trained by `options`, may become a part of the model. Raises
    TooFewLabels where there are too few of either."""
    rows, weight = _thinned(table, table.labelled())
    y = table.label[rows]
    inputs = useful(table.where(rows[_spread(len(rows), _LOOKED_AT)]), wanted)
    given = _Given(partial(_values, table, rows), y, weight, seed, graph is not None)
    plain = np.flatnonzero([not of_labels(name) for name in inputs.names])
    all_there = len(plain) == len(inputs)
    grown = 1.0 if graph is None else 0.7
    half = grown if all_there else grown / 2
    told = untold = _grown(inputs, given, lambda s, words: progress(half * s, words))
    if not all_there:
        untold = _grown(inputs.select(plain), given, lambda s, words: progress(half + (grown - half) * s, words))
    joined_by = None
    if graph is not None:
        rows_of = network.Rows(graph.place[table.row[rows]], y, network.cuts_of(len(y)), (told.out, untold.out))
        joined_by = network.join(
            graph, rows_of, seed, options, lambda s, words: progress(grown + (1.0 - grown) * s, words)
        )
    (one, one_as), (other, other_as) = (_finished(g, given, joined_by, k) for k, g in enumerate((told, untold)))
    progress(1.0, "trained")
    silence_s = table.silence_s[rows]
    heard = silence_s[np.isfinite(silence_s)]
    patience_s = np.inf if all_there else _PATIENCE * float(heard.max()) if len(heard) else 0.0
    return Learned(LearnedModel(one, other, patience_s, joined_by.gnn if joined_by else None), one_as, other_as)


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
    y: NDArray[np.int8]
    weight: NDArray[np.int64]
    """For how many rows each stands."""
    seed: int
    to_add_to: bool
    """Whether a network is to add to the trees."""


@dataclass(frozen=True, slots=True)
class _Grown:
    """One view's trees: their inputs and settings, one set a family of all rows, and margins of blocks of time by the trees of the blocks
    before each (rows, families): of the last two, of the last three where a network is to add to them."""

    inputs: Inputs
    families: tuple[Settings, ...]
    trees: list[Trees]
    out: NDArray[np.float64]
    gains: dict[str, float]


def _grown(inputs: Inputs, given: _Given, progress: Progress) -> _Grown:
    y, weight = given.y, given.weight
    cuts = network.cuts_of(len(y))
    before, last = slice(0, cuts[-2]), slice(cuts[-2], cuts[-1])
    kept, gains = _strongest(inputs, given, cuts[-2])
    inputs = inputs.select(kept)
    x = given.values(inputs)

    def grow(some: slice, s: Settings) -> Any:
        return fit(x[some], y[some], s, given.seed, weight[some])

    progress(0.1, "inputs are chosen")
    tried = [(s, grow(before, s)) for s in _boosted(len(y))]
    progress(0.4, "settings are tried")
    boosted, booster = _best(tried, x[last], y[last], weight[last])
    families = (boosted, _forest(len(y)))
    out = []
    for block in range(1 if given.to_add_to else 2, network.BLOCKS - 1):
        early, some = slice(0, cuts[block]), slice(cuts[block], cuts[block + 1])
        out.append(np.column_stack([margins(grow(early, s), x[some]) for s in families]))
    of_last = margins(grow(before, families[1]), x[last])
    out.append(np.column_stack([margins(booster, x[last], boosted.rounds), of_last]))
    progress(0.7, "the blend is fitted")
    if len(np.unique(y[cuts[2] :])) < 2:
        raise TooFewLabels(
            "the later half of the labels is all of one sort",
            hint="the robust rule combines the scorers until both come",
        )
    trees = [flat(grow(slice(None), s), range(x.shape[1])) for s in families]
    return _Grown(inputs, families, trees, np.concatenate(out), dict(zip(inputs.names, gains, strict=True)))


def _finished(grown: _Grown, given: _Given, joined_by: network.Joined | None, which: int) -> tuple[View, Chosen]:
    """The blend of a view's trees, and of the network where the view takes it in."""
    later = network.cuts_of(len(given.y))[2]
    y, weight = given.y[later:], given.weight[later:]
    out, trees = grown.out[-len(y) :], len(grown.trees)
    added = None if joined_by is None else joined_by.margins[which]
    if added is not None:
        out = np.column_stack([out, added])
    b = blend(out, y, weight)
    of_trees = Blend(b.weights[:trees], b.bias)
    words = "" if joined_by is None else joined_by.words[which]
    oof = np.repeat(b.of(out), weight)
    chosen = Chosen(grown.inputs.names, grown.families, b, oof, np.repeat(y, weight), words, grown.gains)
    share = float(b.weights[trees]) if added is not None else 0.0
    return View(grown.inputs.names, joined(grown.trees, of_trees), share), chosen


def _strongest(inputs: Inputs, given: _Given, before: int) -> tuple[NDArray[np.int64], list[float]]:
    """Inputs that a quick model of the rows before gains by, at most 256, and how much."""
    some = _spread(before, 2 * _LOOKED_AT)
    settings = Settings("boosted", 60, 31, _least_rows(before), rate=0.1)
    quick = fit(given.values(inputs, some), given.y[some], settings, given.seed, given.weight[some])
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


def _best(
    tried: Sequence[tuple[Settings, Any]], x: NDArray[np.float32], y: NDArray[np.int8], weight: NDArray[np.int64]
) -> tuple[Settings, Any]:
    """By average precision; of equals the smaller."""
    found = []
    for s, booster in tried:
        for rounds in _ROUNDS:
            out = margins(booster, x, rounds)
            precision = average_precision_score(y, out, sample_weight=weight) if y.any() else 0.0
            found.append((-round(float(precision), 6), rounds * s.leaves, rounds, s, booster))
    _, _, rounds, s, booster = min(found, key=lambda f: f[:2])
    return Settings(s.family, rounds, s.leaves, s.least_rows), booster

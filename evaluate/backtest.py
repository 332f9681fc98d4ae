"""Backtest: replay events in order of time through the scoring path, labels with their delay; train on one part, test on another.

Two passes over the source. The first learns who is who: times, labels, parts. The second replays and scores. A label
is fed only if the protocol lets it: all of them after their delay, or those of training rows. What a fold's training rows teach then
scores its test rows; where there are too few labels the robust rule stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluate.holdout import predict
from evaluate.metrics import METRICS, Figures, Scored, best_f1_threshold, f1_macro, precision_at_k
from evaluate.protocol import Protocol
from evaluate.score_file import ScoreFile
from evaluate.splits import Part, folds_of
from gnn.options import USUAL, Options
from ingest.source import Source
from ingest.stream import ScoringStream
from ringwatch.errors import BadInput
from ringwatch.model import Level
from scorers.decision import Decisions
from scorers.learned.inputs import OF_MODELS, of_neighbours
from scorers.learned.model import probability
from training import network
from training.blocks import LATE
from training.fit import Wanted, learn
from training.graph import Graph, GraphBuilder
from training.judging import RULE_STAYS
from training.labelled import FRAUD, GOOD, UNLABELLED, Rows, TooFewLabels, read_rows
from training.replay import Replay
from training.table import Table, TableBuilder

Progress = Callable[[float, str], None]
_REPLAY = 0.5
"""Share of the work that the replay is taken to be, where models are trained after it."""


@dataclass(slots=True)
class Report:
    events: int
    labelled: int
    frauds: int
    refused: int
    figures: Figures
    """Means over the folds, and over the seeds where models were trained."""
    spread: Figures
    """Standard deviation of the folds' means over the seeds; empty with one."""
    folds: list[Figures]
    """Of the first seed."""
    rule: Figures
    """The robust rule, which needs no labels, means over the folds."""
    scorers: dict[str, Figures]
    """Each scorer alone, means over the folds; abstaining counts as 0."""
    trained: bool = False
    """Whether a model was, for any fold."""
    ablation: dict[str, Figures] = field(default_factory=dict)
    """What models trained with less than everything come to, one seed."""
    network: list[str] = field(default_factory=list)
    """What became of the graph network, for each seed and fold."""
    levels: dict[str, dict[str, int]] = field(default_factory=dict)
    """level -> {fraud, good, unlabelled} over the test rows, by the robust rule and the policy."""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Data:
    """What is trained and tested on; `graph` where there is to be a network."""

    table: Table
    graph: Graph | None


@dataclass(frozen=True, slots=True)
class Learning:
    """Models to train: one a seed; with `ablation` also with less than everything. `network`: with the graph network, trained by
    `options`, where torch is installed."""

    seeds: Sequence[int] = (0,)
    ablation: bool = False
    network: bool = True
    options: Options = USUAL


def backtest(
    source: Source,
    new_stream: Callable[[], ScoringStream],
    protocol: Protocol,
    *,
    learning: Learning | None = None,
    label_delay_us: int | None = None,
    out: Path | None = None,
    progress: Progress = lambda share, words: None,
) -> Report:
    """`learning`: what is trained, if anything. `label_delay_us` overrides the mapping's delay. Scores of every event go to `out`
    (.parquet or .csv)."""
    rows = read_rows(source, protocol.precision_entity, protocol.without)
    if not rows.ids:
        raise BadInput(f"{source.name} has no usable events", hint="`ringwatch ingest` tells why records are refused")
    at_us, label = np.array(rows.at_us), np.array(rows.label, np.int8)
    folds = folds_of(rows, protocol, at_us, label)
    feeding = np.ones(len(at_us), np.bool_) if protocol.labels == "all" else np.any([f.train for f in folds], axis=0)
    stream = new_stream()
    share = _REPLAY if learning is not None else 1.0
    file = ScoreFile(out, rows, folds) if out is not None else None
    kept = _Kept(stream.assessor.names, rows, file, lambda done, n: progress(share * done, f"{n:,} events"))
    builder = graph = None
    if learning is not None and any(f.train.any() for f in folds):
        wanted = np.any([f.train | f.test for f in folds], axis=0)
        builder = TableBuilder(stream.assessor.schema, stream.assessor.names, wanted, frozenset(rows.kinds))
        if learning.network and network.there():
            graph = GraphBuilder(stream.assessor.schema, frozenset(rows.kinds), len(rows.ids))

    def keep(decisions: Decisions, of: NDArray[np.int64]) -> None:
        kept.keep(decisions, of)
        if builder is not None:
            builder.keep(decisions, of)
        if graph is not None:
            graph.keep(decisions, of)

    tell = graph.tell if graph is not None else lambda row, label, known_us: None
    Replay(stream, rows, feeding, label_delay_us, keep, tell).run(source)
    known_us = np.array(rows.known_us) if label_delay_us is None else at_us + label_delay_us
    test = _Test(rows, kept, folds, protocol, at_us, label, known_us)
    report = test.of_rule()
    report.refused = rows.refused
    if builder is not None and learning is not None:
        data = Data(builder.table(label, known_us), None if graph is None else graph.graph())
        if learning.network and graph is None:
            report.notes.append(network.WITHOUT_TORCH)
        test.learn(report, data, learning, lambda s, words: progress(share + (1.0 - share) * s, words))
    if file is not None:
        file.close(test.learned)
    return report


class _Kept:
    """What the replay gave, by row."""

    def __init__(
        self, names: tuple[str, ...], rows: Rows, file: ScoreFile | None, progress: Callable[[float, int], None]
    ) -> None:
        self.names = names
        self._rows, self._file, self._progress = rows, file, progress
        self.score = np.full(len(rows.ids), np.nan)
        self.level = np.zeros(len(rows.ids), np.uint8)
        self.scores = np.full((len(rows.ids), len(names)), np.nan, np.float32)
        self._done = 0

    def keep(self, decisions: Decisions, rows: NDArray[np.int64]) -> None:
        self.score[rows] = decisions.score
        self.level[rows] = decisions.level
        self.scores[rows] = decisions.scores
        self._done += len(rows)
        if self._file is not None and len(rows):
            self._file.write(decisions, rows)
        self._progress(self._done / len(self._rows.ids), self._done)


class _Test:
    """The test parts, and what scores come to on them."""

    def __init__(
        self,
        rows: Rows,
        kept: _Kept,
        folds: list[Part],
        protocol: Protocol,
        at_us: NDArray[np.int64],
        label: NDArray[np.int8],
        known_us: NDArray[np.int64],
    ) -> None:
        self._kept, self._folds, self._protocol, self._label = kept, folds, protocol, label
        self._taught = [f.train & (known_us <= f.from_us) if f.from_us is not None else f.train for f in folds]
        """For each fold the events whose labels teach."""
        self._removed = np.array(rows.removed)
        self._rows = Scored(kept.score, label == FRAUD, at_us, np.array(rows.entity), rows.rank())
        self._usable = (label != UNLABELLED) & ~np.isnan(kept.score)
        self.learned = np.full(len(at_us), np.nan)
        """Probabilities by the models of the first seed, of test rows."""

    def of_rule(self) -> Report:
        """The robust rule and each scorer alone."""
        kept, label = self._kept, self._label
        rule = [self._figures(self._rows, fold) for fold in self._folds]
        alone = {}
        for j, name in enumerate(kept.names):
            if name in OF_MODELS:
                continue
            scored = replace(self._rows, score=np.nan_to_num(kept.scores[:, j].astype(np.float64)))
            alone[name] = _mean([self._figures(scored, fold, apart=False) for fold in self._folds])
        tested = np.any([fold.test for fold in self._folds], axis=0)
        levels = {
            level.name: {
                name: int(np.sum(tested & (kept.level == int(level)) & (label == code)))
                for name, code in (("fraud", FRAUD), ("good", GOOD), ("unlabelled", UNLABELLED))
            }
            for level in Level
        }
        return Report(
            len(label), int(np.sum(label != UNLABELLED)), int(np.sum(label == FRAUD)), 0, _mean(rule), {}, rule, _mean(rule),
            alone, levels=levels,
        )  # fmt: skip

    def learn(self, report: Report, data: Data, learning: Learning, progress: Progress) -> None:
        """Train and test; the report then has the models' figures in place of the rule's."""
        runs = [(f"seed {seed}", seed, Way()) for seed in learning.seeds]
        if learning.ablation:
            runs += [
                (name, learning.seeds[0], way) for name, way in ABLATION.items() if data.graph or not way.of_network
            ]
        for k, (fold, taught) in enumerate(zip(self._folds, self._taught, strict=True)):
            late = int(np.sum(fold.train & ~taught & (self._label != UNLABELLED)))
            if late:
                words = "labels of the training part were not known when the test begins and do not teach"
                report.notes.append(f"fold {k + 1}: {late:,} {words}")
        means = []
        for number, (words, seed, way) in enumerate(runs):
            figures = []
            for k, fold in enumerate(self._folds):
                step = number * len(self._folds) + k
                progress(step / (len(runs) * len(self._folds)), f"{words}, fold {k + 1}")
                try:
                    found, made = self._trained(data, k, seed, way, learning.options, first=number == 0)
                    report.trained = True
                    if number < len(learning.seeds):
                        where = f"{words}, fold {k + 1}"
                        report.network += [f"{where}: {made.network}"] if made.network else []
                        report.notes += [f"{where}: {RULE_STAYS}"] if made.rule else []
                        report.notes += [f"fold {k + 1}: {LATE}"] if made.late and number == 0 else []
                except TooFewLabels as error:
                    note = f"fold {k + 1}: the robust rule: {error}"
                    report.notes += [note] if note not in report.notes else []
                    found = self._figures(self._rows, fold)
                figures.append(found)
            if number < len(learning.seeds):
                means.append(_mean(figures))
                report.folds = figures if number == 0 else report.folds
            else:
                report.ablation[words] = _mean(figures)
        report.figures = _mean(means)
        if len(means) > 1:
            report.spread = {name: float(np.std([m[name] for m in means])) for name in means[0]}

    def _trained(
        self, data: Data, k: int, seed: int, way: Way, options: Options, *, first: bool
    ) -> tuple[Figures, _Made]:
        """Figures of fold k, and what they are of."""
        fold = self._folds[k]
        train, test = (data.table.where(part[data.table.row]) for part in (self._taught[k], fold.test))
        make = _with_trees if way.trees else _network_alone
        made = make(data, train, test, seed, way, options)
        score = np.full(len(self._label), np.nan)
        score[test.row] = made.score
        if first:
            self.learned[test.row] = score[test.row]
        n = len(made.y)
        out_of_fold = Scored(made.oof, made.y == FRAUD, np.zeros(n, np.int64), np.zeros(n, np.int64), np.arange(n))
        found = self._figures(replace(self._rows, score=score), fold, threshold=best_f1_threshold(out_of_fold))
        return found, made

    def _figures(self, s: Scored, fold: Part, *, threshold: float | None = None, apart: bool = True) -> Figures:
        """`threshold` for F1, else the best on the training part; with `apart` also without the protocol's entity."""
        test = fold.test & self._usable & ~fold.excluded
        figures: Figures = {"rows": float(test.sum()), "frauds": float((s.fraud & test).sum())}
        for suffix, keep in (("", test), ("_without", test & ~self._removed)):
            if suffix and not (apart and self._removed.any()):
                continue
            some = s.where(keep)
            for name in self._protocol.metrics:
                if name == "f1_macro":
                    cut = best_f1_threshold(s.where(fold.train & self._usable)) if threshold is None else threshold
                    figures[name + suffix] = f1_macro(some, cut)
                elif name.startswith("precision_at_"):
                    figures[name + suffix] = precision_at_k(some, int(name.removeprefix("precision_at_")))
                else:
                    figures[name + suffix] = METRICS[name](some)
        return figures


@dataclass(frozen=True, slots=True)
class _Made:
    """Scores of the test rows, scores and labels of training rows out of fold, what became of the graph network, whether the robust
    rule stays beside the model, and whether labels came later than the blocks of training are long."""

    score: NDArray[np.float64]
    oof: NDArray[np.float64]
    y: NDArray[np.int8]
    network: str = ""
    rule: bool = False
    late: bool = False


def _with_trees(data: Data, train: Table, test: Table, seed: int, way: Way, options: Options) -> _Made:
    graph = data.graph if way.network else None
    found = learn(train, seed=seed, graph=graph, options=options, wanted=way.wanted)
    stale = np.mean(test.silence_s > found.model.patience_s) > 0.5
    chosen, view = (found.untold, found.model.untold) if stale else (found.told, found.model.told)
    return _Made(predict(found.model, test, data.graph), chosen.oof, chosen.y, chosen.network, view.rule, found.late)


def _network_alone(data: Data, train: Table, test: Table, seed: int, way: Way, options: Options) -> _Made:
    assert data.graph is not None
    gnn, oof, y = network.alone(data.graph, train, seed, options)
    return _Made(probability(network.margins(gnn, data.graph, test.row)), probability(oof), y)


@dataclass(frozen=True, slots=True)
class Way:
    """What a model is made of."""

    wanted: Wanted = lambda name: True
    trees: bool = True
    network: bool = True
    of_network: bool = False
    """Whether it says something only where there is a network."""


ABLATION: dict[str, Way] = {
    "statistics only": Way(lambda name: not of_neighbours(name) and not name.startswith("scorer."), network=False),
    "+ neighbourhood": Way(lambda name: not name.startswith("scorer."), network=False),
    "trees alone": Way(network=False, of_network=True),
    "graph network alone": Way(trees=False, of_network=True),
}


def _mean(folds: list[Figures]) -> Figures:
    return {name: float(np.mean([f[name] for f in folds])) for name in folds[0]}

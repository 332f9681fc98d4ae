"""Recall on simulated markets at 1 % of legitimate users alerted, for each pattern, with and without labels.

python bench/simulated_recall.py [--seeds 101 102 103] [--events 60000] [--days 30] [--split 0.5] [--alerted 0.01] [--json PATH] [--folder F]

Use seeds that nothing was tuned on. A market is cut in time (`--split`). What scores the part after the cut:

- *rule, no labels*: the robust rule, and no label is ever fed to the stream;
- *rule*: the same, with labels as they become known (scorers and features look at them);
- *model*: trained as `ringwatch train` does, of a file that ends at the cut, labels known later are not in it;
- *trees*: the same model as if the rule had no say beside it;
- *served*: what `train --promote` lets serve: the model, or the rule where that ranks the model's held-out part better or labels are too few.

A user's score is the highest of their events in that part. Legitimate are its users with no fraudulent event and in no planted campaign, at any time.
Alerted is who is strictly over the score of the legitimate user that would be one too many, so ties count against us; how many legitimate users
are alerted then is told. Fraudulent are users with a fraudulent event in that part, a pattern's recall is the share of them that is alerted.
*whole time*: the rule without labels, by the same measure on all of the market.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from about import machine
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Shown

from evaluate.campaigns import Truth
from evaluate.holdout import hold_out, predict
from evaluate.user_recall import Recall, recall
from features.schema import FeatureSchema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ingest.source import Source
from ringwatch.model import BUILTIN_KINDS, DAY_US, MICROSECONDS
from ringwatch.progress import CountBar
from ringwatch.settings import Settings
from ringwatch.wiring import open_source, open_stream
from scorers.decision import Decisions
from scorers.learned.model import LearnedModel
from training.dataset import Options, make
from training.fit import learn
from training.labelled import Rows, TooFewLabels, read_rows
from training.reading import read_labelled
from training.replay import Replay
from training.table import Table, TableBuilder

SCHEMA = FeatureSchema(BUILTIN_KINDS)
WAYS = ("rule, no labels", "rule", "trees", "model", "served", "whole time")
_HOLDOUT = 0.2
"""As `ringwatch train`."""
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Market:
    """Rows are events in the order of the source."""

    folder: Path
    rows: Rows
    later: NDArray[np.bool_]
    """(rows,): after the cut."""
    pattern: NDArray[np.str_]
    """(rows,): of fraudulent events; empty else."""
    guilty: set[str]
    """Members of campaigns."""

    def history(self) -> Source:
        """What there was at the cut: the simulator writes labels where they become known."""
        left = int(np.count_nonzero(~self.later))
        with (self.folder / "events.jsonl").open() as whole, (self.folder / "history.jsonl").open("w") as part:
            for line in whole:
                left -= '"type":"label"' not in line
                if left < 0:
                    break
                part.write(line)
        return source_of(self.folder / "history.jsonl")


def source_of(path: Path) -> Source:
    settings = Settings(data_dir=path.parent / "none", batch_events=2000)
    return open_source(settings, [str(path)], None, BUILTIN_KINDS)


@dataclass(slots=True)
class Run:
    seed: int
    recalls: dict[str, Recall] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def market_of(config: SimulationConfig, split: float, folder: Path) -> Market:
    at = folder / f"market-{config.events}-{config.days}-{config.seed}"
    if not (at / "truth_rings.jsonl").exists():
        write_simulation(config, at)
    cut_us = int(config.start.timestamp() * MICROSECONDS) + int(split * config.days * DAY_US)
    rows = read_rows(source_of(at / "events.jsonl"))
    with (at / "truth_events.csv").open(newline="") as file:
        truth = {row["event_id"]: row["pattern"] for row in csv.DictReader(file) if row["fraud"] == "1"}
    pattern = np.array([truth.get(i, "") for i in rows.ids])
    return Market(at, rows, np.array(rows.at_us) >= cut_us, pattern, Truth(at).guilty)


def replay(market: Market, progress: Progress, *, labels: bool) -> tuple[NDArray[np.float64], NDArray[np.str_], Table]:
    """(rows,): the rule's score and the user of each event; rows after the cut as a table."""
    rows = market.rows
    n = len(rows.ids)
    stream = open_stream(Settings(data_dir=market.folder / "none"), SCHEMA)
    builder = TableBuilder(SCHEMA, stream.assessor.names, market.later, frozenset(rows.kinds))
    score, users, done = np.zeros(n), np.zeros(n, object), 0

    def keep(decisions: Decisions, of: NDArray[np.int64]) -> None:
        nonlocal done
        score[of] = decisions.score
        users[of] = [e.user or "" for e in decisions.events]
        builder.keep(decisions, of)
        done += len(of)
        progress(done / n, f"replay {'with' if labels else 'without'} labels, {done:,} events")

    Replay(stream, rows, np.full(n, labels), None, keep).run(source_of(market.folder / "events.jsonl"))
    return score, users.astype(np.str_), builder.table(np.array(rows.label, np.int8))


def train(market: Market, run: Run, progress: Progress) -> LearnedModel | None:
    """As `ringwatch train --promote` at the cut; None where labels are too few."""
    settings = Settings(data_dir=market.folder / "none")
    stream = open_stream(settings, SCHEMA)
    scorers = {s.name: s.version for s in stream.assessor.scorers}
    with tempfile.TemporaryDirectory() as scratch:
        progress(0.0, "data set")
        card = make(market.history(), stream, Path(scratch) / "set", Options())
        assert card is not None
        labelled = read_labelled(Path(scratch) / "set", scorers)
    run.training = {
        "events": card.rows, "labelled": card.labelled, "frauds": card.frauds, "assumed_good": labelled.assumed,
    }  # fmt: skip
    try:
        held = hold_out(labelled, seed=run.seed, share=_HOLDOUT, progress=lambda s, words: progress(0.5 * s, words))
        learned = learn(
            labelled.table,
            seed=run.seed,
            rule=held.rule_stays,
            progress=lambda s, words: progress(0.5 + 0.5 * s, words),
        )
    except TooFewLabels as error:
        run.training["why"] = str(error)
        return None
    run.training |= {
        "trained_on": held.trained_on, "held_out": held.rows, "held_out_frauds": held.frauds, "model": held.metrics,
        "rule": held.rule, "promoted": held.metrics["average_precision"] > held.rule["average_precision"],
    }  # fmt: skip
    return learned.model


def measure(config: SimulationConfig, split: float, share: float, folder: Path, progress: Progress) -> Run:
    run = Run(config.seed)
    progress(0.0, "simulating")
    market = market_of(config, split, folder)

    def part(start: float, stop: float) -> Progress:
        return lambda s, words: progress(start + (stop - start) * s, words)

    without, _, _ = replay(market, part(0.05, 0.2), labels=False)
    told, user, table = replay(market, part(0.2, 0.35), labels=True)
    model = train(market, run, part(0.35, 1.0))
    found = {"rule, no labels": without, "rule": told}
    if model is not None:
        found["model"] = told.copy()
        found["model"][table.row] = predict(model, table)
        views = (replace(view, rule=False) for view in (model.told, model.untold))
        found["trees"] = told.copy()
        found["trees"][table.row] = predict(replace(model, **dict(zip(("told", "untold"), views, strict=True))), table)
        run.training["rule_stays"] = model.told.rule
    found["served"] = found["model"] if run.training.get("promoted") else told
    guilty, later = market.guilty | set(user[market.pattern != ""].tolist()), market.later
    for name, score in found.items():
        run.recalls[name] = recall(user[later], score[later], market.pattern[later], guilty, share)
    run.recalls["whole time"] = recall(user, without, market.pattern, guilty, share)
    return run


def show(console: Console, runs: list[Run]) -> None:
    of = {name: [run.recalls[name] for run in runs if name in run.recalls] for name in WAYS}
    of = {name: recalls for name, recalls in of.items() if recalls}
    patterns = sorted({p for recalls in of.values() for r in recalls for p in r.users})
    table = Shown("fraudulent users alerted", *of)
    for what, some in [*((p, [p]) for p in patterns), ("all", patterns)]:
        cells = []
        for recalls in of.values():
            found, n = (sum(getattr(r, name).get(p, 0) for r in recalls for p in some) for name in ("found", "users"))
            cells.append(f"{found / n:.2f} ({found}/{n})" if n else "-")
        table.add_row(what, *cells, end_section=what in (patterns[-1], "all"))
    alerted = [(sum(r.alerted for r in recalls), sum(r.legitimate for r in recalls)) for recalls in of.values()]
    table.add_row("legitimate users alerted", *(f"{a / n:.2%} ({a}/{n})" for a, n in alerted))
    table.add_row("over", *(" ".join(f"{r.threshold:.3f}" for r in recalls) for recalls in of.values()))
    console.print(table)
    for run in runs:
        console.print(f"seed {run.seed}: {in_words(run.training)}")


def in_words(t: dict[str, Any]) -> str:
    words = f"{t['labelled']} of {t['events']:,} events labelled at the cut ({t['frauds']} fraud), {t['assumed_good']:,} taken for good; "
    if why := t.get("why"):
        return f"{words}no model: {why}"
    model, rule = (t[name]["average_precision"] for name in ("model", "rule"))
    model_serves = "the model, the rule beside it," if t["rule_stays"] else "the model"
    return (
        f"{words}held out {t['held_out']:,} ({t['held_out_frauds']} fraud): average precision {model:.3f}, of the rule {rule:.3f}: "
        f"{model_serves if t['promoted'] else 'the rule'} serves"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--split", type=float, default=0.5, help="share of the time before the cut")
    parser.add_argument("--alerted", type=float, default=0.01, help="share of the legitimate users that may be")
    parser.add_argument("--folder", type=Path, help="keep the markets here")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about, runs = machine(), list[Run]()
    with tempfile.TemporaryDirectory(prefix="ringwatch-bench-") as scratch:
        for seed in given.seeds:
            config = SimulationConfig(events=given.events, seed=seed, days=given.days)
            with CountBar(Console(stderr=True), f"seed {seed}", quiet=False) as bar:
                runs.append(measure(config, given.split, given.alerted, given.folder or Path(scratch), bar.update))
    show(Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 150), runs)
    if given.json:
        options = {"events": given.events, "days": given.days, "split": given.split, "alerted": given.alerted}
        content = {"machine": about, **options, "runs": [asdict(run) for run in runs]}
        given.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

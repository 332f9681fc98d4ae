"""Data sets and training: events a second, by what takes the time, and the memory it takes.

python bench/datasets.py [--events 200000] [--days 60] [--seed 5] [--all-labelled] [--json PATH]

The simulator labels few events; with --all-labelled each has a label, known a week later: the limit case of memory.
Seconds are those of the clock and, since other work may run beside it, those of the processor.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from about import machine
from numpy.typing import NDArray
from rich.console import Console

from features.schema import FeatureSchema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ringwatch.commands.train import Given, run_training
from ringwatch.model import BUILTIN_KINDS
from ringwatch.settings import Settings
from ringwatch.wiring import open_source, open_stream
from scorers.decision import Decisions
from training.card import Card, describe
from training.dataset import Options, make
from training.labelled import UNLABELLED, Rows, read_rows
from training.replay import Replay

STAGES = {"state": "features (columns and kernel)", "rings": "rings"}
Result = dict[str, Any]


class Clock:
    """What steps took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.steps: list[Result] = []

    def take(self, what: str, events: int, work: Callable[[], Any]) -> Any:
        began, cpu = perf_counter(), process_time()
        found = work()
        seconds, cpu_s = perf_counter() - began, process_time() - cpu
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        step = {"what": what, "seconds": seconds, "cpu_s": cpu_s, "events_per_s": events / seconds,
                "events_per_cpu_s": events / cpu_s, "peak_mb": peak_mb}  # fmt: skip
        self.steps.append(step)
        self._console.print(", ".join(f"{k} {v:,.1f}" if isinstance(v, float) else str(v) for k, v in step.items()))
        return found


def label_all(market: Path) -> Path:
    """The market's events, each followed by its label, known a week later."""
    with (market / "truth_events.csv").open(newline="") as file:
        fraud = {row["event_id"] for row in csv.DictReader(file) if row["fraud"] in ("1", "true", "True")}
    to = market / "all.jsonl"
    with (market / "events.jsonl").open() as lines, to.open("w") as out:
        for line in lines:
            event = json.loads(line)
            if event["type"] == "label":
                continue
            known = datetime.fromisoformat(event["at"]).astimezone(UTC) + timedelta(days=7)
            said = "fraud" if event["event_id"] in fraud else "good"
            label = {
                "type": "label",
                "label_of": {"event": event["event_id"]},
                "label": said,
                "known_at": known.isoformat(),
            }
            out.write(line + json.dumps(label) + "\n")
    return to


def stages(rows: Rows, settings: Settings, source: Any) -> dict[str, float]:
    """Microseconds an event of the replay, by stage, nothing written."""
    spent: dict[str, float] = {}

    def keep(decisions: Decisions, of: NDArray[np.int64]) -> None:
        for stage, us in decisions.timing_us.items():
            name = STAGES.get(stage, "scorers, decisions")
            spent[name] = spent.get(name, 0.0) + us * len(of) / len(rows.ids)

    stream = open_stream(settings, FeatureSchema(BUILTIN_KINDS))
    feeding = np.array(rows.label) != UNLABELLED
    began = perf_counter()
    Replay(stream, rows, feeding, None, keep).run(source)
    whole = (perf_counter() - began) * 1e6 / len(rows.ids)
    return {**spent, "reading and decoding, the rest": whole - sum(spent.values()), "replay as a whole": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--all-labelled", action="store_true")
    parser.add_argument("--no-stages", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="ringwatch-bench-") as at:
        folder = Path(at)
        market = folder / "market"
        summary = write_simulation(SimulationConfig(events=args.events, seed=args.seed, days=args.days), market)
        path = label_all(market) if args.all_labelled else market / "events.jsonl"
        settings = Settings(data_dir=folder / "data", batch_events=2000)
        source = open_source(settings, [str(path)], None, BUILTIN_KINDS)
        clock, n = Clock(console), summary.events
        by_stage = {}
        if not args.no_stages:
            rows = clock.take("first pass: who is who", n, lambda: read_rows(source))
            by_stage = clock.take("replay, nothing written", n, lambda: stages(rows, settings, source))
            del rows
            console.print({name: round(us, 1) for name, us in by_stage.items()})

        def whole() -> Card | None:
            return make(source, open_stream(settings, FeatureSchema(BUILTIN_KINDS)), folder / "set", Options())

        made = clock.take("data set, whole", n, whole)
        assert isinstance(made, Card)
        clock.take(
            "its card, of that",
            n,
            lambda: describe(folder / "set", made.job, 0, made.graph_kinds, lambda share, words: None),
        )
        size = sum((folder / "set" / part).stat().st_size for part in made.parts)
        version, held, _, _ = clock.take(
            "held out, trained, registered",
            n,
            lambda: run_training(settings, folder / "set", Given(name="bench", gnn=False), quiet=True),
        )
    result = {
        "command": "bench/datasets.py " + " ".join(f"--{k.replace('_', '-')}" + ("" if v is True else f" {v}") for k, v in
                                                   vars(args).items() if v not in (None, False)),
        "machine": about, "events": n, "labelled": made.labelled, "columns": len(made.columns), "set_mb": size / 1e6,
        "steps": clock.steps, "us_an_event": by_stage, "held_out": {"rows": held.rows, **version.metrics},
    }  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    console.print(f"{n:,} events, {made.labelled:,} labelled, {size / 1e6:,.0f} MB; {version.metrics}")


if __name__ == "__main__":
    main()

"""What a learned model adds to an event: time of scoring with and without one, at batch 1 and 100, and of the rows that are explained.

python bench/learned_serving.py [--events 20000] [--leaves 31] [--json PATH]

Boosted trees (400) and a forest (150 trees of 255 leaves) are trained on the first half of a simulated marketplace; the second half is scored,
each batch by a stream by the rule, by one with the model and by one with a challenger in turn, so that all see the same machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np
from about import machine
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Shown

from features.columns import Applied, ResolvedLabel
from features.schema import FeatureSchema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ingest.stream import ScoringStream
from ringwatch.model import BUILTIN_KINDS, Event, Label
from ringwatch.settings import Settings
from ringwatch.wiring import open_shelf, open_source, open_stream
from scorers.learned.model import LearnedModel, View
from scorers.learned.model_file import save
from scorers.learned.shelf import Serving
from training.blending import Blend, joined
from training.boosting import Settings as Trees
from training.boosting import fit, flat
from training.fit import useful
from training.table import Table, TableBuilder

SCHEMA = FeatureSchema()
_INPUTS = 200


def items_of(folder: Path, events: int) -> tuple[list[tuple[int, Applied]], set[str]]:
    """A simulated marketplace with its labels in the order they became known, and the events that are fraud in truth."""
    write_simulation(SimulationConfig(events=events, seed=7, days=30), folder / "market")
    source = open_source(
        Settings(data_dir=folder / "none"), [str(folder / "market" / "events.jsonl")], None, BUILTIN_KINDS
    )
    found: list[Applied] = []
    entities: dict[str, dict[str, str]] = {}
    for chunk in source.read():
        for item in chunk.items:
            if isinstance(item, Event):
                entities[item.event_id] = item.entities
                found.append(item)
            elif isinstance(item, Label) and item.target_kind == "event":
                found.append(ResolvedLabel(item, entities[item.target_id]))
    with (folder / "market" / "truth_events.csv").open() as truth:
        frauds = {row["event_id"] for row in csv.DictReader(truth) if row["fraud"] == "1"}
    return list(enumerate(found)), frauds


def model_of(table: Table, leaves: int) -> LearnedModel:
    """Larger than what training makes of most data; how good it is does not matter here."""
    inputs = useful(table, lambda name: True)
    x = inputs.values(table.features, table.scores.astype(np.float64))
    quick = fit(x, table.label, Trees("boosted", 60, 31, 5, rate=0.1), 0).feature_importance("gain")
    kept = np.sort(np.argsort(-quick, kind="stable")[:_INPUTS])
    families = (Trees("boosted", 400, leaves, 5), Trees("forest", 150, 255, 2, rows=0.6, penalty=0.0))
    trees = [flat(fit(x[:, kept], table.label, s, 0), range(len(kept))) for s in families]
    view = View(inputs.select(kept).names, joined(trees, Blend(np.array([0.6, 0.4]), 0.0)))
    return LearnedModel(view, view, np.inf)


def table_of(stream: ScoringStream, items: list[tuple[int, Applied]], frauds: set[str]) -> Table:
    made = stream.feed(items)
    kinds = frozenset(kind for e in made.events for kind in e.entities)
    builder = TableBuilder(SCHEMA, stream.assessor.names, np.ones(len(made), np.bool_), kinds)
    builder.keep(made, np.arange(len(made)))
    return builder.table(np.array([e.event_id in frauds for e in made.events], np.int8))


def figures(us: NDArray[np.float64]) -> dict[str, float]:
    if not len(us):
        return {"n": 0}
    quantiles = np.quantile(us, [0.5, 0.99]).tolist()
    return {
        "n": len(us),
        "mean_us": float(us.mean()),
        "p50_us": quantiles[0],
        "p99_us": quantiles[1],
        "max_us": float(us.max()),
    }


def measure(streams: dict[str, ScoringStream], items: list[tuple[int, Applied]], size: int) -> dict[str, Any]:
    """Microseconds a batch: each by every stream in turn. `cpu` is the processor's time of the scoring thread, which a busy machine does not
    stretch as it does the clock's; what is added is against the first stream, batch by batch."""
    took: dict[str, list[float]] = {name: [] for name in streams}
    cpu: dict[str, list[float]] = {name: [] for name in streams}
    stages: dict[str, list[tuple[float, float, int]]] = {name: [] for name in streams}
    for start in range(0, len(items), size):
        part = items[start : start + size]
        for name, stream in streams.items():
            began, busy = perf_counter(), thread_time()
            made = stream.feed(part)
            cpu[name].append((thread_time() - busy) * 1e6)
            took[name].append((perf_counter() - began) * 1e6)
            n, explained = len(made), int((made.level > 0).sum())
            stages[name].append(
                (made.timing_us.get("learned", 0.0) * n, made.timing_us.get("reasons", 0.0) * n, explained)
            )
    found: dict[str, Any] = {"batch": size}
    first = next(iter(streams))
    for name in streams:
        us, stage = np.array(took[name]), np.array(stages[name])
        added = np.array(cpu[name]) - np.array(cpu[first])
        quiet = stage[:, 2] == 0
        found[name] = {
            "whole": figures(us), "cpu": figures(np.array(cpu[name])),
            "cpu_added": figures(added), "cpu_added_none_explained": figures(added[quiet]),
            "learned": figures(stage[:, 0]),
            "reasons_a_row": figures(stage[~quiet, 1] / stage[~quiet, 2]), "explained": int(stage[:, 2].sum()),
        }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--leaves", type=int, default=31)
    parser.add_argument(
        "--scored", type=int, default=5_000, help="events of the second half that are timed, at each batch size"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about, report, opened_s = machine(), list[dict[str, Any]](), 0.0
    with tempfile.TemporaryDirectory(prefix="ringwatch-bench-") as name:
        folder = Path(name)
        items, frauds = items_of(folder, given.events)
        half = len(items) // 2
        settings = Settings(data_dir=folder / "data")
        model = model_of(table_of(open_stream(settings, SCHEMA), items[:half], frauds), given.leaves)
        save(model, folder / "trained", schema=SCHEMA.hash, card={})
        one, two = (open_shelf(settings).put(version, folder / "trained") for version in ("one", "two"))
        for size in (1, 100):
            streams = {"rule": open_stream(settings, SCHEMA)}
            for words, serving in (("champion", Serving(one)), ("with challenger", Serving(one, two))):
                mine = settings.model_copy(update={"models_dir": folder / words})
                shelf = open_shelf(mine)
                shelf.put("one", folder / "trained")
                shelf.put("two", folder / "trained")
                shelf.serve(serving)
                began = perf_counter()
                streams[words] = open_stream(mine, SCHEMA, serves=True)
                opened_s = perf_counter() - began
            for stream in streams.values():
                stream.feed(items[:half])
            report.append(measure(streams, items[half : half + given.scored], size))
    trees = model.told.trees
    about |= {
        "trees": len(trees.roots),
        "nodes": len(trees.feature),
        "inputs": len(model.told.names),
        "opened_s": opened_s,
    }
    show(report)
    if given.json:
        given.json.write_text(json.dumps({"machine": about, "figures": report}, indent=1) + "\n")


def show(report: list[dict[str, Any]]) -> None:
    table = Shown("batch", "scored by", "what", "n", "mean us", "p50", "p99", "max")
    for one in report:
        for name, parts in one.items():
            if name == "batch":
                continue
            for what, of in parts.items():
                if isinstance(of, dict) and of["n"]:
                    table.add_row(
                        str(one["batch"]),
                        name,
                        what,
                        f"{of['n']:,}",
                        *(f"{of[k]:,.0f}" for k in ("mean_us", "p50_us", "p99_us", "max_us")),
                    )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

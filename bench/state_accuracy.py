"""How far the state's windows and distinct counts are from exact ones: every feature over a simulated marketplace.

.venv/bin/python -m bench.state_accuracy [--events 60000] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.currency import RateTable
from ingest.events import EventDecoder, EventRules
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ringwatch.model import Event
from tests.support.exact import Exact

_BATCH = 2000


def market(events: int, seed: int) -> Iterator[Event]:
    decoder = EventDecoder(EventRules(), RateTable("EUR", {}))
    with tempfile.TemporaryDirectory() as folder:
        write_simulation(SimulationConfig(events=events, seed=seed), Path(folder))
        with (Path(folder) / "events.jsonl").open("rb") as lines:
            for line in lines:
                item = decoder.decode(line)
                if isinstance(item, Event):
                    yield item


def differences(events: Iterator[Event]) -> dict[str, np.ndarray]:
    """Feature without its kind -> rows of (exact value, value of the state)."""
    schema = FeatureSchema()
    state, exact = MemoryState(schema), Exact(schema.kinds)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    batch: list[Event] = []

    def compare() -> None:
        for event, row in zip(batch, state.apply(batch), strict=True):
            for name, value in exact.feed(event).items():
                side = "user" if name.startswith("user.") else "others"
                found[f"{name.split('.', 1)[1]} ({side})"].append((value, float(row[schema.index[name]])))
        batch.clear()

    for event in events:
        batch.append(event)
        if len(batch) == _BATCH:
            compare()
    compare()
    return {name: np.array(pairs) for name, pairs in found.items()}


def summary(pairs: np.ndarray) -> dict[str, float]:
    """Of one feature, where the exact value is above 0: rows, share within 0.5 %, and the relative error's median where it
    is not exact, 99th percentile and worst."""
    exact, got = pairs[pairs[:, 0] > 0].T
    error = np.abs(got - exact) / exact
    off = error[error > 0.005]
    return {
        "rows": len(exact),
        "exact_share": round(float(np.mean(error <= 0.005)), 4),
        "median_where_off": round(float(np.median(off)), 3) if len(off) else 0.0,
        "p99": round(float(np.percentile(error, 99)), 3),
        "worst": round(float(error.max()), 3),
        "below": round(float(np.mean(got < exact * 0.995)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = {name: summary(p) for name, p in sorted(differences(market(given.events, given.seed)).items())}
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table("feature", "rows", "exact", "off by (median)", "p99", "too low")
    for name, row in rows.items():
        table.add_row(name, f"{row['rows']:,}", f"{row['exact_share']:.2%}", f"{row['median_where_off']:.1%}",
                      f"{row['p99']:.1%}", f"{row['below']:.2%}")  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

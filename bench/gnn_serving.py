"""What a graph network adds to an event at serving: time per event at batch 1 and 100, of random weights over a made-up stream.

python bench/gnn_serving.py [--events 20000] [--kinds 3] [--dense 0] [--aggregation sage gatv2 hgt] [--later 1] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import Any

import numpy as np
from about import machine
from rich.console import Console
from rich.table import Table

from gnn.checkpoint import flat, shapes_of, weights_from
from gnn.history import Batch, History, Labels, tokens
from gnn.live import Live
from gnn.network import Gnn
from gnn.replay import chunks
from gnn.schema import AGGREGATIONS, GraphSchema, Shape, mark_interval_us
from ringwatch.model import DAY_US

_EVERY_US = 1_000_000
_SHOWN = ("us_per_event", "p50_us", "p99_us", "max_us", "thread_p50_us", "thread_p99_us", "thread_max_us")


def stream(events: int, kinds: int) -> History:
    """One event a second; a third of the entities of each kind are new, one kind is crowded; one label in ten events, a day late."""
    rng = np.random.default_rng(0)
    ranges = [max(events // 3 // (1 + 20 * k), 10) for k in range(kinds)]
    columns = [rng.integers(0, many, events) + sum(ranges[:k]) for k, many in enumerate(ranges)]
    at_us = np.arange(events) * _EVERY_US
    amount = rng.normal(8.0, 1.0, events).astype(np.float32)
    batch = Batch(
        at_us,
        np.full(events, 6, np.int16),
        amount,
        np.full(events, -1, np.int8),
        np.stack(columns, 1).astype(np.int32),
        tokens(events),
    )
    row = np.arange(0, events, 10)
    labels = Labels.ordered(row, (rng.random(len(row)) < 0.05).astype(np.int8), at_us[row] + DAY_US // 24)
    names = tuple(f"kind{k}" for k in range(kinds))
    return History(batch, labels, names, tuple(k == kinds - 1 for k in range(kinds)))


def random_network(history: History, dense: int, aggregation: str, later: int) -> Gnn:
    schema = GraphSchema(history.kinds, history.crowded, mark_interval_us(history.events.at_us), later=later)
    shape = Shape.of(schema, dense, aggregation)
    rng = np.random.default_rng(1)
    sizes = flat(shapes_of(shape)).items()
    arrays = {name: rng.normal(scale=0.2, size=tuple(size)).astype(np.float32) for name, size in sizes}
    return Gnn(schema, shape, weights_from(arrays, shape, "made up"), tuple(f"f{j}" for j in range(dense)))


def measure(gnn: Gnn, history: History, size: int) -> dict[str, Any]:
    """Microseconds per event, over the second half of the stream. Between batches the embeddings under way are waited for, outside of
    the time taken, as they have the time between two marks when events come as they happen; what the slowest batches hold is what a
    mark's embeddings are made of, and with `later` 0 the embeddings themselves."""
    warm = Live(gnn)
    for batch, labels in list(chunks(history, 64))[:8]:
        warm.apply(batch, labels, np.zeros((len(batch), gnn.shape.dense), np.float32))
    live, took, own, half = Live(gnn), [], [], len(history.events) // 2
    for i, (batch, labels) in enumerate(chunks(history, size)):
        features = np.zeros((len(batch), gnn.shape.dense), np.float32)
        live.settle()
        began, busy = perf_counter_ns(), thread_time_ns()
        live.apply(batch, labels, features)
        if i * size >= half:
            took.append((perf_counter_ns() - began) / 1e3)
            own.append((thread_time_ns() - busy) / 1e3)
    live.close()
    warm.close()
    us, cpu = np.array(took), np.array(own)
    return {
        "batch": size, "us_per_event": us.mean() / size, "thread_us_per_event": cpu.mean() / size,
        "p50_us": float(np.median(us)), "p99_us": float(np.quantile(us, 0.99)), "max_us": us.max(),
        "thread_p50_us": float(np.median(cpu)), "thread_p99_us": float(np.quantile(cpu, 0.99)), "thread_max_us": cpu.max(),
        "embeddings": live.book.versions,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--kinds", type=int, default=3)
    parser.add_argument("--dense", type=int, default=0)
    parser.add_argument("--aggregation", nargs="+", default=list(AGGREGATIONS), choices=AGGREGATIONS)
    parser.add_argument("--later", type=int, default=1, choices=(0, 1), help="marks until an embedding counts")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about, history = machine(), stream(given.events, given.kinds)
    table = Table(
        "aggregation", "batch", "us an event", "p50 us a batch", "p99", "max", "of its thread: p50", "p99", "max"
    )
    figures = []
    for aggregation in given.aggregation:
        gnn = random_network(history, given.dense, aggregation, given.later)
        for size in (1, 100):
            one = {"aggregation": aggregation} | measure(gnn, history, size)
            figures.append(one)
            times = [f"{one[name]:,.0f}" for name in _SHOWN]
            table.add_row(aggregation, str(size), *times)
    Console().print(table)
    if given.json:
        given.json.write_text(json.dumps({"machine": about, "kinds": given.kinds, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()

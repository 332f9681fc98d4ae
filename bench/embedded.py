"""Throughput, latency and bytes of the embedded pipeline: one process, in-process state, LadybugDB, SQLite.

    python bench/embedded.py [FILE --map MAPPING] [--events 60000] [--rounds 3] [--rate 200] [--json PATH]

Without a file the events are simulated. Throughput rows are the median of the rounds, with the slowest and fastest.
Latency is open loop: events arrive at random (Poisson) times at a given rate, whether or not the last one is done, and
an event's time runs from when it should have arrived, so that waiting counts.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from about import machine
from rich.console import Console
from rich.table import Table

from features.schema import FeatureSchema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ingest.source import Chunk
from ingest.stream import ScoringStream
from ringwatch.model import BUILTIN_KINDS, Event
from ringwatch.settings import Settings
from ringwatch.wiring import Service, open_service, open_source, open_stream

PERCENTILES = (50, 90, 99, 99.9, 100)


@dataclass(frozen=True, slots=True)
class Rate:
    """Events a second over the rounds."""

    what: str
    median: float
    slowest: float
    fastest: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from when an event should have arrived to when its decision is there."""

    what: str
    rate: float
    events: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Bench:
    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        from ringwatch.commands.options import mapping_from

        self.args, self.folder = args, folder
        self.mapping = mapping_from(args.map)
        self.kinds = self.mapping.kinds if self.mapping else BUILTIN_KINDS
        self.settings = Settings(data_dir=folder / "none", snapshot_interval_s=3600.0)
        self.paths = [str(args.file)] if args.file else [str(self._simulated())]

    def _simulated(self) -> Path:
        write_simulation(SimulationConfig(events=self.args.events, seed=7, days=30), self.folder / "market")
        return self.folder / "market" / "events.jsonl"

    def chunks(self) -> Iterator[Chunk]:
        """The first events of the source, whole chunks."""
        events = 0
        for chunk in open_source(self.settings, self.paths, self.mapping, self.kinds).read():
            yield chunk
            events += sum(isinstance(item, Event) for item in chunk.items)
            if events >= self.args.events:
                return

    def new_stream(self) -> ScoringStream:
        schema = FeatureSchema(self.kinds)
        return open_stream(self.settings, schema)

    @contextmanager
    def service(self, **more: Any) -> Iterator[Service]:
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        service = open_service(Settings(data_dir=data, snapshot_interval_s=3600.0, **more), self.mapping)
        try:
            yield service
        finally:
            service.close()

    def rate(self, what: str, work: Callable[[], tuple[int, float]]) -> Rate:
        """`work` gives events done and seconds taken."""
        rates = [n / seconds for n, seconds in (work() for _ in range(self.args.rounds))]
        return Rate(what, statistics.median(rates), min(rates), max(rates))


def decode(b: Bench) -> tuple[int, float]:
    started = time.perf_counter()
    events = sum(isinstance(item, Event) for chunk in b.chunks() for item in chunk.items)
    return events, time.perf_counter() - started


def score(b: Bench, batches: list[list[tuple[int, Any]]]) -> tuple[int, float, dict[str, float]]:
    """State and scorers alone, from events in memory."""
    stream = b.new_stream()
    stages: dict[str, float] = {}
    events, started = 0, time.perf_counter()
    for batch in batches:
        decisions = stream.feed(batch)
        events += len(decisions)
        for stage, us in decisions.timing_us.items():
            stages[stage] = stages.get(stage, 0.0) + us * len(decisions)
    seconds = time.perf_counter() - started
    stream.state.close()
    return events, seconds, {stage: total / events for stage, total in stages.items()}


def pipeline(b: Bench, chunks: list[Chunk] | None = None) -> tuple[int, float, dict[str, Any]]:
    """Everything: read, score, alert, ledger and links written and flushed; with `chunks`, the reading aside."""
    with b.service() as service:
        started = time.perf_counter()
        for chunk in b.chunks() if chunks is None else chunks:
            service.pipeline.take(chunk, "bench", "bench")
        service.pipeline.checkpoint()
        seconds = time.perf_counter() - started
        tally, graph = service.pipeline.tally, service.graph
        assert graph is not None
        ledger, state, links = (
            service.pipeline.outlets.ledger.counts(),
            service.pipeline.stream.state.stats(),
            graph.counts(),
        )
        path = service.folder.graph
    return tally.events, seconds, {
        "stage_us": {stage: s * 1e6 / tally.events for stage, s in tally.stage_s.items()},
        "ledger_bytes_an_event": ledger["bytes"] / ledger["assessments"],
        "graph_bytes_a_link": path.stat().st_size / max(1, links["links"]),
        "state_bytes_an_entity": state["bytes"] / state["entities"],
        "entities": state["entities"], "graph_entities": links["entities"], "links": links["links"],
        "alerts": ledger["alerts"],
    }  # fmt: skip


def open_loop(what: str, events: list[Event], rate: float, decide: Callable[[list[Event]], object]) -> Latency:
    """Whatever has arrived is decided together, as `ringwatch score` does."""
    rng, due = random.Random(1), [time.perf_counter() + 0.1]
    for _ in events[1:]:
        due.append(due[-1] + rng.expovariate(rate))
    took: list[float] = []
    while len(took) < len(events):
        start = len(took)
        wait = due[start] - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        now = time.perf_counter()
        stop = start + 1
        while stop < len(events) and due[stop] <= now:
            stop += 1
        decide(events[start:stop])
        now = time.perf_counter()
        took += [(now - at) * 1e3 for at in due[start:stop]]
    return Latency(what, rate, len(events), *(float(np.percentile(took, p)) for p in PERCENTILES))


def latencies(b: Bench, chunks: list[Chunk]) -> list[Latency]:
    """Events one by one after a warm half of the stream: looked at, decided in process, decided and written."""
    half = len(chunks) // 2
    wanted = int(b.args.rate * b.args.seconds)
    late = [item for chunk in chunks[half:] for item in chunk.items if isinstance(item, Event)][:wanted]
    stream, number = b.new_stream(), iter(range(10**12))

    def decide(events: list[Event]) -> None:
        stream.feed([(next(number), event) for event in events])

    for chunk in chunks[:half]:
        decide([item for item in chunk.items if isinstance(item, Event)])
    found = [
        open_loop("looked at, nothing changed", late, b.args.rate, stream.look),
        open_loop("decided in process", late, b.args.rate, decide),
    ]
    with b.service() as service:
        for chunk in chunks[:half]:
            service.pipeline.process(chunk, "bench", "bench")

        def take(events: list[Event]) -> None:
            service.pipeline.process(Chunk(events, [next(number) for _ in events], None), "bench", "bench")

        found.append(open_loop("decided, ledger and links written", late, b.args.rate, take))
    return found


def measure(b: Bench) -> dict[str, Any]:
    head = machine()
    chunks = list(b.chunks())
    events = [item for chunk in chunks for item in chunk.items if isinstance(item, Event)]
    batches = [list(enumerate(events[i : i + 2000], i)) for i in range(0, len(events), 2000)]
    score(b, batches[:2])
    scored: list[dict[str, float]] = []
    ran: list[dict[str, Any]] = []

    def scoring() -> tuple[int, float]:
        n, seconds, stages = score(b, batches)
        scored.append(stages)
        return n, seconds

    def running() -> tuple[int, float]:
        n, seconds, facts = pipeline(b)
        ran.append(facts)
        return n, seconds

    rates = [
        b.rate("read and decode", lambda: decode(b)),
        b.rate("state and scorers", scoring),
        b.rate("pipeline, events in memory", lambda: pipeline(b, chunks)[:2]),
        b.rate("pipeline, from file", running),
    ]
    facts = ran[-1]
    return {
        "command": "bench/embedded.py " + " ".join(a for a in sys.argv[1:] if not a.startswith("/")),
        "machine": head,
        "events": len(events),
        "rates": [asdict(r) for r in rates],
        "latency_ms": [asdict(x) for x in latencies(b, chunks)],
        "stage_us": {"scoring alone": scored[-1], "pipeline": facts.pop("stage_us")},
        "sizes": facts,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def show(report: dict[str, Any]) -> None:
    console = Console()
    m = report["machine"]
    console.print(f"{report['events']:,} events; {m['cores']} cores, Python {m['python']}, load before {m['load_before']:.1f}; "
                  f"peak memory {report['peak_rss_mb']:,.0f} MB")  # fmt: skip
    rates = Table("events a second", *(h for h in ("median", "slowest", "fastest")), title_justify="left")
    for r in report["rates"]:
        rates.add_row(r["what"], *(f"{r[k]:,.0f}" for k in ("median", "slowest", "fastest")))
    latency = Table("one event, ms", "arrivals/s", "p50", "p90", "p99", "p99.9", "max")
    for x in report["latency_ms"]:
        latency.add_row(x["what"], f"{x['rate']:.0f}", *(f"{x[k]:.2f}" for k in ("p50", "p90", "p99", "p999", "max")))
    stages = Table("stage", "scoring alone, us an event", "pipeline, us an event")
    alone, whole = report["stage_us"]["scoring alone"], report["stage_us"]["pipeline"]
    for stage in [*alone, *(s for s in whole if s not in alone)]:
        stages.add_row(stage, *("" if stage not in part else f"{part[stage]:.1f}" for part in (alone, whole)))
    sizes = Table("size", "")
    for name, value in report["sizes"].items():
        sizes.add_row(name.replace("_", " "), f"{value:,.0f}")
    for table in (rates, latency, stages, sizes):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="event file (default: simulated events)")
    parser.add_argument("--map", type=Path, help="mapping of the file")
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0, help="arrivals a second of the latency rows")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each latency row")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringwatch-bench-") as folder:
        report = measure(Bench(args, Path(folder)))
    show(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Cost of a link update in a Neo4j of its own that holds so many links: filled by import, measured through the writer.

At each size: the history up to shortly before is imported into a stopped server, then the server starts, the store
makes its schema, and the writer goes on with the history, first to warm the server up, then measured. So the measured
updates meet old links and entities all over the graph, and make new ones, in the shares that the history has. Counts
before and after, and the links of some users, are compared with what the history says they must be; a difference ends
the run with an error.

The warm-up is the same at each size: the last part of the history up to the size, written as often as it takes. The
measured stretch is short: what Neo4j does every quarter of an hour (its checkpoint) may fall outside it.
"""

from __future__ import annotations

import itertools
import math
import random
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType

from api_load import cpu_s
from graph_check import Part, check_counts, check_users
from graph_fill import Progress, Say, fill
from graph_stream import History, ref_of

from graph.neo4j_connection import Limits
from graph.neo4j_store import Neo4jGraph
from ringwatch.model import BUILTIN_KINDS
from servers.launcher import Servers
from servers.process import resident_mb
from servers.server import Sizing

LINKS_AN_EVENT = 5
PATIENT = Limits(read_s=1800.0, write_s=1800.0)
"""To make an index of ten million rows, and to count them."""
COLD_READS = 101
COLD_USERS = 8


@dataclass(frozen=True, slots=True)
class Plan:
    sizes: Sequence[int]
    """Distinct links, ascending."""
    batch: int
    """Distinct links a transaction."""
    batches: int
    warm_links: int
    repeat_share: float
    heap_mb: int
    cache_mb: int


@dataclass(frozen=True, slots=True)
class Size:
    links: int
    """In the graph when measuring begins, distinct."""
    entities: int
    updates: int
    """Link updates measured."""
    new_share: float
    """Of the updates: those that made a link."""
    median_us_per_link: float
    """Of the median batch."""
    mean_us_per_link: float
    longest_batch_s: float
    links_per_s: float
    client_cpu_us_per_link: float
    server_cpu_us_per_link: float
    store_mb: float
    """Files of the database after the server stopped, without the transaction log. Neo4j lets a file grow by up to 32 MB at once."""
    server_mb: float
    """Memory of the server after the last batch."""
    cold_8_users_ms: float
    """Median of the batched read of eight users anywhere in the graph."""
    fill_s: float
    schema_s: float
    """For the indexes of what was imported."""
    warm_s: float
    checked_links: int
    """Read back one by one, beside the counts of all."""
    median_ratio: float = 1.0
    """To the smallest size, as the two that follow."""
    mean_ratio: float = 1.0
    server_cpu_ratio: float = 1.0


HEADER = (
    f"{'links':>11} {'median us':>10} {'mean':>8} {'longest s':>10} {'server cpu':>11} {'new':>6} {'store MB':>9} {'cold ms':>8}"
    f" {'ratio':>6} {'cpu ratio':>10}"
)


def table_row(size: Size) -> str:
    return (
        f"{size.links:>11,} {size.median_us_per_link:>10.1f} {size.mean_us_per_link:>8.1f} {size.longest_batch_s:>10.2f}"
        f" {size.server_cpu_us_per_link:>11.1f} {size.new_share:>6.2f} {size.store_mb:>9.0f} {size.cold_8_users_ms:>8.1f}"
        f" {size.median_ratio:>6.2f} {size.server_cpu_ratio:>10.2f}"
    )


def measure_sizes(plan: Plan, folder: Path) -> list[Size]:
    """One row a size; the server is deleted at the end, also on Ctrl-C and SIGTERM."""
    began = time.monotonic()

    def say(line: str, prefix: str = "") -> None:
        print(f"{time.monotonic() - began:6.0f} s  {prefix}{line}", file=sys.stderr, flush=True)

    measured = plan.batches * plan.batch // 3
    history = History.drawn(max(plan.sizes), measured, plan.repeat_share)
    say(f"history of {len(history.links):,} events drawn")
    rows: list[Size] = []
    print(HEADER, flush=True)
    with own_neo4j(folder / "servers", plan, say) as servers:
        for links in plan.sizes:
            row = measure(plan, history, links, servers, folder / "import", partial(say, prefix=f"[{links:,}] "))
            rows.append(row if not rows else compared(row, rows[0]))
            print(table_row(rows[-1]), flush=True)
    return rows


def measure(plan: Plan, history: History, links: int, servers: Servers, folder: Path, say: Say) -> Size:
    part = part_of(plan, history, links)
    server = servers.folder / "neo4j"
    began = time.monotonic()
    fill(history, part.warm, plan.batch // LINKS_AN_EVENT, server, folder, say)
    fill_s = time.monotonic() - began
    say(f"filled with the first {part.warm:,} events in {fill_s:.0f} s; the server starts")
    servers.up(["neo4j"])
    began = time.monotonic()
    with opened(servers, PATIENT) as store:
        store.prepare(BUILTIN_KINDS)
        schema_s = time.monotonic() - began
        say(f"indexes made in {schema_s:.0f} s")
        check_counts(store, history, part.warm)
    with opened(servers) as store:
        positions = itertools.count()
        began = time.monotonic()
        warm_up(store, plan, history, part, positions, say)
        warm_s = time.monotonic() - began
        times = timed(store, plan, history, part.start, positions, servers.pid("neo4j"), say)
        cold_ms = cold_read_ms(store, history, part.start)
        server_mb = resident_mb(servers.pid("neo4j"))
        checked = check_users(store, history, part, times.stop)
    with opened(servers, PATIENT) as store:
        check_counts(store, history, times.stop)
    servers.down(["neo4j"])
    updates = sum(times.links)
    return Size(
        links=int(history.links[part.start - 1]),
        entities=int(history.entities[part.start - 1]),
        updates=updates,
        new_share=int(history.links[times.stop - 1] - history.links[part.start - 1]) / updates,
        median_us_per_link=statistics.median(s / n for s, n in zip(times.took_s, times.links, strict=True)) * 1e6,
        mean_us_per_link=sum(times.took_s) / updates * 1e6,
        longest_batch_s=max(times.took_s),
        links_per_s=updates / sum(times.took_s),
        client_cpu_us_per_link=times.client_cpu_s / updates * 1e6,
        server_cpu_us_per_link=times.server_cpu_s / updates * 1e6,
        store_mb=disk_mb(server / "data" / "databases" / "neo4j"),
        server_mb=server_mb,
        cold_8_users_ms=cold_ms,
        fill_s=fill_s,
        schema_s=schema_s,
        warm_s=warm_s,
        checked_links=checked,
    )


def part_of(plan: Plan, history: History, links: int) -> Part:
    start = history.events_of(links)
    warm = history.events_of(min(plan.sizes)) // 2
    passes = math.ceil(plan.warm_links / (warm * LINKS_AN_EVENT))
    return Part(start - warm if passes else start, start, passes)


def warm_up(store: Neo4jGraph, plan: Plan, history: History, part: Part, positions: Iterator[int], say: Say) -> None:
    progress = Progress(say, "link updates to warm up", (part.start - part.warm) * part.passes * LINKS_AN_EVENT)
    done = 0
    for _ in range(part.passes):
        for pending, _ in history.batches(part.warm, part.start, plan.batch):
            store.apply(pending.batch(next(positions)))
            done += len(pending.links)
            progress.at(done)


@dataclass(slots=True)
class Timed:
    """Of the measured batches."""

    took_s: list[float] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    stop: int = 0
    """The event after the last."""


def timed(
    store: Neo4jGraph, plan: Plan, history: History, start: int, positions: Iterator[int], server: int, say: Say
) -> Timed:
    """`server`: its process. Batches are made before they are timed."""
    found = Timed()
    progress = Progress(say, "batches measured", plan.batches)
    made = itertools.islice(history.batches(start, len(history.links), plan.batch), plan.batches)
    for pending, stop in made:
        batch = pending.batch(next(positions))
        began, client_s, server_s = time.perf_counter(), time.process_time(), cpu_s(server)
        store.apply(batch)
        found.took_s.append(time.perf_counter() - began)
        found.client_cpu_s += time.process_time() - client_s
        found.server_cpu_s += cpu_s(server) - server_s
        found.links.append(len(batch.links))
        found.stop = stop
        progress.at(len(found.links))
    return found


def cold_read_ms(store: Neo4jGraph, history: History, stop: int) -> float:
    rng = random.Random(3)
    users = int(history.columns["user"][:stop].max()) + 1
    took = []
    for _ in range(COLD_READS):
        refs = [ref_of("user", rng.randrange(users)) for _ in range(COLD_USERS)]
        began = time.perf_counter()
        store.cold(refs, deadline_s=10.0)
        took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took)


def compared(row: Size, smallest: Size) -> Size:
    return replace(
        row,
        median_ratio=row.median_us_per_link / smallest.median_us_per_link,
        mean_ratio=row.mean_us_per_link / smallest.mean_us_per_link,
        server_cpu_ratio=row.server_cpu_us_per_link / smallest.server_cpu_us_per_link,
    )


def disk_mb(folder: Path) -> float:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 1e6


@contextmanager
def opened(servers: Servers, limits: Limits | None = None) -> Iterator[Neo4jGraph]:
    settings = servers.settings
    auth = settings["RINGWATCH_NEO4J_USERNAME"], Path(settings["RINGWATCH_NEO4J_PASSWORD_FILE"]).read_text().strip()
    with closing(Neo4jGraph(settings["RINGWATCH_GRAPH_URL"], auth=auth, limits=limits)) as store:
        yield store


@contextmanager
def own_neo4j(folder: Path, plan: Plan, say: Say) -> Iterator[Servers]:
    """Made, with its first user, and stopped; deleted at the end."""
    signal.signal(signal.SIGTERM, _end)
    servers = Servers(folder, lambda server, line: say(f"{server}: {line}"))
    try:
        servers.up(["neo4j"], Sizing(neo4j_heap_mb=plan.heap_mb, neo4j_cache_mb=plan.cache_mb))
        servers.down(["neo4j"])
        yield servers
    finally:
        servers.delete()


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)

r"""Cost of a link update as the graph grows, and of a hub's neighbourhood.

    python bench/graph_growth.py [--links 1000000] [--batch 20000] [--repeat-share 0.7] [--json PATH]
    python bench/graph_growth.py --store neo4j://127.0.0.1:7687 --password-file PATH [--server-pid PID] --batch 2000 \
        --warm-links 100000
    python bench/graph_growth.py --store own [--sizes 100000 1000000 10000000] [--batches 40] [--batch 2000] \
        [--warm-links 300000] [--heap-mb 512] [--cache-mb 256] [--json PATH]

A stream of link updates, aggregated in batches as the graph writer does, is applied to a new store: an embedded one, or
an empty Neo4j. One row of the table for each decade: the cost of the updates since the row before, folds and checkpoints
included, the median batch's and the longest batch. `events` are those the updates stand for: five links an event,
several events may be one update. With the server's process id its CPU time a link is given too; it does not depend
on what else runs on the machine.

With `--store own` a Neo4j is started and deleted again, and a row is a size: the graph is filled by import, and only a
sample of link updates is measured, see `bench/graph_sizes.py`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from about import machine, resident_mb
from api_load import cpu_s
from graph_sizes import Plan, measure_sizes
from graph_stream import stream

from graph.ladybug_store import LadybugGraph
from graph.neo4j_store import Neo4jGraph
from graph.store import EntityRef, GraphBatch, GraphStore, LinkUpdate
from ringwatch.model import BUILTIN_KINDS
from servers.server import Sizing

HUB_LINKS = 20_000
LEAST_LINKS = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    updates: int
    us_per_link: float
    median_us_per_link: float
    """Of the median batch."""
    us_per_event: float
    links_per_s: float
    longest_batch_s: float
    client_cpu_us_per_link: float
    server_cpu_us_per_link: float
    """NaN without a server."""
    file_mb: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Place:
    """What is measured beside the store: its files, its server."""

    folder: Path | None = None
    server_pid: int | None = None

    def size_mb(self) -> float:
        return sum(f.stat().st_size for f in self.folder.iterdir()) / 1e6 if self.folder else float("nan")

    def server_cpu_s(self) -> float:
        return float("nan") if self.server_pid is None else cpu_s(self.server_pid)


def grow(store: GraphStore, place: Place, links: int, batch: int, repeat_share: float) -> list[Row]:
    marks = [10**n for n in range(4, 9) if 10**n < links] + [links]
    rows: list[Row] = []
    done = since = events = 0
    times: list[float] = []
    per_link: list[float] = []
    client_s, server_s, clock_s = 0.0, place.server_cpu_s(), time.process_time
    for update in stream(batch, repeat_share):
        start, start_cpu = time.perf_counter(), clock_s()
        store.apply(update)
        times.append(time.perf_counter() - start)
        client_s += clock_s() - start_cpu
        per_link.append(times[-1] / len(update.links))
        done, since = done + len(update.links), since + len(update.links)
        events += sum(x.events for x in update.entities if x.ref.kind == "user")
        if done < marks[0]:
            continue
        marks = [mark for mark in marks if mark > done]
        spent_s, used_s = sum(times), place.server_cpu_s()
        rows.append(
            Row(
                done, spent_s / since * 1e6, statistics.median(per_link) * 1e6, spent_s / events * 1e6, since / spent_s,
                max(times), client_s / since * 1e6, (used_s - server_s) / since * 1e6, place.size_mb(), resident_mb(),
            )
        )  # fmt: skip
        print(table_row(rows[-1]), flush=True)
        since = events = 0
        client_s, server_s = 0.0, used_s
        times.clear()
        per_link.clear()
        if not marks:
            break
    return rows


def warm_up(store: GraphStore, links: int, batch: int) -> None:
    """Until a server's code is compiled: a tenant and a partition of its own."""
    done = 0
    for update in stream(batch, 0.7, seed=2, tenant="warm-up"):
        if done >= links:
            return
        store.apply(GraphBatch(update.entities, update.links, update.position, "warm-up"))
        done += len(update.links)


def hub_ms(store: GraphStore) -> dict[str, float]:
    """Median milliseconds of reading the neighbourhood of an ip with 20,000 users, one and two hops."""
    hub = EntityRef("default", "ip", "hub")
    users = [EntityRef("default", "user", f"hub-user-{i}") for i in range(HUB_LINKS)]
    store.apply(GraphBatch([], [LinkUpdate(u, hub, i, i, 1, 0) for i, u in enumerate(users)], 10**9))
    return {f"hub_{hops}_hop_ms": median_ms(lambda h=hops: store.neighbourhood(hub, hops=h)) for hops in (1, 2)}


def neo4j_reads_ms(store: Neo4jGraph) -> dict[str, float]:
    """Median milliseconds of the batched read of cold entities, and of adding 2,000 links to a hub of 10^5."""
    cold = [EntityRef("default", "user", f"user-{i}") for i in range(8)]
    found = {"cold_8_users_ms": median_ms(lambda: store.cold(cold, deadline_s=10), 101)}
    hub = EntityRef("default", "merchant", "hub")
    position = 2 * 10**9
    for start in range(0, 100_000, 2_000):
        users = [EntityRef("default", "user", f"hub-user-{i}") for i in range(start, start + 2_000)]
        position += 1
        began = time.perf_counter()
        store.apply(GraphBatch([], [LinkUpdate(u, hub, 1, 1, 1, 0) for u in users], position))
        if start in (0, 98_000):
            found[f"hub_of_{start}_us_per_link"] = (time.perf_counter() - began) / 2_000 * 1e6
    return found


def median_ms(call: Callable[[], object], times: int = 7) -> float:
    took = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        took.append((time.perf_counter() - start) * 1e3)
    return sorted(took)[times // 2]


HEADER = (
    "updates",
    "us/link",
    "median",
    "us/event",
    "links/s",
    "longest s",
    "client cpu",
    "server cpu",
    "file MB",
    "RSS MB",
)


def table_row(row: Row) -> str:
    return (
        f"{row.updates:>11,} {row.us_per_link:>10.1f} {row.median_us_per_link:>10.1f} {row.us_per_event:>10.0f}"
        f" {row.links_per_s:>10,.0f} {row.longest_batch_s:>10.2f} {row.client_cpu_us_per_link:>10.1f}"
        f" {row.server_cpu_us_per_link:>10.1f} {row.file_mb:>10.0f} {row.rss_mb:>10.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=1_000_000, help="link updates in all")
    parser.add_argument("--batch", type=int, help="distinct links a transaction (20000; 2000 with --store own)")
    parser.add_argument("--repeat-share", type=float, default=0.7, help="share of events by users seen before")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--store", default="ladybug:", help="ladybug:, the address of an empty Neo4j, or own")
    parser.add_argument("--user", default="neo4j")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument(
        "--warm-links", type=int, help="links written first and not counted, to warm a server up (0; 300000 with own)"
    )
    parser.add_argument("--server-pid", type=int, help="process of the Neo4j, on this machine")
    own = parser.add_argument_group("with --store own")
    own.add_argument("--sizes", type=int, nargs="+", default=[10**5, 10**6, 10**7], help="distinct links in the graph")
    own.add_argument("--batches", type=int, default=40, help="transactions measured at each size")
    own.add_argument("--heap-mb", type=int, default=Sizing().neo4j_heap_mb, help="of the server")
    own.add_argument("--cache-mb", type=int, default=Sizing().neo4j_cache_mb, help="of the server, for its files")
    given = parser.parse_args()
    head = machine()
    folder = Path(tempfile.mkdtemp(prefix="ringwatch-bench-"))
    try:
        figures = at_sizes(given, folder) if given.store == "own" else as_it_grows(given, folder)
    finally:
        shutil.rmtree(folder)
    if given.json:
        given.json.write_text(json.dumps({"machine": head, **figures}, indent=2) + "\n")


def at_sizes(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    if min(given.sizes) < LEAST_LINKS:
        raise SystemExit(f"--sizes {min(given.sizes)}: {LEAST_LINKS} links at least")
    plan = Plan(
        sizes=sorted(given.sizes),
        batch=given.batch or 2_000,
        batches=given.batches,
        warm_links=300_000 if given.warm_links is None else given.warm_links,
        repeat_share=given.repeat_share,
        heap_mb=given.heap_mb,
        cache_mb=given.cache_mb,
    )
    return {"store": "neo4j", "plan": asdict(plan), "sizes": [asdict(row) for row in measure_sizes(plan, folder)]}


def as_it_grows(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    batch = given.batch or 20_000
    store, place = opened(given, folder)
    store.prepare(BUILTIN_KINDS)
    if store.applied_position() >= 0:
        raise SystemExit(f"{given.store} is not empty")
    print(f"{HEADER[0]:>11} " + " ".join(f"{name:>10}" for name in HEADER[1:]))
    warm_up(store, given.warm_links or 0, batch)
    rows = grow(store, place, given.links, batch, given.repeat_share)
    reads = hub_ms(store) | (neo4j_reads_ms(store) if isinstance(store, Neo4jGraph) else {})
    print("  ".join(f"{name} {value:.1f}" for name, value in reads.items()))
    counts = store.counts()
    store.close()
    return {"store": given.store.split(":")[0], "batch": batch, "repeat_share": given.repeat_share, "counts": counts,
            "growth": [asdict(row) for row in rows], **reads}  # fmt: skip


def opened(given: argparse.Namespace, folder: Path) -> tuple[GraphStore, Place]:
    if given.store == "ladybug:":
        return LadybugGraph(folder / "graph.lbug"), Place(folder)
    password = given.password_file.read_text().strip() if given.password_file else ""
    return Neo4jGraph(given.store, auth=(given.user, password)), Place(server_pid=given.server_pid)


if __name__ == "__main__":
    main()

"""Cost of a link update as the embedded graph grows, and of a hub's neighbourhood.

    python bench/graph_growth.py [--links 1000000] [--batch 20000] [--repeat-share 0.7] [--json PATH]

A stream of link updates, aggregated in batches as the graph writer does, is applied to a new store. One row of the
table for each decade: the cost of the updates since the row before, folds and checkpoints included, and the longest
batch.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from about import machine, resident_mb

from graph.ladybug_store import LadybugGraph
from graph.store import EntityRef, EntityUpdate, GraphBatch, LinkUpdate
from ringwatch.model import BUILTIN_KINDS

HUB_LINKS = 20_000


@dataclass(frozen=True, slots=True)
class Row:
    updates: int
    us_per_link: float
    links_per_s: float
    longest_batch_s: float
    file_mb: float
    rss_mb: float


def stream(batch: int, repeat_share: float, seed: int = 1) -> Iterator[GraphBatch]:
    """Batches of about `batch` distinct links, as events make them.

    An event names a user, device, card, address, ip and merchant, so it touches five links. With `repeat_share` its
    user is an old one, back on the same device, card and address; else the user is new, on things of its own but for
    one in twenty. Ips are shared by about ten users, merchants by all.
    """
    rng = random.Random(seed)
    users = position = 0
    while True:
        pending = Pending()
        while len(pending.links) < batch:
            if users and rng.random() < repeat_share:
                user = rng.randrange(users)
            else:
                user, users = users, users + 1
            owner = user if user % 20 else user // 2
            things = {"device": owner, "card": user, "address": owner, "ip": rng.randrange(users // 10 + 10)}
            pending.event(user, {**things, "merchant": int(rng.paretovariate(0.7)) % 20_000}, position)
        yield pending.batch(position)
        position += 1


class Pending:
    """Updates of one batch, merged."""

    def __init__(self) -> None:
        self.refs: dict[tuple[str, int], EntityRef] = {}
        self.entities: dict[tuple[str, int], EntityUpdate] = {}
        self.links: dict[tuple[int, str, int], LinkUpdate] = {}

    def event(self, user: int, things: dict[str, int], at: int) -> None:
        for kind, number in (("user", user), *things.items()):
            ref = self.refs.setdefault((kind, number), EntityRef("default", kind, f"{kind}-{number}"))
            entity = self.entities.setdefault((kind, number), EntityUpdate(ref, at, at, 0, 0))
            entity.events += 1
            entity.amount_minor += 1999
            if kind != "user":
                nearest = LinkUpdate(self.refs["user", user], ref, at, at, 0, 0)
                link = self.links.setdefault((user, kind, number), nearest)
                link.events += 1
                link.amount_minor += 1999

    def batch(self, position: int) -> GraphBatch:
        links = [self.links[key] for key in sorted(self.links)]
        return GraphBatch([self.entities[key] for key in sorted(self.entities)], links, position)


def grow(store: LadybugGraph, folder: Path, links: int, batch: int, repeat_share: float) -> list[Row]:
    marks = [10**n for n in range(4, 9) if 10**n < links] + [links]
    rows: list[Row] = []
    done = since = 0
    spent_s = longest_s = 0.0
    for update in stream(batch, repeat_share):
        start = time.perf_counter()
        store.apply(update)
        took = time.perf_counter() - start
        done, since = done + len(update.links), since + len(update.links)
        spent_s, longest_s = spent_s + took, max(longest_s, took)
        if done < marks[0]:
            continue
        marks = [mark for mark in marks if mark > done]
        size = sum(f.stat().st_size for f in folder.iterdir()) / 1e6
        rows.append(Row(done, spent_s / since * 1e6, since / spent_s, longest_s, size, resident_mb()))
        print(table_row(rows[-1]), flush=True)
        since, spent_s, longest_s = 0, 0.0, 0.0
        if not marks:
            break
    return rows


def hub_ms(store: LadybugGraph) -> dict[str, float]:
    """Median milliseconds of reading the neighbourhood of an ip with 20,000 users, one and two hops."""
    hub = EntityRef("default", "ip", "hub")
    users = [EntityRef("default", "user", f"hub-user-{i}") for i in range(HUB_LINKS)]
    store.apply(GraphBatch([], [LinkUpdate(u, hub, i, i, 1, 0) for i, u in enumerate(users)], 10**9))
    return {f"hub_{hops}_hop_ms": median_ms(lambda h=hops: store.neighbourhood(hub, hops=h)) for hops in (1, 2)}


def median_ms(call: object, times: int = 7) -> float:
    took = []
    for _ in range(times):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        took.append((time.perf_counter() - start) * 1e3)
    return sorted(took)[times // 2]


def table_row(row: Row) -> str:
    return (
        f"{row.updates:>12,} {row.us_per_link:>10.1f} {row.links_per_s:>10,.0f} {row.longest_batch_s:>10.2f}"
        f" {row.file_mb:>9.0f} {row.rss_mb:>8.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=1_000_000, help="link updates in all")
    parser.add_argument("--batch", type=int, default=20_000, help="distinct links a transaction")
    parser.add_argument("--repeat-share", type=float, default=0.7, help="share of events by users seen before")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ringwatch-bench-"))
    try:
        store = LadybugGraph(folder / "graph.lbug")
        store.prepare(BUILTIN_KINDS)
        print(f"{'updates':>12} {'us/link':>10} {'links/s':>10} {'longest s':>10} {'file MB':>9} {'RSS MB':>8}")
        rows = grow(store, folder, given.links, given.batch, given.repeat_share)
        reads = hub_ms(store)
        print("  ".join(f"{name} {value:.1f}" for name, value in reads.items()))
        counts = store.counts()
        store.close()
    finally:
        shutil.rmtree(folder)
    if given.json:
        figures = {"machine": machine(), "batch": given.batch, "repeat_share": given.repeat_share, "counts": counts}
        given.json.write_text(json.dumps({**figures, "growth": [asdict(r) for r in rows], **reads}, indent=2) + "\n")


if __name__ == "__main__":
    main()

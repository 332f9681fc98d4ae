"""Cost of the ring keeper as it grows: single new links, batches, and what marks take.

    python bench/rings_growth.py [--links 1000000] [--probes 2000] [--no-history] [--json PATH]

A scripted stream: each account has a device, a card and an address; six in ten share the address with one to five others, some
of them the card too; one event in 80 is on a random account's device, which slowly makes one large component, and one in a
thousand on one of five public kiosks (hubs). Six of ten events are of known accounts. At each decade of links, `probes` events that each make one
new link to a thing that is in use are applied one by one and timed; marks are timed apart. The history of the rings is kept and
taken after each batch and each probe, within the time measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from about import machine, resident_mb

from features.schema import FeatureSchema
from rings.keeper import RingKeeper
from ringwatch.model import MICROSECONDS, Event

START_US = 1_767_225_600_000_000
BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Row:
    links: int
    users: int
    rings: int
    large_users: int
    """Users in components that are split into circles."""
    probe_p50_us: float
    probe_p99_us: float
    probe_max_us: float
    apply_us: float
    """An event on average, in batches of 2,000, since the row before."""
    marks: int
    mark_p50_ms: float
    mark_p99_ms: float
    mark_max_ms: float
    queued: int
    """Most users left over at a mark."""
    entries: int
    """Of the history, so far."""
    dormant: int
    """Rings that are, in the end."""
    rss_mb: float


class Script:
    """Events, one every two seconds."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.users = 0
        self.number = 0
        self.home = array("i")
        """User -> its address, that of the first of its group."""

    def at_us(self) -> int:
        return START_US + 2 * self.number * MICROSECONDS

    def next(self) -> Event:
        rng = self.rng
        if self.users > 10 and rng.random() < 0.6:
            user = rng.randrange(self.users)
            if rng.random() < 1 / 50:
                return self._event(user, device=f"d{rng.randrange(self.users)}")
            if rng.random() < 1 / 500:
                return self._event(user, device=f"kiosk{rng.randrange(5)}")
            return self._usual(user)
        if len(self.home) == self.users:
            size = rng.choice((1, 1, 1, 1, 1, 1, 1, 2, 3, 6))
            self.home.extend([self.users] * size)
        user, self.users = self.users, self.users + 1
        return self._usual(user, "signup")

    def _usual(self, user: int, what: str = "payment") -> Event:
        home = self.home[user]
        card = home if user % 5 == 0 else user
        return self._event(user, what, device=f"d{user}", card=f"c{card}", address=f"a{home}")

    def _event(self, user: int, what: str = "payment", **things: str) -> Event:
        self.number += 1
        entities = {"user": f"u{user}", **things, "ip": f"i{user % 1000}", "merchant": f"m{user % 50}"}
        return Event(f"e{self.number}", what, self.at_us(), entities, amount_minor=1999)

    def probe(self, number: int) -> Event:
        """One new link to a thing in use: of a new account, or of one that has its own circle."""
        user = f"p{number}-{self.number}" if number % 2 else f"u{self.rng.randrange(self.users)}"
        kind, other = self.rng.choice((("device", "d"), ("address", "a"))), self.rng.randrange(self.users)
        thing = f"{kind[1]}{self.home[other] if kind[1] == 'a' else other}"
        self.number += 1
        return Event(f"e{self.number}", "login", self.at_us(), {"user": user, kind[0]: thing})


class Growth:
    def __init__(self, *, history: bool) -> None:
        self.keeper = RingKeeper(FeatureSchema())
        if history:
            self.keeper.keep_history()
        self.entries = 0
        self.script = Script()
        self.features = np.empty((BATCH, self.keeper.schema.size), np.float32)
        self.seq = 0
        self.mark_ms: list[float] = []
        self.queued = 0

    def _advance(self, at_us: int) -> None:
        started = time.perf_counter()
        self.keeper.advance(at_us)
        self.mark_ms.append((time.perf_counter() - started) * 1e3)
        self.queued = max(self.queued, int(self.keeper.stats()["queued"]))

    def _pieces(self) -> Iterator[list[tuple[int, Event]]]:
        while True:
            part: list[tuple[int, Event]] = []
            mark = self.keeper.next_mark_us
            while len(part) < (BATCH if mark else 1) and (
                mark is None or self.script.at_us() + 2 * MICROSECONDS < mark
            ):
                part.append((self.seq, self.script.next()))
                self.seq += 1
            if mark is not None and len(part) < BATCH:
                yield part
                self._advance(mark)
            else:
                yield part

    def grow(self, links: int) -> float:
        """Microseconds an event."""
        spent, events = 0.0, 0
        for part in self._pieces():
            started = time.perf_counter()
            self.keeper.apply(part, self.features[: len(part)])
            self.entries += len(self.keeper.take_history())
            spent += time.perf_counter() - started
            events += len(part)
            if self.keeper.stats()["links"] >= links:
                return spent / events * 1e6
        raise AssertionError

    def probe(self, count: int) -> list[float]:
        """Microseconds of single events that make one new link to a thing in use."""
        took = []
        row = self.features[:1]
        for number in range(count):
            event = self.script.probe(number)
            mark = self.keeper.next_mark_us
            if mark is not None and event.at_us >= mark:
                self._advance(event.at_us)
            started = time.perf_counter()
            self.keeper.apply([(self.seq, event)], row)
            self.entries += len(self.keeper.take_history())
            took.append((time.perf_counter() - started) * 1e6)
            self.seq += 1
        return took

    def row(self, links: int, probes: int) -> Row:
        self.mark_ms, self.queued = [], 0
        apply_us = self.grow(links)
        probe_us = self.probe(probes)
        stats = self.keeper.stats()
        p50, p99, most = np.percentile(probe_us, (50, 99, 100))
        m50, m99, longest = np.percentile(self.mark_ms or [0.0], (50, 99, 100))
        return Row(
            int(stats["links"]), int(stats["users"]), int(stats["rings"]), len(self.keeper.membership.large),
            float(p50), float(p99), float(most), apply_us, len(self.mark_ms), float(m50), float(m99), float(longest),
            self.queued, self.entries, sum(r.quiet_us is not None for r in self.keeper.registry.rings.values()), resident_mb(),
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=1_000_000, help="links in the end")
    parser.add_argument("--probes", type=int, default=2_000, help="single events timed at each decade")
    parser.add_argument("--no-history", action="store_true", help="nobody keeps what happens to the rings")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    head, growth = machine(), Growth(history=not given.no_history)
    growth.features.fill(0)
    before_mb = resident_mb()
    gc.freeze()
    rows = []
    for links in (10_000, 100_000, 1_000_000):
        if links > given.links:
            break
        rows.append(growth.row(links, given.probes))
        print(rows[-1], flush=True)
    bytes_a_link = (rows[-1].rss_mb - before_mb) * 1e6 / rows[-1].links
    started = time.perf_counter()
    arrays = growth.keeper.dump()
    dump_s, size_mb = time.perf_counter() - started, sum(a.nbytes for a in arrays.values()) / 1e6
    started = time.perf_counter()
    growth.keeper.load(arrays)
    load_s = time.perf_counter() - started
    keeper, at_us = growth.keeper, growth.script.at_us()
    started = time.perf_counter()
    keeper.advance(at_us + keeper.rules.window_us + keeper.rules.mark_us)
    expire_s = time.perf_counter() - started
    figures = {
        "machine": head, "history": not given.no_history, "probes": given.probes, "growth": [asdict(r) for r in rows], "bytes_a_link": bytes_a_link,
        "dump_s": dump_s, "dump_mb": size_mb, "load_s": load_s, "expire_all_s": expire_s,
    }  # fmt: skip
    print({k: v for k, v in figures.items() if k != "growth"})
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What a transaction costs, and when a reader of committed records sees it: `python bench/kafka_transactions.py kafka://...`.

Open loop: batches of 20 messages of 3 KB with offsets, begun at fixed times. Two figures a row: from begin to committed, and from
begin until a read_committed consumer in the same process has the last record of the batch.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from typing import Any
from uuid import uuid4

import numpy as np

from bus.clients import BusSettings, admin, consumer
from bus.reading import Reader
from bus.topics import Topics
from bus.transactions import Record, Transactor


class Watcher(threading.Thread):
    """Notes when the last record of each batch is read."""

    def __init__(self, bus: BusSettings, topics: Topics, partitions: int) -> None:
        super().__init__(daemon=True)
        self.seen: dict[int, float] = {}
        self.stopping = False
        self.reader = Reader(consumer(bus, topics.group("watch")), [topics.decisions])
        while len(self.reader.parts) < partitions:
            self.reader.poll(1, 0.1)

    def run(self) -> None:
        while not self.stopping:
            for message in self.reader.poll(1000, 0.05):
                key = message.key() or b""
                self.seen[int(key.split(b"/")[1])] = time.perf_counter()
        self.reader.close()


def measure(
    bus: BusSettings, *, shared: int, turns: int, rate: float, batches: int, size: int, more: dict[str, Any]
) -> None:
    topics = Topics(f"bench{uuid4().hex[:6]}")
    client = admin(bus)
    topics.create(client, partitions=shared)
    partitions = topics.check(client)
    watcher = Watcher(bus, topics, partitions)
    watcher.start()
    source = Reader(consumer(bus, topics.group("scorer")), [topics.events])
    while len(source.parts) < partitions:
        source.poll(1, 0.1)
    transactor = Transactor.of(bus, f"{topics.prefix}.scorer", turns=turns, more=more)
    transactor.start()
    body = os.urandom(1500).hex().encode()
    begun: dict[int, float] = {}
    took, late = [], []
    start = time.perf_counter() + 0.2
    for n in range(batches):
        due = start + n / rate
        while (now := time.perf_counter()) < due:
            time.sleep(max(0.0, min(0.001, due - now)))
        late.append(time.perf_counter() - due)
        begun[n] = due
        records = [Record(topics.decisions, f"{k}/{n}".encode(), body) for k in range(size)]
        transactor.write(records, {(topics.events, p): n + 1 for p in range(partitions)}, source.group())
        took.append(time.perf_counter() - due)
    time.sleep(1.0)
    watcher.stopping = True
    watcher.join()
    seen = np.array([watcher.seen[n] - begun[n] for n in range(batches // 10, batches)]) * 1e3
    committed = np.array(took[batches // 10 :]) * 1e3
    p = [50, 90, 99]
    told = " ".join(f"{k}={v}" for k, v in more.items()) or "as shipped"
    print(
        f"{partitions} partitions, {turns} producers, {rate:g} batches/s of {size} ({told}): committed p50/p90/p99 "
        f"{'/'.join(f'{x:.1f}' for x in np.percentile(committed, p))} ms, read "
        f"{'/'.join(f'{x:.1f}' for x in np.percentile(seen, p))} ms; begun late p99 {np.percentile(late, 99) * 1e3:.1f} ms"
    )
    source.close()
    client.delete_topics(list(topics.all()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, nargs="+", default=[20, 40])
    parser.add_argument("--turns", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--size", type=int, default=20)
    parser.add_argument("--set", nargs="*", default=[], help="librdkafka settings of the producers, name=value")
    given = parser.parse_args()
    bus = BusSettings.from_url(given.url)
    more = dict(pair.split("=") for pair in given.set)
    for turns in given.turns:
        for rate in given.rate:
            measure(
                bus, shared=given.partitions, turns=turns, rate=rate, batches=given.batches, size=given.size, more=more
            )


if __name__ == "__main__":
    main()

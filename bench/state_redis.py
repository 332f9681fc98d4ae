"""Cost of the shared state on Redis: by batch size, as entities grow, and in memory.

    python bench/state_redis.py [--url redis://host:port/0] [--entities 100000 1000000] [--events 20000] [--rounds 5] [--json PATH]

One process, closed loop, loopback: every batch is read, run through the kernel, committed with a result of `--result-bytes`
an event, and settled. Without `--url` a redis-server of its own is started (no append-only file unless `--aof`), and
stopped. Entities are loaded as copies of records that a simulated stream left behind; a round is repeated and the median
told. CPU is of this process and of the server, which a noisy machine disturbs less than time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from about import machine, resident_mb

from features.columns import entity_key
from features.memory_state import MemoryState
from features.record import RECORD
from features.redis_rebuild import Rebuild
from features.redis_state import RedisState
from features.schema import FeatureSchema
from features.shared_state import Entry
from ringwatch.errors import Unavailable
from ringwatch.model import Event

SCHEMA = FeatureSchema()
START_US = 1_700_000_000_000_000
TENANT = "default"
KINDS = {"user": 0.30, "device": 0.25, "card": 0.30, "ip": 0.14, "merchant": 0.01}
"""Share of each kind in the entities."""


@dataclass(frozen=True, slots=True)
class Row:
    entities: int
    batch: int
    events_per_s: float
    begin_ms: float
    commit_ms: float
    settle_ms: float
    p99_ms: float
    """Of begin and commit together."""
    client_cpu_us: float
    server_cpu_us: float
    spread: float
    """Of events_per_s over the rounds: (highest - lowest) / median."""


class Stream:
    """Events on entities that exist, as many an entity as people and shops have."""

    def __init__(self, entities: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._counts = {kind: max(1, int(entities * share)) for kind, share in KINDS.items()}
        self._seed, self._n = seed, 0

    def batch(self, size: int) -> list[Entry]:
        return [self._entry() for _ in range(size)]

    def _entry(self) -> Entry:
        rng, counts = self._rng, self._counts
        user = rng.randrange(counts["user"])
        entities = {
            "user": f"user{user}",
            "device": f"device{user * counts['device'] // counts['user']}",
            "card": f"card{user % counts['card']}",
            "ip": f"ip{rng.randrange(counts['ip'])}",
            "merchant": f"merchant{int(rng.paretovariate(0.7)) % counts['merchant']}",
        }
        self._n += 1
        name = f"{self._seed}-{self._n}"
        event = Event(
            name, "payment", START_US + self._n * 20_000, entities, amount_minor=rng.randrange(1, 10**5), outcome="approved"
        )  # fmt: skip
        return Entry(event, name, bytes(16), b"fraud.events/3/%d" % self._n)


class Copies:
    """Records of `entities` entities, copied from those a stream left: what `Rebuild.load` asks a MemoryState for."""

    def __init__(self, entities: int) -> None:
        state, stream = MemoryState(SCHEMA, max_entities=50_000), Stream(20_000, 1)
        for _ in range(60):
            state.apply([entry.item for entry in stream.batch(1000)])
        found, self._began_us, self._signups = state.contents()
        parts = []
        for kind, share in KINDS.items():
            of_kind = found[found["kind"] == SCHEMA.kind_index[kind]]
            n = max(1, int(entities * share))
            part = np.zeros(n, RECORD)
            part[:] = of_kind[np.arange(n) % len(of_kind)]
            part["key"] = [entity_key(TENANT, kind, f"{kind}{i}") for i in range(n)]
            parts.append(part)
        self._records = np.concatenate(parts)

    def contents(self) -> tuple[np.ndarray, int, int]:
        return self._records, self._began_us, self._signups


def server_cpu_s(state: RedisState) -> float:
    info = dict(line.split(b":", 1) for line in state.wire.ask("INFO", "cpu").splitlines() if b":" in line)
    return float(info[b"used_cpu_user"]) + float(info[b"used_cpu_sys"])


def measure(state: RedisState, entities: int, size: int, events: int, rounds: int, result: bytes) -> Row:
    stream = Stream(entities, random.randrange(10**9))
    rates: list[float] = []
    begins: list[float] = []
    commits: list[float] = []
    settles: list[float] = []
    client_s = server_s = 0.0
    batches = max(1, events // size)
    for _ in range(rounds):
        made = [stream.batch(size) for _ in range(batches)]
        cpu_s, of_server_s, started_s = time.process_time(), server_cpu_s(state), time.perf_counter()
        for batch in made:
            a = time.perf_counter()
            pending = state.begin(TENANT, batch)
            b = time.perf_counter()
            assert pending.commit([result] * size)
            c = time.perf_counter()
            state.settle(TENANT, [entry.id for entry in batch])
            begins.append(b - a)
            commits.append(c - b)
            settles.append(time.perf_counter() - c)
        rates.append(batches * size / (time.perf_counter() - started_s))
        client_s += time.process_time() - cpu_s
        server_s += server_cpu_s(state) - of_server_s
    total = rounds * batches * size
    both = np.array(begins) + np.array(commits)
    median = statistics.median
    return Row(
        entities, size, round(median(rates)), *(round(1e3 * median(x), 3) for x in (begins, commits, settles)),
        round(1e3 * float(np.percentile(both, 99)), 3), round(1e6 * client_s / total, 1), round(1e6 * server_s / total, 1),
        round((max(rates) - min(rates)) / median(rates), 2),
    )  # fmt: skip


def load(state: RedisState, entities: int) -> dict[str, float]:
    """Fill the state; what an entity takes in memory, and how fast it was loaded."""
    copies, rebuild = Copies(entities), Rebuild(state)
    before = state.stats()
    assert rebuild.begin_rebuild("bench", 60.0)
    rebuild.hold([TENANT])
    started_s = time.perf_counter()
    n = rebuild.load(TENANT, copies)  # type: ignore[arg-type]
    load_s = time.perf_counter() - started_s
    rebuild.finish()
    after = state.stats()
    more = after["keys"] - before["keys"]
    return {
        "entities": n,
        "bytes_per_entity": round((after["bytes"] - before["bytes"]) / max(1, more)),
        "server_mb": round(after["bytes"] / 1e6),
        "loaded_per_s": round(n / load_s),
    }


def sizes(state: RedisState, result: bytes) -> dict[str, float]:
    """Bytes of memory an id takes, and an unsettled result; medians of `MEMORY USAGE`."""
    keys = state.keys(TENANT)
    state.begin(TENANT, Stream(1000, 7).batch(200)).commit([result] * 200)
    out = {}
    for name, start in (("marker", keys.marker), ("result", keys.result), ("record", keys.record)):
        found: list[int] = []
        cursor = b"0"
        while len(found) < 500:
            cursor, names = state.wire.ask("SCAN", cursor, "MATCH", start + b"*", "COUNT", 1000)
            found += [state.wire.ask("MEMORY", "USAGE", x, "SAMPLES", 0) or 0 for x in names]
            if cursor == b"0":
                break
        out[f"memory_of_{name}"] = statistics.median(found) if found else 0
    return out


@contextmanager
def server(aof: bool) -> Iterator[str]:
    """A redis-server of our own on a free port."""
    folder = tempfile.mkdtemp(prefix="ringwatch-bench-")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        folder,
        "--save",
        "",
        "--appendonly",
        "yes" if aof else "no",
    ]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def run(url: str, args: argparse.Namespace) -> dict[str, Any]:
    state = RedisState(url, SCHEMA, prefix="bench", timeout_s=10.0)
    for _ in range(50):
        try:
            state.initialise()
            break
        except Unavailable:
            time.sleep(0.1)
    result = random.Random(1).randbytes(args.result_bytes)
    warm = Stream(1000, 1)
    state.begin(TENANT, warm.batch(10)).commit([result] * 10)
    rows: list[Row] = []
    memory = []
    for entities in args.entities:
        memory.append(load(state, entities))
        print(memory[-1], flush=True)
        for size in args.batches if entities == args.entities[0] else (1, 100):
            rows.append(
                measure(state, entities, size, args.events if size > 1 else args.events // 10, args.rounds, result)
            )
            print(rows[-1], flush=True)
    names = ("client_cpu_us", "server_cpu_us", "begin_ms", "commit_ms")
    ratios = {
        f"{name} at {size}": round(getattr(by[-1], name) / getattr(by[0], name), 2)
        for size in (1, 100)
        for name in names
        if (by := [row for row in rows if row.batch == size])
    }
    return {
        "machine": machine(), "aof": args.aof, "result_bytes": args.result_bytes, "rows": [asdict(row) for row in rows],
        "memory": memory, **sizes(state, result), "ratios_most_to_fewest_entities": ratios, "client_mb": round(resident_mb()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="")
    parser.add_argument("--entities", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 20, 100, 500])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--result-bytes", type=int, default=800)
    parser.add_argument("--aof", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.url:
        out = run(args.url, args)
    else:
        with server(args.aof) as url:
            out = run(url, args)
    text = json.dumps(out, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""Event in Kafka to decision in Kafka, on all four real servers: open loop, steady load.

    python bench/kafka_load.py [--rate 840] [--seconds 300] [--before 20000] [--days 30] [--process scorer ...] [--json PATH]

Starts Neo4j, Kafka, Redis and PostgreSQL in a folder of its own (`ringwatch servers up`), the roles as the processes named (one
`--process` each, its roles with commas; `all` for one process with all of them), loads part of a simulated market, then sends the rest at
arrival times (Poisson) fixed in advance. A latency runs from when the event should have been sent to when a consumer of committed
records holds its decision, so waiting in the generator counts; how late the generator was is reported apart. The market's days pass in
minutes, with their ring marks and fits. CPU shares are of one core, by process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from about import machine
from api_load import cpu_s, percentiles

from bus.clients import BusSettings, admin, consumer, producer
from bus.topics import Topics
from ingest.simulate.simulate import SimulationConfig, write_simulation
from servers.launcher import Servers

WATCH_S = 5.0
LINGER_MS = 5.0
"""Of the generator, as Kafka's own producers have it by default; counts in the latency, as all of its waiting does."""
_LAG = re.compile(r'ringwatch_lag_records\{.*role="([^"]+)"')
_GRAPH_EVENTS = 'ringwatch_role_total{role="graph-writer",what="events"}'
_DONE = {
    _GRAPH_EVENTS,
    'ringwatch_role_total{role="scorer",what="decided"}',
    'ringwatch_role_total{role="ledger-writer",what="decisions"}',
}
_EVENT_ID = re.compile(rb'"event_id":"([^"]+)"')
_KEY = re.compile(rb'"(?:user|session|card|device|sku)":"([^"]+)"')


def listen(url: str, topic: str, expected: int, ready: Any, results: Any) -> None:
    """In a process of its own: when each decision came, by the clock that all processes share."""
    client = consumer(BusSettings.from_url(url), "bench.decisions", more={"fetch.wait.max.ms": 50})
    client.subscribe([topic])
    seen: dict[bytes, int] = {}
    quiet = time.monotonic()
    ready.set()
    while len(seen) < expected and time.monotonic() - quiet < 60.0:
        first = client.poll(0.5)
        for message in [] if first is None else [first, *client.consume(1000, 0)]:
            if message.error() is None and (found := _EVENT_ID.search(message.value() or b"")):
                seen.setdefault(found[1], time.monotonic_ns())
                quiet = time.monotonic()
    client.close()
    results.put(seen)


def start_roles(
    processes: list[str], env: dict[str, str], folder: Path
) -> tuple[dict[str, subprocess.Popen[bytes]], dict[str, int]]:
    started: dict[str, subprocess.Popen[bytes]] = {}
    ports: dict[str, int] = {}
    for number, roles in enumerate(processes):
        data = folder / f"data-{number}"
        command = [sys.executable, "-m", "ringwatch.cli", "serve", "--port", "0", "--data-dir", str(data)]
        command += [] if roles == "all" else ["--role", roles]
        out = folder / f"{roles.replace(',', '-')}-{number}.out"
        with out.open("wb") as file:
            started[roles] = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**env, "RINGWATCH_INSTANCE": str(number)},
                start_new_session=True,
            )
        until = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", out.read_text())) and time.monotonic() < until:
            time.sleep(0.1)
        assert found is not None, out.read_text()
        ports[roles] = int(found[1])
    for roles, port in ports.items():
        await_ready(roles, port)
    return started, ports


def await_ready(roles: str, port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz")
            return
        except OSError as error:
            if time.monotonic() > until:
                raise SystemExit(f"{roles} is not ready: {error}") from None
            time.sleep(0.2)


def send(url: str, topic: str, lines: list[bytes], rate: float | None) -> tuple[dict[bytes, int], list[float]]:
    """Event id -> when it should have gone out (ns); how late each did (ms). As fast as it goes without a rate."""
    client = producer(BusSettings.from_url(url), linger_ms=LINGER_MS)
    rng = random.Random(5)
    waits = [0.0 if rate is None else rng.expovariate(rate) for _ in lines]
    ids = [found[1] for line in lines if (found := _EVENT_ID.search(line))]
    keys = [b"default/" + (key[1] if (key := _KEY.search(line)) else id_) for line, id_ in zip(lines, ids, strict=True)]
    began = time.monotonic_ns() + 200_000_000
    planned = began + (np.cumsum(waits) * 1e9).astype(np.int64)
    late: list[float] = []
    for line, key, at in zip(lines, keys, planned.tolist(), strict=True):
        if rate is not None:
            while (left := at - time.monotonic_ns()) > 0:
                time.sleep(left / 1e9)
            late.append((time.monotonic_ns() - at) / 1e6)
        while True:
            try:
                client.produce(topic, line, key)
                break
            except BufferError:
                client.poll(0.05)
    client.flush(60)
    return dict(zip(ids, planned.tolist(), strict=True)), late


def metrics(port: int) -> dict[str, float]:
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return {name: float(value) for name, value in re.findall(r"^(ringwatch_(?:role|lag)\S+) (\S+)$", text, re.M)}


class Watch(threading.Thread):
    """How far each role is behind, and how much the graph writer has done, every few seconds."""

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._ports, self._ending = ports, threading.Event()
        self.lag: dict[str, list[float]] = {}
        self.graph: list[tuple[float, float]] = []

    def run(self) -> None:
        while not self._ending.wait(WATCH_S):
            behind: dict[str, float] = {}
            for name, value in (pair for port in self._ports.values() for pair in metrics(port).items()):
                if found := _LAG.match(name):
                    behind[found[1]] = max(behind.get(found[1], 0.0), value)
                elif name == _GRAPH_EVENTS:
                    self.graph.append((time.monotonic(), value))
            for role, value in behind.items():
                self.lag.setdefault(role, []).append(value)

    def told(self) -> dict[str, Any]:
        self._ending.set()
        self.join()
        lag = {role: {"median": float(np.median(v)), "max": max(v), "end": v[-1]} for role, v in self.lag.items()}
        done = 0.0
        if len(self.graph) > 1:
            (since, first), (until, last) = self.graph[0], self.graph[-1]
            done = (last - first) / (until - since)
        return {"lag": lag, "graph_writer_events_a_second": round(done)}


def caught_up(ports: dict[str, int], timeout_s: float, events: int = 0) -> float:
    """Seconds until so many events are decided, in the ledger and in the graph, and no role lags behind."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        told = [pair for port in ports.values() for pair in metrics(port).items()]
        lag = [value for name, value in told if name.startswith("ringwatch_lag")]
        done = [value for name, value in told if name in _DONE]
        if lag and max(lag) < 50 and len(done) == len(_DONE) and min(done) >= events:
            break
        time.sleep(0.25)
    return time.monotonic() - began


def tree_cpu_s(pid: int) -> float:
    """Of a process and everything below it (PostgreSQL's workers)."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(args: argparse.Namespace, servers: Servers, folder: Path, rate: float) -> dict[str, Any]:
    topics = Topics(f"load{int(rate)}")
    env = {
        **os.environ,
        **servers.settings,
        "RINGWATCH_TOPIC_PREFIX": topics.prefix,
        "RINGWATCH_FEATURES_SHARE": str(args.features_share),
    }
    url = servers.settings["RINGWATCH_BUS_URL"]
    topics.create(admin(BusSettings.from_url(url)), partitions=args.partitions)
    n = int(rate * args.seconds)
    write_simulation(SimulationConfig(events=args.before + n, seed=7, days=args.days), folder / "market")
    lines = [x for x in (folder / "market" / "events.jsonl").read_bytes().splitlines() if b'"type":"label"' not in x]
    before, rest = lines[: args.before], lines[args.before : args.before + n]
    started, ports = start_roles(args.process, env, folder)
    try:
        send(url, topics.events, before, None)
        loaded_s = caught_up(ports, 300, len(before))
        context = multiprocessing.get_context("spawn")
        ready, results = context.Event(), context.Queue()
        listener = context.Process(
            target=listen, args=(url, topics.decisions, len(before) + len(rest), ready, results), daemon=True
        )
        listener.start()
        ready.wait(30)
        time.sleep(3)
        pids = {name: servers.pid(name) for name in ("kafka", "redis", "postgres", "neo4j")}
        pids |= {roles: p.pid for roles, p in started.items()} | {"generator": os.getpid()}
        cpu = {name: tree_cpu_s(pid) if name == "postgres" else cpu_s(pid) for name, pid in pids.items()}
        began = time.monotonic()
        watch = Watch(ports)
        watch.start()
        due, late = send(url, topics.events, rest, rate)
        wall = time.monotonic() - began
        used = {name: (tree_cpu_s(pid) if name == "postgres" else cpu_s(pid)) - cpu[name] for name, pid in pids.items()}
        behind = watch.told()
        behind_s = caught_up(ports, 120)
        seen: dict[bytes, int] = results.get(timeout=120)
        listener.join(30)
        roles = {
            name: v
            for port in ports.values()
            for name, v in metrics(port).items()
            if not name.startswith("ringwatch_lag")
        }
    finally:
        for process in started.values():
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(90) for process in started.values()]
    took = [(seen[e] - planned) / 1e6 for e, planned in due.items() if e in seen]
    first = min(due.values())
    minutes = np.array([(planned - first) // 60_000_000_000 for e, planned in due.items() if e in seen])
    each = [round(float(np.percentile(np.array(took)[minutes == m], 99)), 1) for m in range(int(minutes.max()) + 1)]
    return {
        "rate": rate, "events_a_minute": round(60 * len(due) / wall), "events": len(due), "decided": len(took), "latency_ms": percentiles(took),
        "p99_by_minute_ms": each, "share_under_50_ms": round(float(np.mean(np.array(took) < 50.0)), 5), "generator_late_ms": percentiles(late),
        "cpu_share": {name: round(s / wall, 3) for name, s in used.items()}, **behind,
        "caught_up_s": round(behind_s, 2), "before_a_second": round(len(before) / loaded_s), "load_average_1m": round(os.getloadavg()[0], 2),
        "exit": codes, "roles": roles,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, nargs="+", default=[840.0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--before", type=int, default=20_000, help="events loaded before the measured ones")
    parser.add_argument("--days", type=int, default=30, help="of the market: more events a day are a larger market")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--features-share", type=float, default=0.1)
    parser.add_argument("--process", nargs="+", default=["scorer", "ring-keeper,ledger-writer,graph-writer"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    head, runs = machine(), []
    for rate in args.rate:
        with tempfile.TemporaryDirectory() as name:
            servers = Servers(Path(name) / "servers", lambda server, line: print(f"{server}: {line}", file=sys.stderr))
            servers.up()
            try:
                runs.append(measure(args, servers, Path(name), rate))
            finally:
                servers.delete()
        print(json.dumps(runs[-1]), file=sys.stderr)
    text = json.dumps({"machine": head, "processes": args.process, "runs": runs}, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

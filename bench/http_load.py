"""POST /v1/score on all four real servers, warm: open loop over loopback.

    python bench/http_load.py [--rate 100 300] [--seconds 30] [--before 5000] [--process api ...] [--json PATH]

Servers, roles and market as `bench/kafka_load.py`, requests and percentiles as `bench/api_load.py`. An answer means that the state is written and
the decision is in Kafka.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from about import machine
from api_load import cpu_s, open_loop, percentiles, warm
from kafka_load import start_roles

from bus.clients import BusSettings, admin
from bus.topics import Topics
from ingest.simulate.simulate import SimulationConfig, write_simulation
from servers.launcher import Servers


def measure(args: argparse.Namespace, servers: Servers, folder: Path) -> list[dict[str, Any]]:
    topics = Topics("http")
    env = {**os.environ, **servers.settings, "RINGWATCH_TOPIC_PREFIX": topics.prefix}
    topics.create(admin(BusSettings.from_url(servers.settings["RINGWATCH_BUS_URL"])), partitions=1)
    n = sum(int(rate * args.seconds) for rate in args.rate)
    write_simulation(SimulationConfig(events=args.before + n + 10, seed=7, days=30), folder / "market")
    lines = [x for x in (folder / "market" / "events.jsonl").read_bytes().splitlines() if b'"type":"label"' not in x]
    started, ports = start_roles(args.process, env, folder)
    api = next(roles for roles in started if "api" in roles or roles == "all")
    runs = []
    try:
        asyncio.run(warm(ports[api], lines[: args.before]))
        at = args.before
        for rate in args.rate:
            some = lines[at : at + int(rate * args.seconds)]
            at += len(some)
            before = {roles: cpu_s(p.pid) for roles, p in started.items()}
            load = asyncio.run(open_loop(ports[api], some, rate, seed=11))
            took = max(load.ends_s)
            runs.append({
                "rate": rate, "requests": len(load.took_ms), "latency_ms": percentiles(load.took_ms),
                "share_under_50_ms": round(float(np.mean(np.array(load.took_ms) < 50.0)), 5), "statuses": load.statuses,
                "generator_late_ms": percentiles(load.late_ms), "load_average_1m": round(os.getloadavg()[0], 2),
                "cpu_share": {roles: round((cpu_s(p.pid) - before[roles]) / took, 3) for roles, p in started.items()},
            })  # fmt: skip
    finally:
        for process in started.values():
            process.send_signal(signal.SIGTERM)
        for process in started.values():
            process.wait(90)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, nargs="+", default=[100.0, 300.0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--before", type=int, default=5_000)
    parser.add_argument("--process", nargs="+", default=["api", "ring-keeper,ledger-writer,graph-writer"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    head = machine()
    with tempfile.TemporaryDirectory() as name:
        servers = Servers(Path(name) / "servers", lambda server, line: print(f"{server}: {line}", file=sys.stderr))
        servers.up()
        try:
            runs = measure(args, servers, Path(name))
        finally:
            servers.delete()
    text = json.dumps({"machine": head, "processes": args.process, "runs": runs}, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""Latency of POST /v1/score on loopback: one server, embedded, everything written; open loop.

    python bench/api_load.py [--rate 100 300 500] [--seconds 20] [--events 20000] [--json PATH]

Arrival times (Poisson) are fixed before the first request. A request's time runs from when it should have been sent to its last
byte, so waiting in the generator counts; how late the generator itself was is reported apart. Keep-alive connections, as many as are
needed; one event a request, of a simulated market that was partly loaded before. Its days pass in seconds: 20 s at 500/s hold 15 days, with their
60 ring marks and 15 fits of the isolation forest. `--no-refit` leaves the fits out, of which live traffic has one a day.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from about import machine

from ingest.simulate.simulate import SimulationConfig, write_simulation

PERCENTILES = (50, 90, 99, 99.9, 100)


@dataclass(slots=True)
class Load:
    """What one run saw, in milliseconds."""

    took_ms: list[float] = field(default_factory=list)
    service_ms: list[float] = field(default_factory=list)
    """From when the request was really sent."""
    late_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    ends_s: list[float] = field(default_factory=list)
    connections: int = 0


class Pool:
    """Keep-alive connections; a new one when none is free."""

    def __init__(self, port: int, load: Load) -> None:
        self._port, self._load = port, load
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self, n: int) -> None:
        self._free = [await self._new() for _ in range(n)]

    async def _new(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._load.connections += 1
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        reader, writer = self._free.pop() if self._free else await self._new()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        assert length is not None, answer
        content = await reader.readexactly(int(length[1]))
        self._free.append((reader, writer))
        return int(answer[9:12]), content

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()


async def open_loop(port: int, bodies: list[bytes], rate: float, seed: int) -> Load:
    rng, at, due = random.Random(seed), 0.0, []
    for _ in bodies:
        at += rng.expovariate(rate)
        due.append(at)
    load = Load()
    pool = Pool(port, load)
    await pool.open(16)
    tasks: list[asyncio.Task[None]] = []
    started = time.perf_counter() + 0.2

    async def send(body: bytes, due_s: float) -> None:
        sent = time.perf_counter()
        status, _ = await pool.post("/v1/score", body)
        ended = time.perf_counter()
        load.late_ms.append((sent - due_s) * 1e3)
        load.took_ms.append((ended - due_s) * 1e3)
        load.service_ms.append((ended - sent) * 1e3)
        load.statuses[status] = load.statuses.get(status, 0) + 1
        load.ends_s.append(ended - started)

    for body, offset in zip(bodies, due, strict=True):
        wait = started + offset - time.perf_counter()
        if wait > 0.0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(send(body, started + offset)))
    await asyncio.gather(*tasks)
    pool.close()
    return load


def percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p:g}" if p < 100 else "max": round(float(np.percentile(values, p)), 2) for p in PERCENTILES}


def start(data: Path, *options: str, **settings: object) -> tuple[subprocess.Popen[str], int]:
    """A server on a free port, up and saying so."""
    env = {**os.environ, **{f"RINGWATCH_{k.upper()}": str(v) for k, v in settings.items()}}
    command = [sys.executable, "-m", "ringwatch.cli", "serve", "--port", "0", "--data-dir", str(data), *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert server.stdout is not None
    port = 0
    for line in server.stdout:
        if found := re.search(r" at http://127\.0\.0\.1:(\d+)", line):
            port = int(found[1])
        if "curl" in line:
            break
    return server, port


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fsync_ms(folder: Path) -> dict[str, float]:
    """What one small append with fsync costs here: the least a durable answer can take."""
    took = []
    with (folder / "probe").open("wb") as file:
        for _ in range(300):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1e3)
    return percentiles(took)


async def warm(port: int, bodies: list[bytes]) -> None:
    """Events before the measured ones, at leisure."""
    pool = Pool(port, Load())
    for body in bodies:
        await pool.post("/v1/score", body)
    pool.close()


def measure(args: argparse.Namespace, rate: float, folder: Path) -> dict[str, Any]:
    n = int(rate * args.seconds)
    warm_up = 500
    write_simulation(SimulationConfig(events=args.events + n + warm_up, seed=7, days=30), folder / "market")
    lines = [x for x in (folder / "market" / "events.jsonl").read_bytes().splitlines() if b'"type":"label"' not in x]
    loaded, rest = lines[: args.events], lines[args.events :]
    (folder / "before.jsonl").write_bytes(b"\n".join(loaded) + b"\n")
    ingest = [
        sys.executable,
        "-m",
        "ringwatch.cli",
        "ingest",
        str(folder / "before.jsonl"),
        "--data-dir",
        str(folder / "data"),
    ]
    subprocess.run([*ingest, "--json"], check=True, capture_output=True)
    settings: dict[str, object] = {"snapshot_interval_s": args.snapshot_s} if args.snapshot_s else {}
    if args.no_refit:
        (folder / "detectors.toml").write_text("[behaviour_isolation]\nrefit_days = 3650.0\n")
        settings["detectors"] = folder / "detectors.toml"
    server, port = start(folder / "data", **settings)
    try:
        asyncio.run(warm(port, rest[:warm_up]))
        before, own = cpu_s(server.pid), time.process_time()
        began = time.perf_counter()
        load = asyncio.run(open_loop(port, rest[warm_up : warm_up + n], rate, seed=11))
        wall = time.perf_counter() - began
        cpu = cpu_s(server.pid) - before
        own = time.process_time() - own
        import urllib.request

        status = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/status"))
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    return {
        "rate": rate, "refits": not args.no_refit, "requests": len(load.took_ms), "achieved_rate": round(len(load.took_ms) / max(load.ends_s), 1),
        "latency_ms": percentiles(load.took_ms), "from_send_ms": percentiles(load.service_ms),
        "generator_late_ms": percentiles(load.late_ms),
        "share_under_50_ms": round(float(np.mean(np.array(load.took_ms) < 50.0)), 5),
        "statuses": load.statuses, "connections": load.connections, "snapshot_ms": status["snapshot_ms"],
        "snapshot_stall_ms": status["snapshot_stall_ms"],
        "server_cpu_share": round(cpu / wall, 3), "generator_cpu_share": round(own / wall, 3),
        "server_cpu_us_a_request": round(cpu * 1e6 / len(load.took_ms)), "events_before": args.events + warm_up,
        "load_average_1m": round(os.getloadavg()[0], 2), "fsync_ms": fsync_ms(folder), "server_exit": code, **_micro_batches(metrics),
    }  # fmt: skip


def _micro_batches(metrics: str) -> dict[str, Any]:
    """Where a micro-batch's time went, by the server's own count."""
    sums = dict(re.findall(r'^ringwatch_stage_seconds_sum{stage="(\w+)"} (\S+)', metrics, re.M))
    counts = dict(re.findall(r'^ringwatch_stage_seconds_count{stage="(\w+)"} (\S+)', metrics, re.M))
    n = float(counts.get("batch", 1))
    stages = {stage: round(float(s) * 1e3 / n, 3) for stage, s in sums.items()}
    return {"micro_batches": int(n), "stage_ms_a_batch": dict(sorted(stages.items(), key=lambda pair: -pair[1]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, nargs="+", default=[500.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--events", type=int, default=20_000, help="events ingested before")
    parser.add_argument("--snapshot-s", type=float, default=0.0, help="another snapshot interval")
    parser.add_argument(
        "--no-refit", action="store_true", help="without fits of the isolation forest in the measured seconds"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    head, runs = machine(), []
    for rate in args.rate:
        with tempfile.TemporaryDirectory() as name:
            runs.append(measure(args, rate, Path(name)))
    text = json.dumps({"machine": head, "runs": runs}, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

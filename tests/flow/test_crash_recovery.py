"""An ingest killed at any moment and started again leaves the same ledger, state, rings and graph as one that was not."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingest.simulate.simulate import SimulationConfig, write_simulation
from ringwatch.settings import Settings
from ringwatch.wiring import open_service

EVENTS = 12_000


@pytest.fixture(scope="module")
def events_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    write_simulation(SimulationConfig(events=EVENTS, seed=5, days=20), out)
    lines = (out / "events.jsonl").read_bytes().splitlines(keepends=True)
    for at in range(500, len(lines), 1500):
        lines[at] = b'{"type": "payment", "broken": true\n'
    (out / "events.jsonl").write_bytes(b"".join(lines))
    return out / "events.jsonl"


def _command(events: Path, data: Path) -> list[str]:
    return [sys.executable, "-m", "ringwatch.cli", "ingest", str(events), "--data-dir", str(data), "--json"]


def _environment() -> dict[str, str]:
    import os

    return {
        **os.environ,
        "RINGWATCH_BATCH_EVENTS": "200",
        "RINGWATCH_SNAPSHOT_INTERVAL_S": "0.2",
        "RINGWATCH_GRAPH_BATCH_LINKS": "500",
        "RINGWATCH_MAX_ENTITIES": "50000",
    }


def _run(events: Path, data: Path) -> None:
    done = subprocess.run(_command(events, data), env=_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def contents(data: Path) -> dict[str, str]:
    """Digests of everything a run leaves behind, times of computing aside."""
    service = open_service(Settings(data_dir=data, max_entities=50_000))
    try:
        return {
            "ledger": service.pipeline.outlets.ledger.logical_digest(),  # type: ignore[attr-defined]
            "state": service.pipeline.stream.state.digest(),  # type: ignore[attr-defined]
            "rings": service.pipeline.stream.rings.digest(),  # type: ignore[union-attr]
            "graph": service.graph.logical_digest(),  # type: ignore[union-attr]
            "dead_letters": hashlib.sha256((data / "dead-letters.jsonl").read_bytes()).hexdigest(),
        }
    finally:
        service.close()


def test_killed_at_random_points_equals_undisturbed(events_file: Path, tmp_path: Path) -> None:
    _run(events_file, tmp_path / "calm")
    rng = random.Random(11)
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(
            _command(events_file, tmp_path / "killed"), env=_environment(), stdout=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=rng.uniform(2.0, 4.5))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    _run(events_file, tmp_path / "killed")
    assert kills >= 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


def test_interrupt_says_how_to_continue_and_continues(events_file: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        _command(events_file, tmp_path / "data"), env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    began = time.monotonic()
    while not any((tmp_path / "data").glob("snapshots/[0-9]*")) and time.monotonic() - began < 60:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the ingest ended before it could be interrupted")
    assert process.returncode == 130
    assert b"again" in err
    assert b"Traceback" not in err
    assert json.loads(out)["interrupted"] is True
    _run(events_file, tmp_path / "data")

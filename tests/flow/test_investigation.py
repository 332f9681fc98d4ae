"""An investigation over GraphQL alone, on one embedded process."""

from __future__ import annotations

import json
from pathlib import Path

from support.cli import ringwatch
from support.investigation import investigate
from support.served import running

from ingest.simulate.simulate import SimulationConfig, write_simulation


def test_from_the_alert_to_the_block_and_back(tmp_path: Path) -> None:
    write_simulation(SimulationConfig(events=7000, seed=31, days=10), tmp_path / "market")
    lines = (tmp_path / "market" / "events.jsonl").read_bytes().splitlines()
    events = [event for line in lines if (event := json.loads(line))["type"] != "label"]
    with running(tmp_path / "data") as server:
        investigate(server.url, events)
    verified = ringwatch("audit", "verify", "--data-dir", tmp_path / "data")
    assert verified.code == 0, verified.out

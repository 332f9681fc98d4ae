"""An investigation over GraphQL alone, on Kafka, Redis, PostgreSQL and Neo4j, with several processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.cluster import WHOLE, Cluster
from support.investigation import investigate

from ingest.simulate.simulate import SimulationConfig, write_simulation
from ringwatch.wiring import open_desk
from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]


def test_from_the_alert_to_the_block_and_back(fault_servers: Servers, folder: Path) -> None:
    write_simulation(SimulationConfig(events=7000, seed=31, days=10), folder / "market")
    lines = (folder / "market" / "events.jsonl").read_bytes().splitlines()
    events = [event for line in lines if (event := json.loads(line))["type"] != "label"]
    key_file = folder / "audit.key"
    key_file.write_text(os.urandom(32).hex())
    with Cluster(fault_servers, folder, audit_key_file=key_file) as cluster:
        cluster.start(*WHOLE)
        investigate(f"http://127.0.0.1:{cluster.ports[f'{WHOLE[0]}/0']}", events)
        desk = open_desk(cluster.settings(), shared=True)
        assert desk.verify(cluster.tenant).troubles == ()
        assert desk.head(cluster.tenant).number == 6
        desk.close()

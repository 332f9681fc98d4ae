"""An investigation over GraphQL alone, on Kafka, Redis, PostgreSQL and Neo4j, with several processes."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import httpx
import psycopg
import pytest
from support.cluster import WHOLE, Cluster
from support.investigation import investigate

from ingest.simulate.simulate import SimulationConfig, write_simulation
from ledger.personal import decode_event, erased, is_personal
from ringwatch.model import Event
from ringwatch.wiring import open_desk
from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]


def test_from_the_alert_to_the_block_and_back(fault_servers: Servers, folder: Path) -> None:
    write_simulation(SimulationConfig(events=7000, seed=31, days=10), folder / "market")
    lines = (folder / "market" / "events.jsonl").read_bytes().splitlines()
    events = [event for line in lines if (event := json.loads(line))["type"] != "label"]
    key_files = {f"{name}_key_file": folder / f"{name}.key" for name in ("audit", "personal")}
    for path in key_files.values():
        path.write_text(os.urandom(32).hex())
    with Cluster(fault_servers, folder, **key_files) as cluster:
        cluster.start(*WHOLE)
        url = f"http://127.0.0.1:{cluster.ports[f'{WHOLE[0]}/0']}"
        investigate(url, events)
        desk = open_desk(cluster.settings(), shared=True)
        assert desk.verify(cluster.tenant).troubles == ()
        assert desk.head(cluster.tenant).number == 8
        erase(cluster, url)
        assert desk.verify(cluster.tenant).troubles == ()
        desk.close()


def erase(cluster: Cluster, url: str) -> None:
    """Of the users, the one with most events; what the ledger's writer sealed is gone for everybody."""

    def told() -> list[Event]:
        chunks = cluster.ledger().replay(after_seq=-1)
        return [item for some in chunks for _, item in some if isinstance(item, Event)]

    cluster.eventually(lambda: cluster.decided() == len(cluster.decisions()), 30.0, "the ledger has all decisions")
    with psycopg.connect(cluster.env["RINGWATCH_LEDGER_URL"], password=cluster._secret("POSTGRES")) as connection:
        bodies = [row[0] for row in connection.execute("SELECT event FROM assessments")]
    before = told()
    assert not any(is_personal(decode_event(body)) for body in bodies)
    (user, _), *_ = Counter(e.user for e in before if e.user and is_personal(e)).most_common(1)
    query = 'mutation($u: String!) { erase(user: $u, reason: "request") { ... on Erasure { key events } } }'
    answer = httpx.post(f"{url}/graphql", json={"query": query, "variables": {"u": user}}, timeout=60).json()
    assert answer["data"]["erase"] == {"key": True, "events": sum(e.user == user for e in before)}
    assert told() == [erased(e) if e.user == user else e for e in before]

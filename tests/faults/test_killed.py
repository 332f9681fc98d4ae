"""Processes that end at any moment: nothing is lost, nothing counts twice, all stores are as without it."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from support.cluster import WHOLE, Cluster
from support.expected import expected

from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]
SCORER, LEDGER, GRAPH = WHOLE


def test_the_scorer_between_state_write_and_commit(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """Kafka stands still, so the state of a batch is written and its transaction cannot commit; then the scorer is killed."""
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(*WHOLE)
        cluster.send(lines[:500])
        cluster.eventually(lambda: cluster.decided() >= 500, 60, "the first 500")
        caught = 0
        for begin in range(500, 2000, 500):
            cluster.send(lines[begin : begin + 500], rate=2000)
            fault_servers.pause("kafka")
            time.sleep(1.0)
            caught += len(cluster.redis().hgetall(f"rw:{{{cluster.tenant}}}:outbox"))
            cluster.kill(SCORER)
            fault_servers.resume("kafka")
            cluster.start(SCORER, wait=False)
            cluster.eventually(lambda n=begin + 500: cluster.decided() >= n, 90, f"{begin + 500} after the kill")
        assert caught, "no batch was between its state and its commit"
        cluster.send(lines[2000:])
        cluster.await_all(len(lines))
        cluster.check_all(want)


def test_the_scorer_at_random_moments(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    rng = random.Random(3)
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(*WHOLE)
        for begin in range(0, len(lines), 500):
            cluster.send(lines[begin : begin + 500], rate=1500)
            time.sleep(rng.random())
            cluster.kill(SCORER)
            cluster.start(SCORER, wait=False)
        cluster.await_all(len(lines))
        cluster.check_all(want)


def test_the_graph_writer_in_mid_batch(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """Killed while it writes, several times; the ledger writer, too."""
    rng = random.Random(5)
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(*WHOLE)
        for begin in range(0, len(lines), 500):
            cluster.send(lines[begin : begin + 500], rate=1500)
            time.sleep(0.3 + rng.random())
            cluster.kill(GRAPH)
            cluster.kill(LEDGER)
            cluster.start(GRAPH, LEDGER, wait=False)
        cluster.await_all(len(lines))
        cluster.check_all(want)

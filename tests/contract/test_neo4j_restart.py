"""Neo4j stopped, killed and frozen while the graph is written: nothing is lost, nothing counts twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.graphs import batch, link, ref

from graph.neo4j_connection import Limits
from graph.neo4j_store import Neo4jGraph
from graph.store import GraphBatch
from ringwatch.errors import Unavailable
from ringwatch.model import BUILTIN_KINDS
from servers.launcher import Servers
from servers.process import port_is_free

pytestmark = [pytest.mark.backends, pytest.mark.slow]
D1 = ref("device", "d1")
BATCHES = 120
GIVE_UP_S = 240


@pytest.fixture(scope="module")
def servers(own_servers: Callable[..., Servers]) -> Servers:
    return own_servers("neo4j")


@pytest.fixture
def graph(servers: Servers) -> Iterator[Neo4jGraph]:
    servers.start("neo4j")
    settings = servers.settings
    password = Path(settings["RINGWATCH_NEO4J_PASSWORD_FILE"]).read_text().strip()
    limits = Limits(connect_s=2.0, write_s=5.0, read_s=5.0, retry_s=1.0)
    auth = (settings["RINGWATCH_NEO4J_USERNAME"], password)
    with closing(Neo4jGraph(settings["RINGWATCH_GRAPH_URL"], auth=auth, limits=limits)) as opened:
        opened.prepare(BUILTIN_KINDS)
        yield opened


def write_all(graph: Neo4jGraph, partition: str, written: list[int], failures: list[Unavailable]) -> None:
    """As a graph writer does: a batch that failed is applied again until it is in."""
    position = graph.applied_position(partition)
    give_up = time.monotonic() + GIVE_UP_S
    for n in range(BATCHES):
        users = [ref("user", f"{partition}-{i}") for i in range(20)]
        step = batch(position + 1 + n, *(link(user, D1, n, amount=3) for user in users))
        whole = GraphBatch(step.entities, step.links, step.position, partition)
        while time.monotonic() < give_up:
            try:
                graph.apply(whole)
                written.append(n)
                break
            except Unavailable as error:
                failures.append(error)
                time.sleep(0.2)


def restart(servers: Servers, way: str) -> None:
    """Stop or kill it, and start it on the same port again."""
    ports = [int(port) for port in servers.status()[0].ports.values()]
    getattr(servers, way)("neo4j")
    while not all(map(port_is_free, ports)):
        time.sleep(0.05)
    servers.start("neo4j")


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_restart_under_writes_loses_nothing_and_counts_nothing_twice(
    servers: Servers, graph: Neo4jGraph, way: str
) -> None:
    written: list[int] = []
    failures: list[Unavailable] = []
    writer = threading.Thread(target=write_all, args=(graph, way, written, failures))
    writer.start()
    for mark in (BATCHES // 4, BATCHES // 2):
        while writer.is_alive() and len(written) < mark:
            time.sleep(0.01)
        restart(servers, way)
    writer.join(GIVE_UP_S)
    assert len(written) == BATCHES
    assert failures
    assert all("graph query" in str(error) for error in failures)
    for user in (ref("user", f"{way}-{i}") for i in range(20)):
        (only,) = graph.neighbourhood(user, hops=1).links
        assert (only.events, only.amount_minor, only.first_seen_us, only.last_seen_us) == (
            BATCHES,
            3 * BATCHES,
            0,
            BATCHES - 1,
        )


def test_a_frozen_server_costs_a_cold_read_its_deadline_and_no_more(servers: Servers, graph: Neo4jGraph) -> None:
    graph.apply(batch(graph.applied_position() + 1, link(ref("user", "u1"), D1)))
    assert D1 in graph.cold([D1], deadline_s=5)
    servers.pause("neo4j")
    try:
        for _ in range(12):
            start = time.monotonic()
            with pytest.raises(Unavailable, match="read_cold"):
                graph.cold([D1], deadline_s=0.05)
            assert time.monotonic() - start < 0.5
    finally:
        servers.resume("neo4j")
    back = time.monotonic() + 60
    while True:
        try:
            assert D1 in graph.cold([D1], deadline_s=5)
            break
        except Unavailable:
            assert time.monotonic() < back
            time.sleep(0.2)

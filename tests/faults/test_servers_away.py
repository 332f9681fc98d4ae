"""Servers that stop, stall, forget: the service waits, says so, and goes on by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cluster import ONE, Cluster
from support.expected import expected

from features.schema import FeatureSchema
from ringwatch.access import open_shared_state
from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]


SERVERS = pytest.mark.parametrize("name", ["redis", "postgres", "kafka", "neo4j"])


def under_load(servers: Servers, lines: list[bytes], folder: Path, happens: Callable[[], None]) -> None:
    """Something happens three seconds into a stream; afterwards all stores are as without it."""
    with Cluster(servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(ONE)
        sending = threading.Thread(target=cluster.send, args=(lines,), kwargs={"rate": 250})
        sending.start()
        time.sleep(3)
        happens()
        sending.join()
        cluster.await_all(len(lines))
        cluster.await_ready()
        cluster.check_all(want)


@SERVERS
def test_a_restart_under_load(fault_servers: Servers, lines: list[bytes], folder: Path, name: str) -> None:
    def restart() -> None:
        fault_servers.stop(name)
        time.sleep(1)
        fault_servers.start(name)

    under_load(fault_servers, lines, folder, restart)


@SERVERS
def test_a_crash_under_load(fault_servers: Servers, lines: list[bytes], folder: Path, name: str) -> None:
    """SIGKILL of a server: what it acknowledged, it has."""

    def crash() -> None:
        fault_servers.kill(name)
        fault_servers.start(name)

    under_load(fault_servers, lines, folder, crash)


@SERVERS
def test_a_stall_of_the_network(fault_servers: Servers, lines: list[bytes], folder: Path, name: str) -> None:
    """Connections stand and nothing comes through, for longer than sessions last."""

    def stall() -> None:
        fault_servers.pause(name)
        time.sleep(9)
        fault_servers.resume(name)

    under_load(fault_servers, lines, folder, stall)


def test_redis_is_flushed(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """The state is rebuilt from the decisions; Kafka waits for it, HTTP answers and says what is missing."""
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(ONE)
        cluster.send(lines[:1500])
        cluster.eventually(lambda: cluster.decided() >= 1500, 90, "the first 1,500")
        cluster.redis().flushall()
        cluster.send(lines[1500:])
        cluster.await_all(len(lines))
        cluster.await_ready()
        cluster.check_all(want)


def test_http_answers_while_the_state_is_rebuilt(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """Another process is at it for five seconds and ends; then this one rebuilds."""
    with Cluster(fault_servers, folder) as cluster:
        cluster.start(ONE)
        cluster.send(lines[:1500])
        cluster.eventually(lambda: cluster.decided() >= 1500, 90, "the first 1,500")
        state = open_shared_state(cluster.settings(), FeatureSchema())
        lost = cluster.redis().pipeline()
        lost.flushall().set(state.globals.rebuild, state.format + b"another process", px=5000).execute()
        told: list[str] = []
        for line in lines[1500:1900]:
            code, answer = cluster.score(line, ONE)
            assert code in (200, 503), answer
            if code == 503:
                time.sleep(0.2)
                code, answer = cluster.score(line, ONE)
            told += answer.get("degraded", [])
        assert "state_rebuilding" in told
        cluster.await_ready()
        sent = {m.event_id for m in cluster.decisions()}
        cluster.send([line for line in lines[1500:1900] if _id(line) not in sent])
        cluster.await_all(1900)
        want = expected(lines[:1900], cluster.tenant)
        cluster.check_decisions(want, exact=False)
        cluster.check_graph(want, exact=False)


def _id(line: bytes) -> str:
    import json

    return str(json.loads(line)["event_id"])


@pytest.mark.parametrize("name", ["postgres", "kafka", "neo4j", "redis"])
def test_readiness_follows_the_stores(fault_servers: Servers, folder: Path, name: str) -> None:
    """Also while nothing is read or written; and a process that starts before its stores waits for them."""
    with Cluster(fault_servers, folder) as cluster:
        fault_servers.stop(name)
        cluster.start(ONE, wait=False)
        port = cluster.ports[f"{ONE}/0"]
        time.sleep(3)
        assert not cluster.ready_now(port)
        fault_servers.start(name)
        cluster.await_ready()
        fault_servers.pause(name)
        cluster.eventually(lambda: not cluster.ready_now(port), 40, f"not ready without {name}")
        fault_servers.resume(name)
        cluster.await_ready()


def test_the_order_of_starting_does_not_matter(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """An API before anybody made the ledger's tables answers, says that it is not ready, and is once they are there."""
    with Cluster(fault_servers, folder) as cluster:
        cluster.start("api", wait=False)
        time.sleep(3)
        assert not cluster.ready_now(cluster.ports["api/0"])
        code, answer = cluster.score(lines[0], "api")
        assert code in (200, 503), answer
        cluster.start("ledger-writer", "ring-keeper", "graph-writer")
        for line in lines[:200]:
            code, answer = cluster.score(line, "api")
            assert code == 200, answer
        cluster.await_all(200)
        want = expected(lines[:200], cluster.tenant)
        cluster.check_decisions(want, exact=False)
        cluster.check_graph(want, exact=False)

"""The four servers as containers, by testcontainers: where a Docker engine answers, and remembered in a file for all workers."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import docker
import docker.errors
import yaml

from ringwatch.errors import Unavailable
from servers.kafka_server import KafkaServer
from servers.launcher import KINDS
from servers.neo4j_server import Neo4jServer
from servers.postgres_server import PostgresServer
from servers.process import free_ports
from servers.redis_server import RedisServer
from servers.server import Place, Server, Sizing, write_private

_PASSWORD = "only-for-tests-on-loopback"
_READY_S = 240.0
_COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


def engine_answers() -> bool:
    """Whether a Docker engine answers on its socket or DOCKER_HOST, within a second."""
    where = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    unix = where.scheme == "unix"
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as link:
        link.settimeout(1.0)
        try:
            link.connect(where.path if unix else (where.hostname or "127.0.0.1", where.port or 2375))
            link.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in link.recv(64)
        except OSError:
            return False


class Containers:
    """Containers of one run; the caller holds the run's lock. They live until `down`, whichever worker started them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def up(self, name: str) -> dict[str, str]:
        """Start it unless another worker did; settings that lead to it.

        Raises Unavailable when its image cannot be had or it does not answer.
        """
        kind: Server = next(k for k in KINDS if k.name == name)()
        kept = self._folder / f"{name}.json"
        ports: dict[str, int] = json.loads(kept.read_text())["ports"] if kept.exists() else {}
        place = self._place(name, ports or dict(zip(kind.ports, free_ports(len(kind.ports)), strict=True)))
        if not ports:
            try:
                started = _start(kind, place)
            except docker.errors.DockerException as error:
                raise Unavailable(f"Docker does not run {image(name)}: {error}") from error
            write_private(kept, json.dumps({"ports": dict(place.ports), "id": started}))
        until = time.monotonic() + _READY_S
        while (trouble := kind.trouble(place, 2.0)) is not None:
            if time.monotonic() > until:
                raise Unavailable(f"the container of {name} does not answer: {trouble}")
            time.sleep(0.3)
        return dict(kind.settings(place))

    def down(self) -> None:
        for kept in self._folder.glob("*.json"):
            with suppress(docker.errors.DockerException):
                docker.from_env().containers.get(json.loads(kept.read_text())["id"]).remove(force=True, v=True)
            kept.unlink()

    def _place(self, name: str, ports: dict[str, int]) -> Place:
        secret = self._folder / f"{name}.password"
        write_private(secret, _PASSWORD)
        return Place(self._folder, ports, secret, Sizing())


def _start(kind: Server, place: Place) -> str:
    """The new container's id."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True
    container = DockerContainer(image(kind.name))
    for port, inside in zip(kind.ports, _PORTS[kind.name], strict=True):
        container.ports[f"{inside}/tcp"] = ("127.0.0.1", place.ports[port])
    for name, value in _environment(kind, place).items():
        container.with_env(name, value)
    if isinstance(kind, RedisServer):
        container.with_command(f"redis-server --requirepass {place.password} --appendonly yes --databases 256")
    container.start()
    return str(container.get_wrapped_container().id)


def image(name: str) -> str:
    """The one docker-compose.yml pins."""
    return str(yaml.safe_load(_COMPOSE.read_text())["services"][name]["image"])


_PORTS = {"redis": (6379,), "postgres": (5432,), "kafka": (9092, 9093), "neo4j": (7687, 7474)}


def _environment(kind: Server, place: Place) -> dict[str, str]:
    match kind:
        case PostgresServer():
            return {"POSTGRES_USER": "ringwatch", "POSTGRES_DB": "ringwatch", "POSTGRES_PASSWORD": place.password}
        case Neo4jServer():
            return {
                "NEO4J_AUTH": f"neo4j/{place.password}",
                "NEO4J_server_bolt_advertised__address": f"127.0.0.1:{place.ports['bolt']}",
                "NEO4J_server_memory_heap_max__size": "512m",
                "NEO4J_server_memory_pagecache_size": "256m",
            }
        case KafkaServer():
            return {
                "KAFKA_NODE_ID": "1",
                "KAFKA_PROCESS_ROLES": "broker,controller",
                "KAFKA_LISTENERS": "CLIENT://:9092,CONTROLLER://:9093",
                "KAFKA_ADVERTISED_LISTENERS": f"CLIENT://127.0.0.1:{place.ports['kafka']}",
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
                "KAFKA_INTER_BROKER_LISTENER_NAME": "CLIENT",
                "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
                "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
                "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
                "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
                "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
                "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            }
    return {}

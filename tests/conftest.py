"""Makes `tests/support` importable as `support`; the fixtures of real servers (`tests/support/backends.py` says how to use them)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from servers.launcher import Servers
from tests.support import backends as real


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        real.begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        real.end_run()


@pytest.fixture(scope="session")
def redis_server() -> real.Backend:
    return real.find("redis")


@pytest.fixture(scope="session")
def postgres_server() -> real.Backend:
    return real.find("postgres")


@pytest.fixture(scope="session")
def kafka_server() -> real.Backend:
    return real.find("kafka")


@pytest.fixture(scope="session")
def neo4j_server() -> real.Backend:
    return real.find("neo4j")


@pytest.fixture(scope="session")
def backends() -> real.Backends:
    return real.find_all()


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Callable[..., Servers]]:
    """`own_servers("redis", "kafka")`: servers of this module alone, to kill, stop, pause; gone at its end."""
    with real.private() as make:
        yield make

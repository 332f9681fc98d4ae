"""Servers of these tests alone, to kill, stop and pause."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.expected import market

from servers.launcher import Servers
from tests.support import backends as real

EVENTS = 2500


@pytest.fixture(scope="session")
def fault_servers() -> Iterator[Servers]:
    with real.private() as make:
        yield make("redis", "postgres", "kafka", "neo4j")


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return market(tmp_path_factory.mktemp("market"), EVENTS)[:EVENTS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path

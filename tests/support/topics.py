"""Topics of one test on a real broker (fixtures), and what tests do with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from bus.clients import BusSettings, consumer, producer, reached
from bus.reading import Reader
from bus.topics import Topics
from bus.transactions import Record, Transactor
from ringwatch.errors import Unavailable

PARTITIONS = 3
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def bus(kafka_server: Any) -> BusSettings:
    return BusSettings.from_url(kafka_server.settings["RINGWATCH_BUS_URL"])


@pytest.fixture(scope="module")
def client(bus: BusSettings) -> AdminClient:
    return reached(bus)


@pytest.fixture
def unmade(kafka_server: Any) -> Iterator[Topics]:
    """Names for one test."""
    with kafka_server.fresh() as prefix:
        yield Topics(prefix.rstrip("."))


@pytest.fixture
def topics(client: AdminClient, unmade: Topics) -> Topics:
    """Made for one test."""
    unmade.create(client, partitions=PARTITIONS)
    return unmade


@pytest.fixture
def closing() -> Iterator[Callable[[Reader], Reader]]:
    """Closes readers after the test."""
    readers: list[Reader] = []

    def remember(reader: Reader) -> Reader:
        readers.append(reader)
        return reader

    yield remember
    for reader in readers:
        reader.close()


def send(bus: BusSettings, topic: str, values: list[str]) -> None:
    """As a client of ours would: keyed, not in a transaction."""
    out = producer(bus)
    for value in values:
        out.produce(topic, value.encode(), f"default/{value}".encode())
    assert out.flush(10) == 0


def read(bus: BusSettings, topic: str, *, committed: bool = True) -> list[str]:
    """All there is, by a reader without a group's help."""
    client = consumer(
        bus, f"read.{uuid4().hex}", more={"isolation.level": "read_committed" if committed else "read_uncommitted"}
    )
    partitions = client.list_topics(topic, timeout=10).topics[topic].partitions
    client.assign([TopicPartition(topic, p, 0) for p in partitions])
    found, ended, until = [], set(), time.monotonic() + DEADLINE_S
    while len(ended) < len(partitions):
        assert time.monotonic() < until, f"{topic} has no end"
        for message in client.consume(500, 0.1):
            if message.error() is not None:
                ended.add(message.partition())
            else:
                found.append((message.value() or b"").decode())
    client.close()
    return found


def poll_until(reader: Reader, n: int) -> list[str]:
    """The values of the next n records."""
    found: list[str] = []
    until = time.monotonic() + DEADLINE_S
    while len(found) < n and time.monotonic() < until:
        found += [(m.value() or b"").decode() for m in reader.poll(n - len(found), 0.1)]
    return found


def pass_on(transactor: Transactor, reader: Reader, topics: Topics, records: list, *, fail: bool = False) -> None:
    def made() -> Iterator[Record]:
        for key, value in records:
            yield Record(topics.decisions, key, value)
        if fail:
            raise Unavailable("on purpose")

    offsets = reader.offsets()
    transactor.write(made(), offsets, reader.group())
    reader.done(offsets)


def wait_until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)

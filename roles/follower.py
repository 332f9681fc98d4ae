"""Consumers of what was decided: read what has gathered, write it to a store, then commit the offsets.

A store may see the same records again after a failure; each knows how to take them once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from time import perf_counter

from confluent_kafka import Message

from bus.clients import BusSettings, consumer
from bus.reading import Reader
from bus.topics import Topics
from bus.transactions import Part
from ringwatch.errors import Unavailable
from roles.role import Role

_POLL_S = 0.25


class Follower(Role):
    """`gather_s`: how long records may gather to be written together (`clients.consumer`); at most `most` of them,
    and fewer after a failure: a store that is slow may have no time for all."""

    def __init__(self, name: str, bus: BusSettings, topics: Topics, *, gather_s: float, most: int) -> None:
        super().__init__()
        self.name = name
        self.topics = topics
        self._bus = bus
        self._gather_s = gather_s
        self._most = self._now = most
        self._reader: Reader | None = None

    @abstractmethod
    def read_topics(self) -> Sequence[str]: ...

    @abstractmethod
    def write(self, messages: Sequence[Message]) -> None:
        """Into the store, whole or not at all. Raises what the store raises."""

    def on_assigned(self, parts: Sequence[Part]) -> Mapping[Part, int] | None:
        """Before records of these partitions come; they begin where the group stands."""
        return None

    def on_revoked(self, parts: Sequence[Part]) -> None:
        """Nothing is under way between two polls."""

    def on_lost(self, parts: Sequence[Part]) -> None:
        """As `on_revoked`."""

    def open(self) -> None:
        client = consumer(self._bus, self.topics.group(self.name), gather_s=self._gather_s)
        self._reader = Reader(client, list(self.read_topics()), self)

    def step(self) -> None:
        reader = self._reader
        assert reader is not None
        if self.waits(reader):
            return
        messages = reader.poll(self._now, _POLL_S)
        self.status.follow(reader)
        if not messages:
            return
        started = perf_counter()
        try:
            self.write(messages)
        except Unavailable as error:
            self._now = max(1, self._now // 2)
            self.wait(reader, error)
            return
        self._now = min(self._most, 2 * self._now)
        reader.commit()
        self.went_on()
        self.status.follow(reader)
        self.status.batch_ms = [*self.status.batch_ms[-200:], (perf_counter() - started) * 1e3]
        self.status.counts["batches"] += 1
        self.status.counts["records"] += len(messages)

    def close(self, *, drained: bool) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

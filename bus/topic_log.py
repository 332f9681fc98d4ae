"""Reading a topic from one place to its end, outside of any group."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import Generic, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from bus.clients import BusSettings, consumer, let_go
from bus.failures import explained
from bus.reading import topic_partitions
from bus.records import message_in
from ringwatch.errors import StoreAway

M = TypeVar("M")
_TIMEOUT_S = 10.0
_SILENCE_S = 30.0
_NAP_S = 0.05
_CLOCKS_US = 600_000_000
"""The brokers' clocks, by which records are found, may be so far behind ours."""


class TopicLog(Generic[M]):
    """Committed messages only. Messages of several partitions come in the order of `time_us`, which rises within each."""

    def __init__(self, bus: BusSettings, topic: str, decode: Callable[[bytes], M], time_us: Callable[[M], int]) -> None:
        self._bus = bus
        self._topic = topic
        self._decode = decode
        self._time_us = time_us

    def read(self, positions: Mapping[int, int]) -> Iterator[tuple[int, int, M]]:
        """(partition, offset, message) from the offset of each partition (from its beginning where none is given) to the end as of
        now. Raises Unavailable."""
        with self._open() as reader:
            yield from reader.read({p: positions.get(p, OFFSET_BEGINNING) for p in reader.partitions()})

    def read_since(self, since_us: int) -> Iterator[tuple[int, int, M]]:
        """From what was written at a time by our wall clock (microseconds), and some before, to the end as of now."""
        with self._open() as reader:
            yield from reader.read(reader.offsets_at(since_us - _CLOCKS_US))

    def ends(self) -> dict[int, int]:
        """partition -> next offset."""
        with self._open() as reader:
            return reader.watermarks(1)

    def missing(self, positions: Mapping[int, int]) -> int:
        """How many offsets between these (none given: the first there ever was) and the oldest that is kept are gone."""
        with self._open() as reader:
            return sum(max(0, first - positions.get(p, 0)) for p, first in reader.watermarks(0).items())

    def _open(self) -> _Open[M]:
        return _Open(self._bus, self._topic, self._decode, self._time_us)


def unended(bus: BusSettings, topics: Sequence[str], wait_s: float) -> list[tuple[str, int]]:
    """(topic, partition) where, after so long, records that stand there now are still held back from readers of committed ones: they are
    behind a transaction that has not ended. Raises Unavailable."""
    name = f"{topics[0]}.log"
    everything, committed = consumer(bus, name, more={"isolation.level": "read_uncommitted"}), consumer(bus, name)
    try:
        ends = {
            part: _end(everything, part)
            for topic in topics
            for part in ((topic, p) for p in topic_partitions(everything, topic))
        }
        until = monotonic() + wait_s
        while ends := {part: end for part, end in ends.items() if _end(committed, part) < end}:
            if monotonic() > until:
                break
            sleep(_NAP_S)
    finally:
        let_go(everything)
        let_go(committed)
    return sorted(ends)


def _end(client: Consumer, part: tuple[str, int]) -> int:
    try:
        return int(client.get_watermark_offsets(TopicPartition(*part), _TIMEOUT_S)[1])
    except KafkaException as error:
        raise explained(error, f"the end of {part[0]} cannot be asked") from None


class _Open(Generic[M]):
    def __init__(self, bus: BusSettings, topic: str, decode: Callable[[bytes], M], time_us: Callable[[M], int]) -> None:
        self._topic = topic
        self._decode = decode
        self._time_us = time_us
        self._consumer: Consumer = consumer(bus, f"{topic}.log", more={"enable.auto.commit": False})

    def __enter__(self) -> _Open[M]:
        return self

    def __exit__(self, *_: object) -> None:
        let_go(self._consumer)

    def partitions(self) -> list[int]:
        return topic_partitions(self._consumer, self._topic)

    def watermarks(self, which: int) -> dict[int, int]:
        """The oldest offset of each partition (0), or the next (1)."""
        try:
            return {
                p: self._consumer.get_watermark_offsets(TopicPartition(self._topic, p), _TIMEOUT_S)[which]
                for p in self.partitions()
            }
        except KafkaException as error:
            raise explained(error, f"the ends of {self._topic} cannot be asked") from None

    def offsets_at(self, since_us: int) -> dict[int, int]:
        asked = [TopicPartition(self._topic, p, since_us // 1000) for p in self.partitions()]
        try:
            return {tp.partition: tp.offset for tp in self._consumer.offsets_for_times(asked, _TIMEOUT_S)}
        except KafkaException as error:
            raise explained(error, f"{self._topic} cannot be asked") from None

    def read(self, offsets: Mapping[int, int]) -> Iterator[tuple[int, int, M]]:
        """K-way merge by time; a partition ends where the broker says so."""
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in offsets.items()])
        waiting: dict[int, deque[tuple[int, int, M]]] = {p: deque() for p in offsets}
        ended: set[int] = set()
        heard = monotonic()
        while waiting:
            if all(queue or p in ended for p, queue in waiting.items()):
                waiting = {p: queue for p, queue in waiting.items() if queue or p not in ended}
                if waiting:
                    first = min(waiting, key=lambda p: (self._time_us(waiting[p][0][2]), p))
                    yield waiting[first].popleft()
                continue
            for message in self._consumer.consume(500, 0.2):
                heard = monotonic()
                self._take(message, waiting, ended)
            if monotonic() - heard > _SILENCE_S:
                raise StoreAway(f"{self._topic} does not answer", hint="are the brokers up? it is tried again")

    def _take(self, message: Message, waiting: dict[int, deque[tuple[int, int, M]]], ended: set[int]) -> None:
        partition, offset, error = message.partition(), message.offset(), message.error()
        assert partition is not None
        if partition in ended:  # came after what was the end
            return
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                ended.add(partition)
                return
            raise explained(error, f"{self._topic} cannot be read")
        assert offset is not None
        if (found := message_in(message, self._decode)) is not None:
            waiting[partition].append((partition, offset, found))

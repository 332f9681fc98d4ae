"""Reading the decisions topic from one place to its end, outside of any group: to bring memory back, and to look what is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from time import monotonic

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from bus.clients import BusSettings, consumer
from bus.failures import explained
from bus.messages import DecisionMessage, LabelMessage, decode
from ingest.keeper import Keeper
from ringwatch.errors import Unavailable

Logged = tuple[int, int, DecisionMessage | LabelMessage]
"""partition, offset, message."""
_TIMEOUT_S = 10.0
_SILENCE_S = 30.0


class DecisionsLog:
    """Committed messages only. Messages of several partitions come in the order in which they were decided."""

    def __init__(self, bus: BusSettings, topic: str) -> None:
        self._bus = bus
        self._topic = topic

    def read(self, positions: Mapping[int, int]) -> Iterator[Logged]:
        """From the offset of each partition (from its beginning where none is given) to the end as of now. Raises Unavailable."""
        with _Open(self._bus, self._topic) as reader:
            yield from reader.read({p: positions.get(p, OFFSET_BEGINNING) for p in reader.partitions()})

    def read_since(self, since_us: int) -> Iterator[Logged]:
        """From what was written at a time by the wall clock (microseconds) to the end as of now."""
        with _Open(self._bus, self._topic) as reader:
            yield from reader.read(reader.offsets_at(since_us))

    def present(self, since_us: int, wanted: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of the (tenant, id) pairs have a message that was written since then; a label's id is that of its message."""
        found: set[tuple[str, str]] = set()
        with _Open(self._bus, self._topic) as reader:
            for _, _, message in reader.read(reader.offsets_at(since_us)):
                if isinstance(message, DecisionMessage):
                    found.add((message.tenant, message.event_id))
                else:
                    found.add((message.label.tenant, f"\x00label:{message.id}"))
        return found & wanted

    def ends(self) -> dict[int, int]:
        """partition -> next offset."""
        with _Open(self._bus, self._topic) as reader:
            return reader.ends()


class _Open:
    def __init__(self, bus: BusSettings, topic: str) -> None:
        self._topic = topic
        self._consumer: Consumer = consumer(bus, f"{topic}.log", more={"enable.auto.commit": False})

    def __enter__(self) -> _Open:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def partitions(self) -> list[int]:
        try:
            topic = self._consumer.list_topics(self._topic, _TIMEOUT_S).topics[self._topic]
        except KafkaException as error:
            raise explained(error, f"{self._topic} cannot be asked") from None
        if topic.error is not None:
            raise explained(topic.error, f"{self._topic} cannot be read")
        return sorted(topic.partitions)

    def ends(self) -> dict[int, int]:
        try:
            return {
                p: self._consumer.get_watermark_offsets(TopicPartition(self._topic, p), _TIMEOUT_S)[1]
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

    def read(self, offsets: Mapping[int, int]) -> Iterator[Logged]:
        """K-way merge by the time of decision; a partition ends where the broker says so."""
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in offsets.items()])
        waiting: dict[int, deque[Logged]] = {p: deque() for p in offsets}
        ended: set[int] = set()
        heard = monotonic()
        while waiting:
            if all(queue or p in ended for p, queue in waiting.items()):
                waiting = {p: queue for p, queue in waiting.items() if queue or p not in ended}
                if waiting:
                    first = min(waiting, key=lambda p: (waiting[p][0][2].decided_us, p))
                    yield waiting[first].popleft()
                continue
            for message in self._consumer.consume(500, 0.2):
                heard = monotonic()
                self._take(message, waiting, ended)
            if monotonic() - heard > _SILENCE_S:
                raise Unavailable(f"{self._topic} does not answer", hint="are the brokers up? it is tried again")

    def _take(self, message: Message, waiting: dict[int, deque[Logged]], ended: set[int]) -> None:
        partition, offset, error, raw = message.partition(), message.offset(), message.error(), message.value()
        assert partition is not None
        if partition in ended:  # came after what was the end
            return
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                ended.add(partition)
                return
            raise explained(error, f"{self._topic} cannot be read")
        assert offset is not None
        if raw is not None:
            waiting[partition].append((partition, offset, decode(raw)))


def batches(log: Iterator[Logged], most: int = 500) -> Iterator[list[Logged]]:
    batch: list[Logged] = []
    for logged in log:
        batch.append(logged)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def bring_back(
    keeper: Keeper, log: DecisionsLog, until: Mapping[int, int] | None = None, note: Callable[[], None] = lambda: None
) -> int:
    """The keeper's memory as of the end of the topic, or of the next offsets `until`: its newest snapshot, and what was decided
    since. Returns how many messages that was. `note` is called on the way."""
    keeper.restore()
    note()
    n = 0
    for batch in batches(log.read(keeper.positions)):
        mine = [(p, offset, m) for p, offset, m in batch if until is None or offset < until.get(p, 0)]
        keeper.follow([message for _, _, message in mine])
        keeper.positions |= {partition: offset + 1 for partition, offset, _ in mine}
        note()
        n += len(mine)
    return n

"""Consume, process, produce in one transaction: either the records and the offsets are there, or neither is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from bus.clients import BusSettings, producer
from bus.failures import error_of, explained, is_fatal, retried
from ringwatch.begun import begun
from ringwatch.errors import Conflict, RingwatchError, Unavailable

log = logging.getLogger("ringwatch.kafka")
Part = tuple[str, int]
"""(topic, partition)"""
Delivered = Callable[[KafkaError | None, Message], None]
_NOTHING = b"nothing"
"""Key of records that only end a transaction: compacted topics want one."""
_ROOM_S = 0.01
_GRACE_S = 5.0


class Record(NamedTuple):
    topic: str
    key: bytes
    value: bytes


class Transactor:
    """One transaction after the other, from one thread.

    With several producers they take turns: a transaction then begins while the markers of the one before are still being
    written, which a single producer has to wait for. Each needs a transactional id of its own that is the same after a
    restart: `start` fences whoever had them before, and aborts what was left open.
    """

    def __init__(
        self,
        *producers: Producer,
        timeout_s: float = 10.0,
        delivered: Delivered = lambda error, message: None,
        aborted_on: Sequence[set[Part]] = (),
    ) -> None:
        """`delivered` is told of each record; `aborted_on`: as those had it who had the same ids before."""
        self._producers = producers
        self._delivered = delivered
        self._wrote: list[set[Part]] = [set() for _ in producers]
        self.aborted_on = [set(parts) for parts in aborted_on] or [set[Part]() for _ in producers]
        """Of each producer, partitions where what it wrote last was aborted for certain."""
        self._timeout_s = timeout_s
        self._turn = 0
        self.committed = 0
        self.aborted = 0
        self.broken = False
        """Fenced, or in a state that only new producers leave."""
        self._stuck = False

    @classmethod
    def of(
        cls,
        settings: BusSettings,
        transactional_id: str,
        *,
        turns: int = 2,
        delivered: Delivered = lambda error, message: None,
        aborted_on: Sequence[set[Part]] = (),
    ) -> Transactor:
        """With producers of its own, `ID.0`, `ID.1`, ..."""
        ids = (f"{transactional_id}.{n}" for n in range(turns))
        made = (producer(settings, transactional_id=name) for name in ids)
        return cls(*made, delivered=delivered, aborted_on=aborted_on)

    def start(self) -> None:
        """Take the transactional ids. Call before the consumer asks for its committed offsets. Raises Unavailable, Denied."""
        for mine in self._producers:
            self._retried(lambda: mine.init_transactions(self._timeout_s), "the transactional id cannot be taken")  # noqa: B023

    def write(self, records: Iterable[Record], offsets: Mapping[Part, int] | None = None, group: Any = None) -> None:
        """The records, and `offsets` (next to be read) for the group of `Reader.group()`, or nothing.

        Raises Conflict when another process took over: this one must stop. After any other error nothing was written; the
        caller rewinds its reader to where the group stands and may try the same again, unless `broken`.
        """
        if self.broken:
            raise Conflict("the producers were given up", hint="make new ones")
        # Calls of librdkafka have time limits, and some do not return after a broker's restart none the less (seen in
        # send_offsets_to_transaction of 2.16): then these producers are left alone, and others made with their ids fence them.
        coming = begun(lambda: self._write(records, offsets, group), "transaction")
        try:
            coming.result(2 * self._timeout_s + _GRACE_S)
        except TimeoutError:
            self.broken = self._stuck = True
            raise Unavailable("a transaction does not end", hint="it is tried again with new producers") from None

    def _write(self, records: Iterable[Record], offsets: Mapping[Part, int] | None, group: Any) -> None:
        at, turn = self._turn, self._producers[self._turn]
        self._turn = (self._turn + 1) % len(self._producers)
        wrote = self._wrote[at] = set()
        committing = done = False
        try:
            self._retried(turn.begin_transaction, "a transaction cannot begin")
            for record in records:
                self._produce(at, record)
            if offsets:
                parts = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
                self._retried(
                    lambda: turn.send_offsets_to_transaction(parts, group, self._timeout_s),
                    "the offsets cannot join the transaction",
                )
            committing = True
            self._retried(lambda: turn.commit_transaction(self._timeout_s), "the transaction cannot be committed")
            done = True
        finally:
            self.committed += done
            if not done:
                self._abort(turn)
            if committing:  # and whatever came of it, it may have been committed
                self.aborted_on[at] -= wrote
            else:
                self.aborted_on[at] |= wrote

    def end_forgotten(self, parts: Sequence[Part], group: Any) -> None:
        """Call after `start`, with partitions where records stand behind a transaction that has not ended; `group` of a consumer.

        A broker that ends a transaction while a partition has no leader (it stops, or it was fenced) leaves the marker of that partition
        out and takes the transaction for complete (TransactionMarkerChannelManager of 4.3: "likely deleted already and hence can be
        skipped"). Readers then wait there for good, and the next marker of the same producer ends it, which may be the wrong one: what was
        aborted would be seen. So each producer writes a marker now, by transactions of records without a value, which say nothing: to
        abort where its last records were aborted for certain, else to commit, as its next one would. Raises Unavailable.
        """
        coming = begun(lambda: self._end_forgotten(parts, group), "markers")
        try:
            coming.result(4 * self._timeout_s)
        except TimeoutError:
            self.broken = self._stuck = True
            raise Unavailable("markers cannot be written", hint="it is tried again with new producers") from None

    def _end_forgotten(self, parts: Sequence[Part], group: Any) -> None:
        for at, aborted in enumerate(self.aborted_on):
            self._mark(at, [part for part in parts if part not in aborted], None)
            self._mark(at, [part for part in parts if part in aborted], group)

    def _mark(self, at: int, parts: Sequence[Part], group: Any) -> None:
        """To commit, or with `group` to abort: then with an offset of it in a topic that it does not read, since offsets may hang, too."""
        if not parts:
            return
        turn = self._producers[at]
        self._retried(turn.begin_transaction, "a transaction cannot begin")
        for topic, partition in parts:
            turn.produce(topic, None, _NOTHING, partition)
        if group is None:
            self._retried(lambda: turn.commit_transaction(self._timeout_s), "the transaction cannot be committed")
            return
        if turn.flush(self._timeout_s):  # the marker goes to partitions that were written to
            raise Unavailable("no broker takes a record", hint="are the brokers up?")
        nowhere = [TopicPartition(*parts[0], 0)]
        self._retried(
            lambda: turn.send_offsets_to_transaction(nowhere, group, self._timeout_s), "an offset cannot join it"
        )
        self._retried(lambda: turn.abort_transaction(self._timeout_s), "the transaction cannot be aborted")

    def _produce(self, at: int, record: Record) -> None:
        turn, wrote = self._producers[at], self._wrote[at]

        def told(error: KafkaError | None, message: Message) -> None:
            topic, partition = message.topic(), message.partition()
            if error is None and topic is not None and partition is not None:
                wrote.add((topic, partition))
            self._delivered(error, message)

        until = monotonic() + self._timeout_s
        while True:
            try:
                turn.produce(record.topic, record.value, record.key, on_delivery=told)
                return
            except BufferError:
                if monotonic() > until:
                    raise Unavailable("records wait to be sent and none goes out", hint="are the brokers up?") from None
                turn.poll(_ROOM_S)
            except KafkaException as error:
                self.broken |= is_fatal(error_of(error))
                raise explained(error, f"{record.topic} takes no record") from None

    def _retried(self, call: Callable[[], object], what: str) -> None:
        """As `retried`; notes an error that nothing but new producers mends."""

        def noted() -> None:
            try:
                call()
            except KafkaException as error:
                self.broken |= is_fatal(error_of(error))
                raise

        retried(noted, what, self._timeout_s)

    def _abort(self, turn: Producer) -> None:
        """Leaves `broken` true where even that does not go."""
        self.aborted += 1
        if self.broken:
            return
        try:
            self._retried(lambda: turn.abort_transaction(self._timeout_s), "the transaction cannot be aborted")
        except RingwatchError as error:
            self.broken = True
            log.error("%s", error)

    def close(self, timeout_s: float = 2.0) -> None:
        """Drop what was not committed. Raises nothing."""
        if self._stuck:
            return
        for p in self._producers:
            p.purge()
            p.flush(timeout_s)

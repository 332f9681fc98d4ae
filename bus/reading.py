"""The poll loop that all roles share: batches of records, and what happens when partitions come and go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Protocol

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message, TopicPartition

from bus.clients import let_go
from bus.failures import explained, is_fatal, retried
from bus.transactions import Part
from ringwatch.errors import Conflict, Corrupt, RingwatchError, ServerDenied, Unavailable

log = logging.getLogger("ringwatch.kafka")
_TIMEOUT_S = 10.0
_QUIET_S, _DEAF_S, _ASK_S = 10.0, 25.0, 3.0
PENDING_S = 25.0
"""Longer than a transaction may take (10 s, `clients.producer`) and until the broker has looked (every 10 s)."""


class Listener(Protocol):
    """What a role does when partitions move. Called within `poll` and `close`; what it raises comes out there."""

    def on_assigned(self, parts: Sequence[Part]) -> Mapping[Part, int] | None:
        """Before the first record of these partitions. Offsets to begin at; those not named begin where the group stands."""

    def on_revoked(self, parts: Sequence[Part]) -> None:
        """Before another member gets them: the last chance to commit what was polled. Nothing more of them is polled."""

    def on_lost(self, parts: Sequence[Part]) -> None:
        """Another member may have them already: drop what was polled and not committed."""


class Reader:
    """Records of the topics, for one member of a group. Not thread-safe.

    A broker that stood still may name no brokers for a moment, itself neither; librdkafka then forgets all that it knew and asks nobody
    any more (its issue 5301). So a client that hears nothing for a while asks, and where no answer comes it is given up: `poll` raises.

    Within a partition records come in order, each once, from where the group stands; after `rewind` again from there.
    A record is done when the offset after it was committed, in a transaction (`Transactor.write`, then `done`) or by `commit`.
    """

    def __init__(
        self,
        consumer: Consumer,
        topics: Sequence[str],
        listener: Listener | None = None,
        settled: Callable[[list[TopicPartition]], list[TopicPartition]] | None = None,
    ) -> None:
        """`settled`: what the group committed, transactions that have not ended aside (`clients.settled_offsets`)."""
        self._settled = settled
        self._consumer = consumer
        self._listener = listener
        self._topics = tuple(topics)
        self._next: dict[Part, int] = {}
        self._done: dict[Part, int] = {}
        self._in_hand: dict[Part, int] = {}
        """First record polled and not done."""
        self._heard = monotonic()
        self._astray = False
        """What is fetched next is not what `poll` is to return next."""
        self.paused = False
        self.rebalances = {"assigned": 0, "revoked": 0, "lost": 0}
        """Times that partitions came or went."""
        self.skipped: dict[Part, int] = {}
        """Records that were deleted (retention) before the group had read them."""
        self.trouble = ""
        """What the brokers last said was wrong; empty since records came again."""
        self._join()

    def _join(self) -> None:
        on = {"on_assign": self._assigned, "on_revoke": self._revoked, "on_lost": self._lost}
        try:
            self._consumer.subscribe(list(self._topics), **on)
        except KafkaException as error:
            raise explained(error, f"{', '.join(self._topics)} cannot be read") from None

    @property
    def parts(self) -> list[Part]:
        """What this member has now."""
        return sorted(self._next)

    def poll(self, most: int, wait_s: float) -> list[Message]:
        """Up to `most` records: what is there, else the first that comes within `wait_s`.

        While paused none, and the membership is kept. To be called at least every two minutes. Raises ServerDenied and Corrupt,
        Conflict when another process took over, and Unavailable when no broker has answered for long; `trouble` tells it before.
        """
        if self._astray:
            self._seek()
        self._astray = True
        try:
            found = self._consumer.poll(wait_s)
            got = [] if found is None else [found]
            if got and most > 1:
                got += self._consumer.consume(most - 1, 0)
        except KafkaException as error:
            raise explained(error, "records cannot be read") from None
        records = self._taken(got)
        self._astray = False
        if monotonic() - self._heard > _QUIET_S:
            self._listen()
        return records

    def _listen(self) -> None:
        """Whether brokers answer this client at all. Raises Unavailable when they have not for too long."""
        try:
            self._consumer.list_topics(self._topics[0], _ASK_S)
        except KafkaException as error:
            if monotonic() - self._heard > _DEAF_S:
                raise explained(error, "no broker answers this client") from None
        else:
            self._heard = monotonic()

    def _taken(self, got: Iterable[Message]) -> list[Message]:
        """The records among them, in order and of partitions this member still has. Raises ServerDenied and Corrupt."""
        records = []
        for message in got:
            part = message.topic(), message.partition()
            error = message.error()
            offset = message.offset()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                self._report(error, part)
                continue
            self._heard = monotonic()
            if error is not None:
                if part in self._next and offset is not None:
                    # Past the markers of transactions, which are no records.
                    self._next[part] = max(self._next[part], offset)
                continue
            if part in self._next and offset is not None and offset >= self._next[part]:
                self._done.setdefault(part, offset)
                self._in_hand.setdefault(part, offset)
                self._next[part] = offset + 1
                records.append(message)
        if records:
            self.trouble = ""
        return records

    def _report(self, error: KafkaError, part: tuple[str | None, int | None]) -> None:
        where = f"{part[0]}/{part[1]}" if part[0] else "the brokers"
        found = explained(error, f"{where} cannot be read")
        self.trouble = str(found)
        if isinstance(found, ServerDenied | Corrupt | Conflict) or is_fatal(error):
            raise found
        log.warning("%s", found)

    def offsets(self) -> dict[Part, int]:
        """Where the next records are, of partitions that moved since they were last done: what a transaction commits."""
        return {part: offset for part, offset in self._next.items() if offset >= 0 and offset != self._done.get(part)}

    def group(self) -> object:
        """Who this member is, for `Transactor.write`."""
        return self._consumer.consumer_group_metadata()

    def done(self, offsets: Mapping[Part, int]) -> None:
        """These offsets were committed in a transaction."""
        self._done.update((part, offset) for part, offset in offsets.items() if part in self._next)
        for part, offset in offsets.items():
            if self._in_hand.get(part, offset) < offset:
                del self._in_hand[part]

    def commit(self, offsets: Mapping[Part, int] | None = None) -> None:
        """Commit offsets by themselves (`offsets()` if none are given), and wait for it. Raises Unavailable, Conflict."""
        wanted = {p: o for p, o in (self.offsets() if offsets is None else offsets).items() if p in self._next}
        if not wanted:
            return
        try:
            self._consumer.commit(offsets=_listed(wanted), asynchronous=False)
        except KafkaException as error:
            raise explained(error, "the offsets cannot be committed") from None
        self.done(wanted)

    def rewind(self) -> None:
        """Go back to where everything is done: what was polled since comes again."""
        back = {part: offset for part, offset in self._done.items() if part in self._next}
        self._next.update(back)
        self._in_hand.clear()
        self._astray = True

    def pause(self) -> None:
        """No more records until `resume`; `poll` must go on."""
        if not self.paused:
            self.paused = True
            self._consumer.pause(_listed(dict.fromkeys(self._next, OFFSET_STORED)))

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self._consumer.resume(_listed(dict.fromkeys(self._next, OFFSET_STORED)))

    def lag(self) -> dict[Part, int]:
        """Records there are beyond what is done, as of the last fetch."""
        found = {}
        for (topic, partition), read in self._next.items():
            offset = self._in_hand.get((topic, partition), read)
            _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            found[topic, partition] = max(0, end - offset) if end >= 0 and offset >= 0 else 0
        return found

    def close(self) -> None:
        """Leave the group (a static member does not: it may come back); `on_revoked` is called for what this member has."""
        let_go(self._consumer)
        self._listener = None

    def _seek(self) -> None:
        for part in _listed({part: offset for part, offset in self._next.items() if offset >= 0}):
            try:
                self._consumer.seek(part)
            except KafkaException as error:
                raise explained(error, f"{part.topic}/{part.partition} cannot be rewound") from None

    def _assigned(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        parts = [(p.topic, p.partition) for p in given]
        self.rebalances["assigned"] += bool(parts)
        log.info("assigned: %s", _told(parts))
        starts = self._stored(parts)
        if self._listener is not None and (wanted := self._listener.on_assigned(parts)):
            starts |= {part: offset for part, offset in wanted.items() if part in starts}
        self._next |= starts
        self._done |= {part: offset for part, offset in starts.items() if offset >= 0}
        consumer.incremental_assign(_listed(starts))
        if self.paused and parts:
            consumer.pause(_listed(dict.fromkeys(parts, OFFSET_STORED)))

    def _stored(self, parts: Sequence[Part]) -> dict[Part, int]:
        """As `_standing`; left to librdkafka where it cannot be asked."""
        try:
            return self._standing(parts)
        except RingwatchError as error:
            log.warning("%s", error)
            return dict.fromkeys(parts, OFFSET_STORED)

    def _standing(self, parts: Sequence[Part]) -> dict[Part, int]:
        """Where the group stands: its committed offset, else that of the oldest record. Raises Unavailable, ServerDenied."""
        what, starts = "the committed offsets cannot be asked", {}
        asked = _listed(dict.fromkeys(parts, OFFSET_STORED))
        found = self._committed(asked, what) if asked else []
        for stored in found:
            if stored.error is not None:
                raise explained(stored.error, what)
            part = stored.topic, stored.partition
            first = retried(lambda: self._consumer.get_watermark_offsets(stored, _TIMEOUT_S), what, _TIMEOUT_S)[0]  # noqa: B023
            if 0 <= stored.offset < first:
                self.skipped[part] = self.skipped.get(part, 0) + first - stored.offset
                log.error("%s/%d: %d records were deleted unread", *part, first - stored.offset)
            starts[part] = max(stored.offset, first)
        return starts

    def _committed(self, asked: list[TopicPartition], what: str) -> list[TopicPartition]:
        """What the group committed. Offsets of a transaction that has not ended hold the answer back. One that the broker lost track of
        (seen after restarts of a broker) holds it back for good: past the time a transaction may take, what was committed before counts."""
        try:
            return retried(lambda: self._consumer.committed(asked, timeout=PENDING_S), what, PENDING_S)
        except Unavailable as error:
            if self._settled is None:
                raise
            log.warning("%s; what was committed before the pending transaction counts", error)
            settled = self._settled
            return retried(lambda: settled(asked), what, _TIMEOUT_S)

    def _revoked(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        self._leave(consumer, given, "revoked")

    def _lost(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        self._leave(consumer, given, "lost")

    def _leave(self, consumer: Consumer, given: list[TopicPartition], how: str) -> None:
        parts = self._known(given)
        self.rebalances[how] += bool(parts)
        log.log(logging.WARNING if how == "lost" else logging.INFO, "%s: %s", how, _told(parts))
        try:
            if self._listener is not None:
                (self._listener.on_lost if how == "lost" else self._listener.on_revoked)(parts)
        finally:
            self._forget(consumer, given)

    def _known(self, given: Iterable[TopicPartition]) -> list[Part]:
        return [part for p in given if (part := (p.topic, p.partition)) in self._next]

    def _forget(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        for p in given:
            self._next.pop((p.topic, p.partition), None)
            self._done.pop((p.topic, p.partition), None)
            self._in_hand.pop((p.topic, p.partition), None)
        consumer.incremental_unassign(given)


def topic_partitions(consumer: Consumer, topic: str) -> list[int]:
    """Of one topic, as the brokers say. Raises Unavailable, ServerDenied."""
    try:
        found = consumer.list_topics(topic, _TIMEOUT_S).topics[topic]
    except KafkaException as error:
        raise explained(error, f"{topic} cannot be asked") from None
    if found.error is not None:
        raise explained(found.error, f"{topic} cannot be read")
    return sorted(found.partitions)


def _listed(offsets: Mapping[Part, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in sorted(offsets.items())]


def _told(parts: Iterable[Part]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in sorted(parts)) or "nothing"

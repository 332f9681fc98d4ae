"""The scorer: records of a topic in, decisions out, in one Kafka transaction with the offsets they were read at.

The state is written before the transaction commits. A process that ends in between reads the same records again, and the state gives
back what was decided: the same decisions go out, once.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic, perf_counter, sleep

from confluent_kafka import Consumer, KafkaError, Message

from bus.clients import BusSettings, consumer, let_go, reached, settled_offsets
from bus.reading import PENDING_S, Reader
from bus.topics import Topics
from bus.transactions import Part, Record, Transactor
from features.columns import Applied, ResolvedLabel
from ingest.file_source import safe_bytes
from ingest.shared_scoring import SharedScoring
from ringwatch.errors import StoreAway, Unavailable
from ringwatch.model import Event, Label, Refusal
from roles.forgotten import end_forgotten, told
from roles.outgoing import dead_letters, decided, ring_messages
from roles.role import Pace, Role
from roles.taking import TopicIntake

log = logging.getLogger("ringwatch.roles")
EVENTS, LABELS = "scorer", "labels"
"""The two of them: one reads events, one labels."""
Resolve = Callable[[Sequence[Label]], Sequence[Mapping[str, str] | None]]
"""Labels -> the entities each is about (kind -> id); None for an event nobody knows."""
_POLL_S = 0.25
LABEL_WAIT_S = 120.0
"""A label may come before its event is in the ledger: so long it is waited for, from when it is first seen."""
_KEPT_BATCHES = 200
_LAG_S, _TELL_S = 0.5, 1.0
PACE_S = 0.015
"""Batches begin that long after each other at least: a transaction costs the same for one event and for twenty."""
_GATHER_S = 0.01
"""Records gather at the brokers that long: an answer for every one of them would cost the brokers more than reading them."""
PRODUCERS = 2
"""Transactions in turn: one begins while the markers of the one before are written."""


@dataclass(frozen=True, slots=True)
class Taking:
    """What a scorer reads, and as whom."""

    name: str
    """Of the role; also of its consumer group and its transactions."""
    topics: Sequence[str]
    instance: str
    batch_events: int
    features_share: float


class ScorerRole(Role):
    """`intake` reads events, or labels, which `resolve` tells the entities of."""

    def __init__(
        self,
        taking: Taking,
        scoring: SharedScoring,
        bus: BusSettings,
        topics: Topics,
        intake: TopicIntake,
        resolve: Resolve,
    ) -> None:
        super().__init__()
        self.name = taking.name
        self._taking = taking
        self._scoring = scoring
        self._bus = bus
        self._topics = topics
        self._intake = intake
        self._resolve = resolve
        self._reader: Reader | None = None
        self._transactor: Transactor | None = None
        self._client: Consumer | None = None
        self._aborted_on: list[set[Part]] = []
        self._held_since: float | None = None
        """Since when records are held back behind a transaction that is not ours."""
        self._placed: dict[int, int] = {}
        self._began = 0.0
        self._unknown_since: dict[tuple[str, int, int], float] = {}
        self._telling = Pace(_TELL_S)
        self._unsettled: set[Part] = set()
        self._lag_pace = Pace(_LAG_S)
        self._going_out = False
        """A batch is in its transaction: what fails there has the clients made anew, since the brokers may have lost them."""

    def open(self) -> None:
        self._topics.check(reached(self._bus))
        group = self._topics.group(self.name)
        member = f"{group}.{self._taking.instance}"
        self._placed, self._going_out = {}, False
        self._transactor = Transactor.of(
            self._bus, member, turns=PRODUCERS, delivered=self._delivered, aborted_on=self._aborted_on
        )
        self._transactor.start()
        self._client = consumer(self._bus, group, gather_s=_GATHER_S)
        self._end_forgotten(self._transactor)
        self._scoring.sure(self.name)
        with self._scoring.lock:
            self._scoring.ready()  # a long replay must not happen between two polls
        self._reader = Reader(self._client, list(self._taking.topics), self, settled_offsets(self._bus, group))

    def _end_forgotten(self, transactor: Transactor) -> None:
        """Memory is brought back from what can be read, so all of it must be readable; others have some time to end theirs."""
        topics, keeps = self._topics, self._scoring.keeper is not None
        written = [topics.decisions, topics.features, topics.dlq, *((topics.alerts, topics.rings) if keeps else ())]
        assert self._client is not None
        held = end_forgotten(self._bus, written, transactor, self._client.consumer_group_metadata())
        if not held or not keeps:
            self._held_since = None
            return
        self._held_since = self._held_since or monotonic()
        if monotonic() - self._held_since < PENDING_S:
            where = told(held)
            raise StoreAway(
                f"records on {where} are held back by a transaction that has not ended", hint="it is waited for"
            )
        log.error("%s: records on %s are held back: who else writes there in transactions?", self.name, told(held))

    def on_assigned(self, parts: Sequence[Part]) -> Mapping[Part, int] | None:
        """They begin where the group stands; what whoever had them did not settle is settled with the first records."""
        self._unsettled |= set(parts)
        return None

    def on_revoked(self, parts: Sequence[Part]) -> None:
        """Nothing is under way between two polls."""
        gone = set(parts)
        self._unknown_since = {at: since for at, since in self._unknown_since.items() if at[:2] not in gone}

    def on_lost(self, parts: Sequence[Part]) -> None:
        """As `on_revoked`."""
        self.on_revoked(parts)

    def step(self) -> None:
        assert self._reader is not None
        assert self._transactor is not None
        if self.waits(self._reader):
            return
        messages = self._reader.poll(self._taking.batch_events, _POLL_S)
        left_s = self._began + PACE_S - monotonic()
        if messages and left_s > 0.0 and len(messages) < self._taking.batch_events:
            sleep(left_s)
            messages += self._reader.poll(self._taking.batch_events - len(messages), 0.0)
            mine = set(self._reader.parts)  # those that moved meanwhile are their next owner's
            messages = [m for m in messages if (m.topic(), m.partition()) in mine]
        self._began = monotonic()
        if self._lag_pace.due():
            self.status.follow(self._reader)
        if messages:
            try:
                self._batch(messages)
                self.went_on()
            except Unavailable as error:
                if self._going_out:
                    raise
                self.wait(self._reader, error)
        if self.name == EVENTS and self._scoring.keeper is not None and self._telling.due():
            self._tell_rings()
        self._scoring.snapshot()

    def _tell_rings(self) -> None:
        """Rings kept here that changed, to their topic."""
        assert self._transactor is not None
        with self._scoring.lock:
            changes = self._scoring.changed_rings()
        rings = ring_messages(self._topics, changes, time.time_ns() // 1000)
        if not rings:
            return
        try:
            self._transactor.write(itertools.starmap(Record, rings))
        except BaseException:
            with self._scoring.lock:
                self._scoring.tell_again()
            raise
        self.status.counts["rings_told"] += len(rings)

    def concern(self) -> str:
        """Of the learned models."""
        return self._scoring.stream.assessor.book.trouble

    def close(self, *, drained: bool) -> None:
        reader, transactor = self._reader, self._transactor
        self._reader = self._transactor = None
        client, self._client = self._client, None
        self._aborted_on = self._aborted_on if transactor is None else transactor.aborted_on
        with ExitStack() as closing:
            if transactor is not None:
                closing.callback(transactor.close)
            if reader is not None:
                closing.callback(reader.close)
            elif client is not None:
                closing.callback(let_go, client)

    def _batch(self, messages: Sequence[Message]) -> None:
        assert self._reader is not None
        assert self._transactor is not None
        started = perf_counter()
        if self._unsettled:
            self._settle_before(messages)
        items, origins, refused, whole = self._taken(messages)
        held_up, messages = len(messages) - whole, messages[:whole]
        scored = self._scoring.score(items, origins, patient=True)
        scored_at = perf_counter()
        self._going_out = True
        try:
            raw = {f"{m.topic()}/{m.partition()}/{m.offset()}": m.value() or b"" for m in messages}
            refused += [(_tenant(items[i]), _conflict(items[i], origins[i].decode(), raw)) for i in scored.conflicts]
            now_us = time.time_ns() // 1000
            out = decided(self._topics, scored, self._taking.features_share, now_us)
            out += dead_letters(self._topics, refused, now_us)
            offsets = self._reader.offsets() if not held_up else _after(messages)
            self._transactor.write(itertools.starmap(Record, out), offsets, self._reader.group())
        except BaseException:
            self._scoring.failed(unsure=self.name)
            raise
        self._reader.done(offsets)
        if held_up:
            self._reader.rewind()
        self._going_out = False
        self._scoring.ended(self._placed)
        for message in messages:
            self._unknown_since.pop(_place(message), None)
        ended = perf_counter()
        self._scoring.settle(scored, keep=False)
        self._count(len(scored.messages), scored.duplicates, len(refused), scored.conflicted)
        timings = (scored_at - started) * 1e3, (ended - scored_at) * 1e3, (perf_counter() - ended) * 1e3
        self.status.batch_ms = [*self.status.batch_ms[-_KEPT_BATCHES:], sum(timings)]
        for stage, ms in zip(("score", "commit", "settle"), timings, strict=True):
            self.status.counts[f"{stage}_us"] += int(ms * 1e3)

    def _settle_before(self, messages: Sequence[Message]) -> None:
        """Decisions of records that are read no more: their transaction committed, and their scorer ended before it said so."""
        first: dict[str, int] = {}
        for message in messages:
            topic, partition, offset = _place(message)
            if (topic, partition) in self._unsettled:
                first.setdefault(f"{topic}/{partition}", offset)
        state = self._scoring.state
        for tenant in {self._intake.tenant(topic) for topic in self._taking.topics}:
            done = []
            for left in state.unsettled(tenant):
                place, _, at = left.origin.decode().rpartition("/")
                if place in first and int(at) < first[place]:
                    done.append(left.id)
            state.settle(tenant, done, keep=False)
        self._unsettled -= {(m.topic() or "", m.partition() or 0) for m in messages}

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """Where decisions came to stand; told while the transaction commits."""
        partition, offset = message.partition(), message.offset()
        if error is None and message.topic() == self._topics.decisions and partition is not None and offset is not None:
            self._placed[partition] = offset + 1

    def _taken(self, messages: Sequence[Message]) -> tuple[list[Applied], list[bytes], list[tuple[str, Refusal]], int]:
        """Items with where each came from, what is refused with its tenant, and how many messages that are: those before the first label
        whose event is waited for. Raises Unavailable where that is the first of all."""
        taken = [(self._intake.take(*_place(message), message.value()), message) for message in messages]
        labels = [item for item, _ in taken if isinstance(item, Label)]
        resolved = iter(self._resolve(labels) if labels else ())
        applied: list[Applied] = []
        origins: list[bytes] = []
        refused: list[tuple[str, Refusal]] = []
        whole = len(messages)
        for number, (item, message) in enumerate(taken):
            entities = next(resolved) if isinstance(item, Label) else None
            unknown = isinstance(item, Label) and entities is None
            if unknown and self._waits_for(message):
                whole = min(whole, number)
            if number >= whole:
                continue
            topic, partition, offset = _place(message)
            if isinstance(item, Refusal):
                refused.append((self._intake.tenant(topic), item))
            elif isinstance(item, Label) and entities is None:
                reason = f"label of unknown event {item.target_id!r}: send the event before its label"
                why = Refusal(reason, f"{topic}/{partition}", offset, message.value() or b"", "unknown_event")
                refused.append((item.tenant, why))
            else:
                applied.append(item if isinstance(item, Event) else ResolvedLabel(item, dict(entities or {})))
                origins.append(f"{topic}/{partition}/{offset}".encode())
        if not whole:
            raise Unavailable("the event of a label is not in the ledger yet", hint="it is waited for")
        return applied, origins, refused, whole

    def _waits_for(self, message: Message) -> bool:
        """Whether the label of an unknown event is young enough to be waited for, from when it was first seen."""
        first = self._unknown_since.setdefault(_place(message), monotonic())
        return monotonic() - first < LABEL_WAIT_S

    def _count(self, messages: int, duplicates: int, refused: int, conflicted: int) -> None:
        counts = self.status.counts
        counts["batches"] += 1
        counts["decided"] += messages
        counts["duplicates"] += duplicates
        counts["refused"] += refused
        counts["conflicts"] += conflicted


def _place(message: Message) -> tuple[str, int, int]:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return topic, partition, offset


def _after(messages: Sequence[Message]) -> dict[Part, int]:
    """Where reading goes on after them."""
    return {(topic, partition): offset + 1 for topic, partition, offset in map(_place, messages)}


def _tenant(item: Applied) -> str:
    return item.tenant if isinstance(item, Event) else item.label.tenant


def _conflict(item: Applied, origin: str, raw: Mapping[str, bytes]) -> Refusal:
    topic, partition, offset = origin.rsplit("/", 2)
    id_ = item.event_id if isinstance(item, Event) else item.label.target_id
    reason = f"event id {id_!r} was seen before with another content"
    return Refusal(reason, f"{topic}/{partition}", int(offset), safe_bytes(raw[origin], "conflict"), "conflict")

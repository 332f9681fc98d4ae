"""The ring keeper behind several scorers: follows the decisions, keeps rings, learners and alert groups, and tells the others.

One at a time: the one that started last fences the one before.
"""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from confluent_kafka import Message

from bus.alone import AloneReader
from bus.clients import BusSettings, consumer, settled_offsets
from bus.messages import DecisionMessage, LabelMessage, decode
from bus.records import message_in
from bus.topics import Topics
from bus.transactions import Part, Record, Transactor
from features.redis_state import RedisState
from ingest.keeper import Keeper
from rings.published import Published, RingChange
from roles.forgotten import end_forgotten
from roles.logs import DecisionsLog, RingsLog, bring_back
from roles.models import write_models
from roles.outgoing import alert_messages, ring_messages
from roles.role import Pace, Role

_POLL_S = 0.25
_TELL_S = 1.0
_GATHER_S = 0.1
"""Decisions gather that long before they are followed: each batch is a transaction."""


class RingKeeperRole(Role):
    def __init__(
        self,
        keeper: Keeper,
        state: RedisState,
        bus: BusSettings,
        topics: Topics,
        *,
        instance: str = "0",
        most: int = 500,
    ) -> None:
        super().__init__()
        self.name = "ring-keeper"
        self.keeper = keeper
        self._state = state
        self._bus = bus
        self._topics = topics
        self._most = most
        self._log = DecisionsLog(bus, topics.decisions)
        self._rings_log = RingsLog(bus, topics.rings)
        self._reader: AloneReader | None = None
        self._transactor: Transactor | None = None
        self._aborted_on: list[set[Part]] = []
        self._published = Published(keeper.rings)
        self._touched: set[str] = set()
        self._telling = Pace(_TELL_S)
        self._models = b""
        self._epoch = b""

    def open(self) -> None:
        group = self._topics.group(self.name)
        self._transactor = Transactor.of(self._bus, group, aborted_on=self._aborted_on)
        self._transactor.start()
        client = consumer(self._bus, group, gather_s=_GATHER_S)
        self._reader = AloneReader(client, self._topics.decisions, settled_offsets(self._bus, group))
        written = self._topics.alerts, self._topics.rings
        end_forgotten(self._bus, written, self._transactor, client.consumer_group_metadata())
        self.status.counts["replayed"] += bring_back(self.keeper, self._log, self._reader.start())
        self._published = Published(self.keeper.rings, self._rings_log.told())
        self._touched = self._published.everything()

    def step(self) -> None:
        assert self._reader is not None
        messages = self._reader.poll(self._most, _POLL_S)
        self.status.follow(self._reader)
        if messages:
            self._batch(messages)
        if self._telling.due():
            self._look_for_a_new_state()
            self.keeper.stream.judge()
            if self._touched or self._published.marked or self._published.judged_anew:
                self._tell()
        self.keeper.snapshot()

    def close(self, *, drained: bool) -> None:
        with ExitStack() as closing:
            if self._transactor is not None:
                self._aborted_on = self._transactor.aborted_on
                closing.callback(self._transactor.close)
            if self._reader is not None:
                closing.callback(self._reader.close)
            if drained and (self._touched or self._published.marked):
                self._tell()
                self.keeper.snapshot(wait=True)
            self._reader = self._transactor = None

    def _batch(self, messages: Sequence[Message]) -> None:
        assert self._reader is not None
        assert self._transactor is not None
        followed = self.keeper.follow(_in_decided_order(messages))
        now_us = time.time_ns() // 1000
        out = alert_messages(self._topics, followed.alerts, followed.joined, followed.new, now_us)
        offsets = self._reader.offsets()
        self._transactor.write(itertools.starmap(Record, out), offsets, self._reader.group())
        self._reader.done(offsets)
        self.keeper.positions |= {partition: offset for (_, partition), offset in offsets.items()}
        self._touched |= {ring for ring in followed.decisions.ring_ids if ring is not None}
        self.status.counts["records"] += len(messages)
        self.status.counts["alerts"] += len(followed.alerts)

    def _look_for_a_new_state(self) -> None:
        """A state that was rebuilt knows no rings: all are told again."""
        epoch: bytes | None = self._state.wire.ask(b"GET", self._state.globals.epoch)
        if epoch is not None and epoch != self._epoch:
            self._epoch, self._models = epoch, b""
            self._published.forget()
            self._touched = self._published.everything()

    def _tell(self) -> None:
        """Rings that changed: beside their members in the state, and on their topic."""
        assert self._transactor is not None
        changes = self._published.changes(self._touched)
        rows: dict[str, dict[str, bytes]] = {}
        for change in changes:
            rows.setdefault(change.tenant, {}).update(_rows(change))
        for tenant, some in rows.items():
            self._state.write_rings(tenant, some)
        told = ring_messages(self._topics, changes, time.time_ns() // 1000)
        if told:
            self._transactor.write(itertools.starmap(Record, told))
        self._touched.clear()
        self.status.counts["rings_told"] += len(changes)
        self._tell_models()

    def _tell_models(self) -> None:
        arrays = self.keeper.stream.assessor.models()
        if not arrays:
            return
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **arrays)
        if (raw := packed.getvalue()) != self._models:
            write_models(self._state, raw)
            self._models = raw


def _in_decided_order(records: Sequence[Message]) -> list[DecisionMessage | LabelMessage]:
    """As a replay reads them (`bus/topic_log.py`): partitions are merged by time, each in its own order."""
    newest: dict[int | None, int] = {}
    found = []
    for record in records:
        if (message := message_in(record, decode)) is not None:
            partition = record.partition()
            newest[partition] = at_us = max(message.decided_us, newest.get(partition, 0))
            found.append((at_us, partition or 0, message))
    return [message for _, _, message in sorted(found, key=lambda row: row[:2])]


def _rows(change: RingChange) -> dict[str, bytes]:
    return {**dict.fromkeys(change.members, change.row), **dict.fromkeys(change.left, b"")}

"""The ledger writer: decisions, labels, alerts and rings from their topics into the ledger."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from confluent_kafka import Message

from bus.clients import BusSettings
from bus.decisions import to_decisions
from bus.messages import DecisionMessage, decode, decode_alert, decode_ring
from bus.records import message_in
from bus.topics import Topics
from features.codec import FeatureCodec
from features.schema import FeatureSchema
from ledger.sql_store import SqlLedger
from ledger.store import KeptRing, LedgerWrite, Progress, Written
from rings.entry import RingEntry
from ringwatch.model import Alert, Label
from roles.follower import Follower

log = logging.getLogger("ringwatch.ledger")
SEQ_BITS = 48
"""The running number of a decision: its partition above, its offset below."""


class LedgerWriter(Follower):
    def __init__(
        self, ledger: SqlLedger, schema: FeatureSchema, bus: BusSettings, topics: Topics, *,
        gather_s: float = 0.2, most: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__("ledger-writer", bus, topics, gather_s=gather_s, most=most)
        self._ledger = ledger
        self._codec = FeatureCodec(schema)

    def read_topics(self) -> Sequence[str]:
        return self.topics.decisions, self.topics.alerts, self.topics.rings

    def open(self) -> None:
        self._ledger.prepare()
        super().open()

    def write(self, messages: Sequence[Message]) -> None:
        """Idempotent: what is there stays, the later state of an alert or ring counts. How far a partition was read is written with it."""
        decided: dict[int, list[Message]] = {}
        alerts: dict[str, Alert] = {}
        events: list[tuple[str, str]] = []
        rings: list[KeptRing] = []
        history: list[RingEntry] = []
        for message in messages:
            topic, partition = message.topic(), message.partition()
            assert partition is not None
            if topic == self.topics.alerts:
                if (told := message_in(message, decode_alert)) is not None:
                    alerts[told.alert_id] = told.alert
                    events += [(told.alert_id, event_id) for event_id in told.event_ids]
            elif topic == self.topics.rings:
                if (r := message_in(message, decode_ring)) is not None:
                    history += r.history
                    rings.append(
                        KeptRing(r.tenant, r.ring_id, r.status, r.risk, r.users, r.last_us, r.content, _offset(message))
                    )
            else:
                decided.setdefault(partition, []).append(message)
        writes = [write for partition, some in sorted(decided.items()) for write in self._decided(partition, some)]
        if alerts:
            writes.append(LedgerWrite(None, alerts=list(alerts.values()), alert_events=events))
        if writes:
            self._tell(self._ledger.write(*writes, if_known="leave"))
        if rings:
            self._ledger.write_rings(rings, history=history)

    def _decided(self, partition: int, records: Sequence[Message]) -> list[LedgerWrite]:
        numbered: list[tuple[int, DecisionMessage]] = []
        labels: list[tuple[int, Label]] = []
        for record in records:
            seq, message = partition << SEQ_BITS | _offset(record), message_in(record, decode)
            if isinstance(message, DecisionMessage):
                numbered.append((seq, message))
            elif message is not None:
                labels.append((seq, message.label))
        seqs = np.array([seq for seq, _ in numbered], np.int64)
        writes = [
            LedgerWrite(piece, watermark_us=max(e.at_us for e in piece.events))
            for piece in to_decisions([m for _, m in numbered], self._codec, seqs)
        ]
        writes.append(LedgerWrite(None, labels=labels))
        topic, last = self.topics.decisions, _offset(records[-1])
        writes[-1].progress = Progress(f"kafka:{topic}/{partition}", topic, last + 1, partition << SEQ_BITS | last)
        return writes

    def _tell(self, written: Written) -> None:
        counts = self.status.counts
        counts["decisions"] += written.added
        counts["left"] += written.left
        counts["refused"] += len(written.refused)
        for tenant, event_id in written.refused:
            log.error(
                "event %r of tenant %r is in the ledger at another time or its number is taken: is the ledger of other topics?",
                event_id, tenant,
            )  # fmt: skip


def _offset(record: Message) -> int:
    offset = record.offset()
    assert offset is not None
    return offset

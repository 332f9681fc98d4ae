"""The ledger writer: decisions, labels, alerts and rings from their topics into the ledger."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from confluent_kafka import Message

from bus.clients import BusSettings
from bus.decisions import to_decisions
from bus.messages import DecisionMessage, LabelMessage, decode, decode_alert, decode_ring
from bus.topics import Topics
from features.codec import FeatureCodec
from features.schema import FeatureSchema
from ledger.sql_store import SqlLedger
from ledger.store import KeptRing, LedgerWrite
from ringwatch.model import Alert
from roles.follower import Follower

SEQ_BITS = 48
"""The running number of a decision: its partition above, its offset below."""


class LedgerWriter(Follower):
    def __init__(
        self, ledger: SqlLedger, schema: FeatureSchema, bus: BusSettings, topics: Topics, *, instance: str = "0",
        gather_s: float = 0.2, most: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__("ledger-writer", bus, topics, instance=instance, gather_s=gather_s, most=most)
        self._ledger = ledger
        self._codec = FeatureCodec(schema)

    def read_topics(self) -> Sequence[str]:
        return self.topics.decisions, self.topics.alerts, self.topics.rings

    def open(self) -> None:
        self._ledger.prepare()
        super().open()

    def write(self, messages: Sequence[Message]) -> None:
        """Idempotent: what is there stays, the later state of an alert or ring counts."""
        decided: list[tuple[int, DecisionMessage | LabelMessage]] = []
        alerts: dict[str, Alert] = {}
        events: list[tuple[str, str]] = []
        rings: list[KeptRing] = []
        for message in messages:
            raw, topic, offset = message.value(), message.topic(), message.offset()
            if raw is None or offset is None:
                continue
            if topic == self.topics.alerts:
                told = decode_alert(raw)
                alerts[told.alert_id] = told.alert
                events += [(told.alert_id, event_id) for event_id in told.event_ids]
            elif topic == self.topics.rings:
                r = decode_ring(raw)
                rings.append(KeptRing(r.tenant, r.ring_id, r.status, r.risk, r.users, r.last_us, r.content, offset))
            else:
                decided.append(((message.partition() or 0) << SEQ_BITS | offset, decode(raw)))
        writes = self._decided(decided)
        if alerts:
            writes.append(LedgerWrite(None, alerts=list(alerts.values()), alert_events=events))
        if writes:
            written = self._ledger.write(*writes, if_known="leave")
            self.status.counts["decisions"] += written.added
            self.status.counts["left"] += written.left
            self.status.counts["refused"] += len(written.refused)
        if rings:
            self._ledger.write_rings(rings)

    def _decided(self, decided: Sequence[tuple[int, DecisionMessage | LabelMessage]]) -> list[LedgerWrite]:
        numbered = [(seq, m) for seq, m in decided if isinstance(m, DecisionMessage)]
        labels = [(seq, m.label) for seq, m in decided if isinstance(m, LabelMessage)]
        seq = np.array([n for n, _ in numbered], np.int64)
        writes = [
            LedgerWrite(piece, watermark_us=max(e.at_us for e in piece.events))
            for piece in to_decisions([m for _, m in numbered], self._codec, seq)
        ]
        if labels:
            writes.append(LedgerWrite(None, labels=labels))
        return writes

"""The graph writer: what decisions add to entities and links, alerts and rings, into the graph that investigators read.

Counts and sums are not idempotent, so each transaction also writes how far its partition has been applied, and goes on from there only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter

from confluent_kafka import Message

from bus.clients import BusSettings
from bus.messages import AlertMessage, RingMessage, decode_alert, decode_graph_row, decode_ring
from bus.records import message_in
from bus.topics import Topics
from bus.transactions import Part
from graph.aggregate import Aggregator
from graph.neo4j_store import Neo4jGraph
from graph.shown import ENDED, MemberShown, RingShown
from rings.published import decode_whole
from ringwatch.model import Kind, Level
from roles.follower import Follower

_ALERTED = frozenset(level.name for level in Level if level >= Level.HIGH)


class GraphWriterRole(Follower):
    def __init__(
        self, graph: Neo4jGraph, kinds: Sequence[Kind], bus: BusSettings, topics: Topics, *,
        gather_s: float = 0.5, most: int = 2000,
    ) -> None:  # fmt: skip
        super().__init__("graph-writer", bus, topics, gather_s=gather_s, most=most)
        self._graph = graph
        self._kinds = kinds
        self._applied: dict[str, int] = {}

    def read_topics(self) -> Sequence[str]:
        return self.topics.decisions, self.topics.alerts, self.topics.rings

    def open(self) -> None:
        self._applied = {}
        self._graph.prepare(self._kinds)
        super().open()

    def on_assigned(self, parts: Sequence[Part]) -> Mapping[Part, int] | None:
        """How far another writer got is asked anew."""
        for topic, partition in parts:
            self._applied.pop(f"{topic}/{partition}", None)
        return None

    def write(self, messages: Sequence[Message]) -> None:
        rows: dict[str, list[Message]] = {}
        alerts: dict[str, AlertMessage] = {}
        rings: dict[str, RingMessage] = {}
        for message in messages:
            if message.topic() == self.topics.alerts:
                if (alert := message_in(message, decode_alert)) is not None:
                    alerts[alert.alert_id] = alert
            elif message.topic() == self.topics.rings:
                if (ring := message_in(message, decode_ring)) is not None:
                    rings[ring.ring_id] = ring
            else:
                rows.setdefault(f"{message.topic()}/{message.partition()}", []).append(message)
        with self._counted("links", sum(map(len, rows.values()))):
            for partition, some in sorted(rows.items()):
                self._apply(partition, some)
        with self._counted("alerts", len(alerts)):
            if alerts:
                self._graph.show_alerts([m.alert for m in alerts.values()])
        with self._counted("rings", len(rings)):
            if rings:
                self._graph.show_rings([_shown(m) for m in rings.values()])

    @contextmanager
    def _counted(self, what: str, n: int) -> Iterator[None]:
        started = perf_counter()
        yield
        self.status.counts[f"{what}_us"] += int((perf_counter() - started) * 1e6)
        self.status.counts[what] += n

    def _apply(self, partition: str, messages: Sequence[Message]) -> None:
        applied = self._applied.get(partition)
        if applied is None:
            applied = self._graph.applied_position(partition)
        aggregator = Aggregator(self._kinds)
        last = applied
        for message in messages:
            offset = message.offset()
            if offset is None or offset <= applied:
                continue
            if (row := message_in(message, decode_graph_row)) is not None:
                aggregator.add_event(row.event, alerted=row.level in _ALERTED)
            last = offset
        if last > applied:
            self._applied.pop(partition, None)
            self._graph.apply(aggregator.take(last, partition, after=applied))
            self._applied[partition] = last
            self.status.counts["events"] += len(messages)


def _shown(told: RingMessage) -> RingShown:
    if not told.content:
        return RingShown(told.tenant, told.ring_id, ENDED, told.updated_us)
    ring = decode_whole(told.content)
    return RingShown(
        told.tenant, told.ring_id, told.status, told.updated_us, risk=told.risk, users=told.users, first_us=told.first_us,
        last_us=told.last_us, amount_minor=ring.summary.amount_minor, patterns=ring.summary.patterns,
        members=tuple(MemberShown(m.user, m.joined_us) for m in ring.members), shared=told.shared,
    )  # fmt: skip

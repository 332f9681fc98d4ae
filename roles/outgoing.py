"""What goes out besides decisions: alerts, named features, dead letters, rings; each as (topic, key, message)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from bus.messages import AlertMessage, FeaturesMessage, Place, RingMessage, dead_letter, encode, key_of
from bus.topics import Topics
from graph.alert_query import alert_query
from ingest.shared_scoring import Scored
from rings.published import RingChange
from ringwatch.model import Alert, Refusal
from scorers.decision import Decisions

Outgoing = tuple[str, bytes, bytes]
"""topic, key, message."""
_pack = msgspec.msgpack.Encoder().encode
_SHARES = 10_000
_ENTRIES = 500
"""Of a ring's history, in one message."""


def decided(topics: Topics, scored: Scored, features_share: float, now_us: int) -> list[Outgoing]:
    """What a scored batch says: decisions, alerts where they are grouped here, features of the share."""
    out: list[Outgoing] = [(topics.decisions, key, message) for key, message in scored.messages]
    for grouped in scored.alerts:
        out += alert_messages(topics, *grouped, now_us)
    if features_share > 0.0:
        for decisions in scored.decisions:
            out += features_messages(topics, decisions, features_share)
    return out


def alert_messages(
    topics: Topics, alerts: Sequence[Alert], joined: Mapping[str, tuple[str, ...]], new: frozenset[str], now_us: int
) -> list[Outgoing]:
    """Keyed by the alert, so that its messages stay in order."""
    return [
        (
            topics.alerts,
            f"{alert.tenant}/{alert.alert_id}".encode(),
            encode(
                AlertMessage(
                    v=1, tenant=alert.tenant, alert_id=alert.alert_id, new=alert.alert_id in new,
                    event_ids=joined[alert.alert_id], alert=alert, query=alert_query(alert), updated_us=now_us,
                )
            ),
        )
        for alert in alerts
    ]  # fmt: skip


def features_messages(topics: Topics, decisions: Decisions, share: float) -> list[Outgoing]:
    """Of the events that fall into the share, by a hash of their id."""
    found: list[Outgoing] = []
    names = decisions.schema.names
    for event, row in zip(decisions.events, decisions.features, strict=True):
        if zlib.crc32(event.event_id.encode("utf-8", "surrogatepass")) % _SHARES >= share * _SHARES:
            continue
        present = np.flatnonzero(row == row)
        values = dict(zip([names[i] for i in present.tolist()], row[present].tolist(), strict=True))
        message = FeaturesMessage(
            v=1, tenant=event.tenant, event_id=event.event_id, at_us=event.at_us, schema=decisions.schema.hash, values=values
        )  # fmt: skip
        found.append((topics.features, key_of(event), encode(message)))
    return found


def dead_letters(topics: Topics, refused: Iterable[tuple[str, Refusal]], now_us: int) -> list[Outgoing]:
    """(tenant, refusal) pairs; the refusal's source is `topic/partition` and its position the offset."""
    found: list[Outgoing] = []
    for tenant, refusal in refused:
        topic, _, partition = refusal.source.rpartition("/")
        place = Place(topic, int(partition), refusal.position)
        message = dead_letter(tenant, refusal.code, refusal.reason, place, now_us, refusal.raw)
        found.append((topics.dlq, str(place).encode(), encode(message)))
    return found


def ring_messages(topics: Topics, changes: Iterable[RingChange], now_us: int) -> list[Outgoing]:
    """Keyed by the ring. One that ended is told once more, without members. A long history takes several messages."""
    found: list[Outgoing] = []
    for change in changes:
        ring = change.ring
        shared = () if ring is None else tuple((s.kind, s.entity) for s in ring.shared)
        for start in range(0, max(1, len(change.history)), _ENTRIES):
            message = RingMessage(
                v=1, tenant=change.tenant, ring_id=change.ring_id, status="ended" if ring is None else "active",
                risk=0.0 if ring is None else ring.summary.risk, users=0 if ring is None else ring.summary.users,
                first_us=0 if ring is None else ring.summary.born_us, last_us=0 if ring is None else ring.summary.last_us,
                members=change.members, shared=shared, content=b"" if ring is None else _pack(ring), updated_us=now_us,
                history=change.history[start : start + _ENTRIES],
            )  # fmt: skip
            found.append((topics.rings, f"{change.tenant}/{change.ring_id}".encode(), encode(message)))
    return found

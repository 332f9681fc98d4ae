"""A graph batch as the rows LadybugDB stores: new entities, links, and what links alone do not say about an entity.

Most of what is known about a shared entity follows from its links: it was seen when they were, and its events and
amounts are theirs. So a shared entity gets a `Tally` row only for what is left over (alerts, events without a user);
a user, who has several links an event, always gets one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from graph.store import EntityRef, GraphBatch, LinkUpdate
from graph.uid import uid_of

_FIRST, _LAST, _EVENTS, _AMOUNT, _ALERTS = range(5)


@dataclass(frozen=True, slots=True)
class Rows:
    """Arrow tables of one batch. Columns as in the headers of `read_known`, `write_tallies` and `write_links`."""

    entities: pa.Table
    tallies: pa.Table
    links: pa.Table


@dataclass(slots=True)
class _Pending:
    refs: dict[str, EntityRef] = field(default_factory=dict)
    own: dict[str, list[int]] = field(default_factory=dict)
    """uid -> first, last, events, amount, alerts: the entity's updates less what its links say."""
    linked: dict[str, list[int]] = field(default_factory=dict)
    """uid of a shared entity -> first, last over its links in the batch."""
    uid_by_object: dict[int, str] = field(default_factory=dict)

    def uid(self, ref: EntityRef) -> str:
        uid = self.uid_by_object.get(id(ref))
        if uid is None:
            uid = self.uid_by_object[id(ref)] = uid_of(ref)
            self.refs[uid] = ref
        return uid

    def add(self, uid: str, first: int, last: int, events: int, amount: int, alerts: int) -> None:
        own = self.own.get(uid)
        if own is None:
            self.own[uid] = [first, last, events, amount, alerts]
            return
        _widen(own, first, last)
        own[_EVENTS] += events
        own[_AMOUNT] += amount
        own[_ALERTS] += alerts

    def said_by_links(self, uid: str) -> bool:
        """The links of the batch say everything about the entity."""
        own, span = self.own[uid], self.linked.get(uid)
        return span == own[:2] and not any(own[2:])


def rows_of(batch: GraphBatch) -> Rows:
    """Every entity the batch names, ends of links included; an end without an update has the link's times only."""
    pending = _Pending()
    for e in batch.entities:
        pending.add(pending.uid(e.ref), e.first_seen_us, e.last_seen_us, e.events, e.amount_minor, e.alerts)
    users, others = [], []
    for x in batch.links:
        user, other = pending.uid(x.user), pending.uid(x.other)
        users.append(user)
        others.append(other)
        pending.add(user, x.first_seen_us, x.last_seen_us, 0, 0, 0)
        pending.add(other, x.first_seen_us, x.last_seen_us, -x.events, -x.amount_minor, 0)
        span = pending.linked.setdefault(other, [x.first_seen_us, x.last_seen_us])
        _widen(span, x.first_seen_us, x.last_seen_us)
    return Rows(_entities(pending), _tallies(pending), _links(users, others, batch.links))


def _widen(span: list[int], first: int, last: int) -> None:
    span[_FIRST] = min(span[_FIRST], first)
    span[_LAST] = max(span[_LAST], last)


def _entities(pending: _Pending) -> pa.Table:
    refs = [pending.refs[uid] for uid in pending.own]
    return pa.table(
        {
            "i": pa.array(range(len(refs)), pa.int64()),
            "uid": pa.array(pending.own, pa.string()),
            "tenant": pa.array([ref.tenant for ref in refs], pa.string()),
            "kind": pa.array([ref.kind for ref in refs], pa.string()),
            "id": pa.array([ref.id for ref in refs], pa.string()),
        }
    )


def _tallies(pending: _Pending) -> pa.Table:
    uids = [uid for uid in pending.own if not pending.said_by_links(uid)]
    names = ("first_seen", "last_seen", "events", "amount", "alerts")
    columns = {name: pa.array([pending.own[uid][i] for uid in uids], pa.int64()) for i, name in enumerate(names)}
    return pa.table({"uid": pa.array(uids, pa.string()), **columns})


def _links(users: Sequence[str], others: Sequence[str], links: Sequence[LinkUpdate]) -> pa.Table:
    return pa.table(
        {
            "user": pa.array(users, pa.string()),
            "other": pa.array(others, pa.string()),
            "kind": pa.array([x.other.kind for x in links], pa.string()),
            "first_seen": pa.array([x.first_seen_us for x in links], pa.int64()),
            "last_seen": pa.array([x.last_seen_us for x in links], pa.int64()),
            "events": pa.array([x.events for x in links], pa.int64()),
            "amount": pa.array([x.amount_minor for x in links], pa.int64()),
            "fails": pa.array([x.fails for x in links], pa.int64()),
        }
    )

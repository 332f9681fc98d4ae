"""What the ledger knows of entities: the events of one, newest first, and which identifiers there are.

Reads of the `event_entities` index, always of one tenant; what one read may look at is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    ScalarSelect,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from ledger import tables as t
from ledger.personal import decode_event
from ledger.rows import decode_alert
from ledger.sql_reads import OF_ID
from ledger.sql_store import SqlLedger
from ringwatch.model import DAY_US, MICROSECONDS, Action, Alert, Event, Level

LOOKED_AT = 2_000
"""Events of an entity looked at for one page; a page may be short and still name the next."""
_AT_ONCE = 250
_SECONDS, _OF_SECONDS = 100, 1_000
_ALERTS_LOOKED_AT = 1_000
_DAY_US = literal(DAY_US, BigInteger)
_NO_DAY = 10**7
"""A day later than any."""
_AFTER_ALL = "\U0010ffff"
"""Sorts behind every character an identifier has."""
T = TypeVar("T")
Place = tuple[int, str]
"""Where a page ends: time and id of its last event or alert."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """All that are given must hold: since_us <= time < until_us, and the type is one of `types`."""

    since_us: int | None = None
    until_us: int | None = None
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EntityEvent:
    """An event of an entity, what it was given, and the alert it is in."""

    event: Event
    score: float
    level: str
    action: str
    alert_id: str | None


class EntityQueries(SqlLedger):
    """Safe to call from several threads."""

    def timeline(
        self, tenant: str, kind: str, id_: str, wanted: EventFilter, *, limit: int, after: Place | None
    ) -> tuple[list[EntityEvent], Place | None]:
        """Events of an entity, newest first (ties by the id, the greater first), and where to go on; None at the end."""
        found: list[EntityEvent] = []
        looked_at = 0
        with self._reading() as connection:
            while True:
                some = _AT_ONCE if wanted.types else min(_AT_ONCE, limit + 1 - len(found))
                places = places_of(connection, (tenant, kind, id_), wanted, some, after)
                events = self._entity_events(connection, tenant, places)
                for place in places:
                    if len(found) == limit or looked_at == LOOKED_AT:
                        return found, after
                    after = place
                    looked_at += 1
                    stored = events.get(place[1])
                    if stored is not None and (not wanted.types or stored.event.type in wanted.types):
                        found.append(stored)
                if len(places) < some:
                    return found, None

    def users_with(self, tenant: str, kind: str, id_: str, *, days: int, limit: int) -> frozenset[str]:
        """Who did an event with an entity in the `days` up to its newest one, of its `limit` latest events."""
        found: set[str] = set()
        wanted, after, left = EventFilter(), None, limit
        while left > 0:
            events, after = self.timeline(tenant, kind, id_, wanted, limit=min(left, _AT_ONCE), after=after)
            if events and wanted.since_us is None:
                wanted = EventFilter(since_us=events[0].event.at_us - days * DAY_US)
            found |= {
                e.event.user for e in events if e.event.user is not None and e.event.at_us >= (wanted.since_us or 0)
            }
            left -= len(events)
            if after is None:
                break
        return frozenset(found)

    def last_events(self, tenant: str, things: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Place]:
        """(kind, id) -> time and id of its newest event; in one statement, of those that have any."""
        e, days = t.event_entities.c, _days(tenant)
        if not things:
            return {}
        some = (select(literal(kind).label("kind"), literal(id_).label("id")) for kind, id_ in dict.fromkeys(things))
        asked = union_all(*some).cte("asked")
        there = exists().where(e.tenant == tenant, e.kind == asked.c.kind, e.id == asked.c.id, *_on(days.c.day))
        day = select(func.max(days.c.day)).where(there.correlate_except(t.event_entities))
        last = select(asked, day.correlate_except(days).scalar_subquery().label("day")).cte("last")

        def newest(column: Any) -> Any:
            mine = e.tenant == tenant, e.kind == last.c.kind, e.id == last.c.id, *_on(last.c.day)
            one = select(column).where(*mine).order_by(e.at_us.desc(), e.event_id.desc()).limit(1)
            return one.correlate_except(t.event_entities).scalar_subquery()

        query = select(last.c.kind, last.c.id, newest(e.at_us), newest(e.event_id)).where(last.c.day.is_not(None))
        with self._reading() as connection:
            return {(kind, id_): (at_us, event_id) for kind, id_, at_us, event_id in connection.execute(query)}

    def events_of_users(
        self, tenant: str, users: Sequence[str], *, since_us: int, until_us: int, limit: int
    ) -> list[Event]:
        """Events of these users at since_us <= time < until_us, at most so many of one user after the other, in order of their names."""
        e, a, i = t.event_entities.c, t.assessments.c, t.event_ids.c
        days = range(since_us // DAY_US, (until_us - 1) // DAY_US + 1)
        found: list[Event] = []
        with self._reading() as connection:
            for some in _parts(sorted(users)):
                near = e.tenant == tenant, e.day.in_(days), e.kind == "user", e.id.in_(some)
                query = (
                    select(a.event)
                    .join(t.event_ids, OF_ID)
                    .join(t.event_entities, and_(e.tenant == i.tenant, e.event_id == i.event_id, e.at_us == i.at_us))
                    .where(*near, e.at_us >= since_us, e.at_us < until_us)
                    .order_by(e.id, e.at_us, e.event_id)
                )
                found += self._personal.events(connection, connection.scalars(query.limit(limit - len(found))).all())
                if len(found) == limit:
                    break
        return found

    def users_at(self, tenant: str, places: Sequence[tuple[str, str, int]]) -> set[str]:
        """Users of the events of these entities in these seconds since 1970, (kind, id, second): at most 100 of these, and 1,000 events."""
        e, a, i = t.event_entities.c, t.assessments.c, t.event_ids.c
        if not places:
            return set()
        seconds = [
            and_(
                e.day == second * MICROSECONDS // DAY_US, e.kind == kind, e.id == id_, e.at_us >= second * MICROSECONDS,
                e.at_us < (second + 1) * MICROSECONDS,
            )
            for kind, id_, second in places[:_SECONDS]
        ]  # fmt: skip
        query = (
            select(a.event)
            .join(t.event_ids, OF_ID)
            .join(t.event_entities, and_(e.tenant == i.tenant, e.event_id == i.event_id, e.at_us == i.at_us))
            .where(e.tenant == tenant, or_(*seconds))
        )
        with self._reading() as connection:
            events = [decode_event(body) for body in connection.scalars(query.limit(_OF_SECONDS))]
        return {event.user for event in events if event.user is not None}

    def entities_from(self, tenant: str, kinds: Sequence[str], text: str, *, limit: int) -> dict[str, list[str]]:
        """Of each kind, the ids that begin with a text, in order (so that the text itself comes first), at most so many.

        Looks at one row an id and day, however many events each has.
        """
        e = t.event_entities.c
        days = _days(tenant)
        asked = union_all(*(select(literal(kind).label("kind")) for kind in kinds)).cte("kinds")

        def least(kind: Any, beyond: Any) -> ScalarSelect[str]:
            begins = e.tenant == tenant, e.kind == kind, e.id < text + _AFTER_ALL, beyond
            of_day = select(e.id).where(*_on(days.c.day), *begins).order_by(e.id).limit(1)
            one = of_day.correlate_except(t.event_entities).scalar_subquery()
            return select(func.min(one)).select_from(days).correlate_except(days).scalar_subquery()

        first = select(asked.c.kind, least(asked.c.kind, e.id >= text).label("id"), literal(1).label("n"))
        ids = first.cte("ids", recursive=True)
        further = select(ids.c.kind, least(ids.c.kind, e.id > ids.c.id), ids.c.n + 1)
        ids = ids.union_all(further.where(ids.c.id.is_not(None), ids.c.n < limit))
        found: dict[str, list[str]] = {kind: [] for kind in kinds}
        query = select(ids.c.kind, ids.c.id).where(ids.c.id.is_not(None)).order_by(ids.c.id)
        with self._reading() as connection:
            for kind, id_ in connection.execute(query):
                found[kind].append(id_)
        return found

    def events_from(self, tenant: str, text: str, *, limit: int) -> list[EntityEvent]:
        """Events whose ids begin with a text, in order of their ids, at most so many."""
        c = t.event_ids.c
        query = select(c.at_us, c.event_id).where(c.tenant == tenant, *_begins(c.event_id, text)).order_by(c.event_id)
        with self._reading() as connection:
            places = [(at_us, id_) for at_us, id_ in connection.execute(query.limit(limit))]
            events = self._entity_events(connection, tenant, places)
        return [events[id_] for _, id_ in places if id_ in events]

    def alerts_from(self, tenant: str, text: str, *, limit: int) -> list[Alert]:
        """Alerts whose ids begin with a text, in order of their ids, at most so many; of the first thousand, whosever they are."""
        c = t.alerts.c
        some = select(c.alert_id, c.tenant).where(*_begins(c.alert_id, text)).order_by(c.alert_id)
        near = some.limit(_ALERTS_LOOKED_AT).subquery()
        ids = select(near.c.alert_id).where(near.c.tenant == tenant)
        query = select(c.content).where(c.alert_id.in_(ids), c.tenant == tenant).order_by(c.alert_id).limit(limit)
        with self._reading() as connection:
            return [decode_alert(content) for content in connection.scalars(query)]

    def _entity_events(self, connection: Connection, tenant: str, places: Sequence[Place]) -> dict[str, EntityEvent]:
        """By id; what retention took between two reads is missing."""
        a, i = t.assessments.c, t.event_ids.c
        found: dict[str, EntityEvent] = {}
        for some in _parts(places):
            ids = [id_ for _, id_ in some]
            times = [at_us for at_us, _ in some]
            query = (
                select(a.event, a.score, a.level, a.action)
                .join(t.event_ids, OF_ID)
                .where(i.tenant == tenant, i.event_id.in_(ids), a.at_us.between(min(times), max(times)))
            )
            alerts = _alerts_of(connection, tenant, ids)
            rows = connection.execute(query).all()
            events = self._personal.events(connection, [row.event for row in rows])
            for event, (_, score, level, action) in zip(events, rows, strict=True):
                found[event.event_id] = EntityEvent(
                    event, score, Level(level).name, Action(action).name.lower(), alerts.get(event.event_id)
                )
        return found


def _begins(column: Any, text: str) -> tuple[Any, Any]:
    """As a range of the index: ids are compared byte by byte."""
    return column >= text, column < text + _AFTER_ALL


def _on(day: Any) -> tuple[ColumnElement[bool], ...]:
    """Of a day, said in times too: so only its partition is looked at."""
    c = t.event_entities.c
    return c.day == day, c.at_us >= day * _DAY_US, c.at_us < (day + 1) * _DAY_US


def _days(tenant: str, first: int | None = None, last: int | None = None) -> CTE:
    """The days of a tenant's events, last to first; one look into the index each."""
    c = t.event_entities.c
    since = [] if first is None else [c.day >= first, c.at_us >= first * _DAY_US]

    def newest(before: Any) -> ScalarSelect[int]:
        bounds = c.tenant == tenant, c.day < before, c.at_us < before * _DAY_US, *since
        one = select(c.day).where(*bounds).order_by(c.tenant.desc(), c.day.desc()).limit(1)
        return one.correlate_except(t.event_entities).scalar_subquery()

    days = select(newest(_NO_DAY if last is None else last + 1).label("day")).cte("days", recursive=True)
    return days.union_all(select(newest(days.c.day)).where(days.c.day.is_not(None)))


def places_of(
    connection: Connection, of: tuple[str, str, str], wanted: EventFilter, limit: int, after: Place | None
) -> list[Place]:
    """Times and ids of events of (tenant, kind, id), newest first, at most so many: day by day, of those it has any."""
    c = t.event_entities.c
    entity = c.tenant == of[0], c.kind == of[1], c.id == of[2]
    last_us = min((at for at in (wanted.until_us, None if after is None else after[0]) if at is not None), default=None)
    since_us = wanted.since_us
    days = _days(of[0], *(None if at is None else at // DAY_US for at in (since_us, last_us)))
    there = select(days.c.day).where(days.c.day.is_not(None), exists().where(*entity, *_on(days.c.day)))
    query = select(c.at_us, c.event_id).where(*entity).order_by(c.at_us.desc(), c.event_id.desc())
    if since_us is not None:
        query = query.where(c.at_us >= since_us)
    if wanted.until_us is not None:
        query = query.where(c.at_us < wanted.until_us)
    if after is not None:
        query = query.where(c.at_us <= after[0], tuple_(c.at_us, c.event_id) < tuple_(*after))
    found: list[Place] = []
    for day in connection.scalars(there.limit(limit + 2)).all():
        of_day = query.where(*_on(day))
        found += [(at_us, id_) for at_us, id_ in connection.execute(of_day.limit(limit - len(found)))]
        if len(found) == limit:
            break
    return found


def _alerts_of(connection: Connection, tenant: str, event_ids: Sequence[str]) -> dict[str, str]:
    """event id -> the alert it is in; of several the least id."""
    p, a = t.alert_events.c, t.alerts.c
    query = (
        select(p.event_id, func.min(p.alert_id).label("alert_id"))
        .join(t.alerts, a.alert_id == p.alert_id)
        .where(p.event_id.in_(event_ids), a.tenant == tenant)
        .group_by(p.event_id)
    )
    return {row.event_id: row.alert_id for row in connection.execute(query)}


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))

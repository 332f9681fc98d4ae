"""People's work on cases: the queue, claims, notes, snoozes, outcomes. Each change and its line in the audit trail are written together.

`version`, where it is given, is the one somebody saw: a case that was changed since is not changed by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Table, and_, exists, func, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from desk import tables as t
from desk.case import CLOSED, OPEN, OUTCOMES, QUEUES, Case, Note, case_of
from desk.case_keeper import CHANGES, save
from desk.store import Act, Desk
from ringwatch.errors import BadInput, Conflict, NotFound
from ringwatch.model import DAY_US, MINUTE_US

MOST_TEXT = 10_000
MOST_CLAIM_MINUTES = 24 * 60
MOST_SNOOZE_DAYS = 90
Place = tuple[float, str]
"""What the list is ordered by, and case id: where a page ends."""
ORDERS = ("priority", "due", "newest")
"""Highest priority first; due soonest first; opened last first."""


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """All that are given must hold."""

    status: str | None = OPEN
    queue: str | None = None
    claimed_by: str | None = None
    unclaimed: bool = False
    overdue: bool = False
    ring: str | None = None
    account: str | None = None
    alert: str | None = None
    snoozed: bool | None = False
    """None: both."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who does something, in what tenant."""

    tenant: str
    name: str
    leads: bool = False
    """May take over what somebody else has claimed."""


def page(
    desk: Desk, tenant: str, wanted: CaseFilter, *, limit: int, after: Place | None = None, order: str = "priority"
) -> list[Case]:
    """In one of `ORDERS`."""
    c, now_us = t.cases.c, desk.clock()
    by = {"priority": c.priority, "due": c.due_us, "newest": c.opened_us}[order]
    query = _where(select(t.cases).where(c.tenant == tenant), wanted, now_us)
    if after is not None:
        place, behind = tuple_(by, c.case_id), tuple_(*after)
        query = query.where(place > behind if order == "due" else place < behind)
    ends = (by, c.case_id) if order == "due" else (by.desc(), c.case_id.desc())
    with desk.reading() as connection:
        return [case_of(row) for row in connection.execute(query.order_by(*ends).limit(limit))]


def place_of(case: Case, order: str) -> Place:
    """Where a list in that order goes on behind it."""
    return {"priority": case.priority, "due": case.due_us, "newest": case.opened_us}[order], case.case_id


def _where(query: Select[Any], wanted: CaseFilter, now_us: int) -> Select[Any]:
    c, s, u, a = t.cases.c, t.snoozes.c, t.case_accounts.c, t.case_alerts.c
    claimed = and_(c.claimed_by.is_not(None), c.claimed_until_us > now_us)
    if wanted.status is not None:
        query = query.where(c.status == wanted.status)
    if wanted.queue is not None:
        query = query.where(c.queue == wanted.queue)
    if wanted.claimed_by is not None:
        query = query.where(claimed, c.claimed_by == wanted.claimed_by)
    if wanted.unclaimed:
        query = query.where(or_(c.claimed_by.is_(None), c.claimed_until_us <= now_us))
    if wanted.overdue:
        query = query.where(func.coalesce(c.closed_us, now_us) > c.due_us)
    if wanted.ring is not None:
        query = query.where(c.ring == wanted.ring)
    if wanted.account is not None:
        query = query.where(exists().where(u.tenant == c.tenant, u.case_id == c.case_id, u.user == wanted.account))
    if wanted.alert is not None:
        query = query.where(exists().where(a.tenant == c.tenant, a.case_id == c.case_id, a.alert_id == wanted.alert))
    if wanted.snoozed is not None:
        sleeps = exists().where(s.tenant == c.tenant, s.key == c.kind + ":" + c.entity, s.until_us > now_us)
        query = query.where(sleeps if wanted.snoozed else ~sleeps)
    return query


def case(desk: Desk, tenant: str, case_id: str) -> Case | None:
    c = t.cases.c
    with desk.reading() as connection:
        row = connection.execute(select(t.cases).where(c.tenant == tenant, c.case_id == case_id)).first()
    return None if row is None else case_of(row)


def changed(desk: Desk, tenant: str, after: int, *, limit: int) -> list[Case]:
    """In the order they were changed, each as it is now; `after`: the last change that is known. One that changes again comes again."""
    c = t.cases.c
    query = select(t.cases).where(c.tenant == tenant, c.change > after).order_by(c.change).limit(limit)
    with desk.reading() as connection:
        return [case_of(row) for row in connection.execute(query)]


def newest_change(desk: Desk) -> int:
    with desk.reading() as connection:
        return int(connection.scalar(select(t.numbers.c.value).where(t.numbers.c.name == CHANGES)) or 0)


def notes(desk: Desk, tenant: str, case_ids: Sequence[str]) -> dict[str, list[Note]]:
    """Of each case that has any, in the order they were written."""
    c = t.case_notes.c
    query = select(c.case_id, c.number, c.who, c.at_us, c.text).where(c.tenant == tenant, c.case_id.in_(case_ids))
    found: dict[str, list[Note]] = {}
    with desk.reading() as connection:
        for case_id, *note in connection.execute(query.order_by(c.case_id, c.number)):
            found.setdefault(case_id, []).append(Note(*note))
    return found


def alerts_of(desk: Desk, tenant: str, case_ids: Sequence[str], *, limit: int) -> dict[str, list[str]]:
    """Of each case, its alerts in order of their ids, at most so many."""
    return _of_each(desk, t.case_alerts, t.case_alerts.c.alert_id, tenant, case_ids, limit)


def accounts_of(desk: Desk, tenant: str, case_ids: Sequence[str], *, limit: int) -> dict[str, list[str]]:
    """Of each case, its accounts by name, at most so many."""
    return _of_each(desk, t.case_accounts, t.case_accounts.c.user, tenant, case_ids, limit)


def _of_each(
    desk: Desk, table: Table, column: ColumnElement[str], tenant: str, case_ids: Sequence[str], limit: int
) -> dict[str, list[str]]:
    c = table.c
    place = func.row_number().over(partition_by=c.case_id, order_by=column).label("place")
    mine = select(c.case_id, column.label("it"), place).where(c.tenant == tenant, c.case_id.in_(case_ids)).subquery()
    query = select(mine.c.case_id, mine.c.it).where(mine.c.place <= limit).order_by(mine.c.case_id, mine.c.place)
    found: dict[str, list[str]] = {}
    with desk.reading() as connection:
        for case_id, it in connection.execute(query):
            found.setdefault(case_id, []).append(it)
    return found


def cases_of(desk: Desk, tenant: str, alert_ids: Sequence[str]) -> dict[str, Case]:
    """alert id -> the case it is in."""
    a = t.case_alerts.c
    query = select(a.alert_id, t.cases).join(
        t.cases, and_(t.cases.c.tenant == a.tenant, t.cases.c.case_id == a.case_id)
    )
    with desk.reading() as connection:
        rows = connection.execute(query.where(a.tenant == tenant, a.alert_id.in_(alert_ids)))
        return {row[0]: case_of(row[1:]) for row in rows}


def snoozed_until(desk: Desk, tenant: str, case_ids: Sequence[str]) -> dict[str, int]:
    """Of each case that sleeps, until when."""
    c, s = t.cases.c, t.snoozes.c
    query = select(c.case_id, s.until_us).join(t.snoozes, and_(s.tenant == c.tenant, s.key == c.kind + ":" + c.entity))
    with desk.reading() as connection:
        rows = connection.execute(query.where(c.tenant == tenant, c.case_id.in_(case_ids), s.until_us > desk.clock()))
        return {row.case_id: row.until_us for row in rows}


def claim(desk: Desk, who: Who, case_id: str, minutes: int, version: int | None = None) -> Case:
    """Until then nobody else may work on it; claiming again goes on. Raises Conflict where somebody else has it, unless who asks leads."""
    if not 1 <= minutes <= MOST_CLAIM_MINUTES:
        raise BadInput(f"minutes is {minutes}", hint=f"1 to {MOST_CLAIM_MINUTES}", field="minutes")
    with _changing(desk, who, case_id, version, "claim", locked=not who.leads) as change:
        until_us = desk.clock() + minutes * MINUTE_US
        change.to(claimed_by=who.name, claimed_until_us=until_us)
        change.said(change.before.claimed(desk.clock()), {"minutes": minutes})
    return change.after


def release(desk: Desk, who: Who, case_id: str, version: int | None = None) -> Case:
    """Its own claim; who leads, anybody's."""
    with _changing(desk, who, case_id, version, "release", locked=not who.leads) as change:
        change.to(claimed_by=None, claimed_until_us=None)
        change.said(change.before.claimed(desk.clock()), None)
    return change.after


def note(desk: Desk, who: Who, case_id: str, text: str) -> Case:
    """Whoever has claimed it: notes are everybody's."""
    _check(text, "text")
    with _changing(desk, who, case_id, None, "note", locked=False) as change:
        c = t.case_notes.c
        mine = select(func.coalesce(func.max(c.number), 0)).where(c.tenant == who.tenant, c.case_id == case_id)
        number = int(change.connection.scalar(mine) or 0) + 1
        values = {"tenant": who.tenant, "case_id": case_id, "number": number, "who": who.name, "at_us": desk.clock()}
        change.connection.execute(t.case_notes.insert().values(**values, text=text))
        change.said(None, {"number": number, "text": text})
    return change.after


def snooze(desk: Desk, who: Who, case_id: str, until_us: int, reason: str, version: int | None = None) -> Case:
    """All cases about the same ring or entity leave the queue until then, later ones too. A time that has passed wakes them."""
    _check(reason, "reason")
    if until_us > desk.clock() + MOST_SNOOZE_DAYS * DAY_US:
        raise BadInput("until is too far off", hint=f"at most {MOST_SNOOZE_DAYS} days", field="until")
    with _changing(desk, who, case_id, version, "snooze", why=reason) as change:
        key = change.before.key
        dialect: Any = postgresql if change.connection.dialect.name == "postgresql" else sqlite
        row = dialect.insert(t.snoozes).values(tenant=who.tenant, key=key, until_us=until_us, who=who.name)
        values = {"until_us": until_us, "who": who.name}
        change.connection.execute(row.on_conflict_do_update(index_elements=["tenant", "key"], set_=values))
        change.to(claimed_by=None, claimed_until_us=None)
        change.said(None, {"key": key, "until_us": until_us})
    return change.after


def close(desk: Desk, who: Who, case_id: str, outcome: str, reason: str, version: int | None = None) -> Case:
    with _changing(desk, who, case_id, version, "close", why=reason) as change:
        _check_close(change.before, outcome, reason)
        change.to(
            status=CLOSED, outcome=outcome, closed_by=who.name, closed_us=desk.clock(), claimed_by=None, claimed_until_us=None
        )  # fmt: skip
        change.said({"status": OPEN}, {"outcome": outcome, "overdue": change.before.overdue(desk.clock())})
    return change.after


def check_close(desk: Desk, who: Who, case_id: str, outcome: str, reason: str, version: int | None = None) -> None:
    """Raises what `close` would raise now."""
    found = case(desk, who.tenant, case_id)
    if found is None:
        raise _unknown(case_id)
    _check_free(found, who, version, desk.clock(), locked=True)
    _check_close(found, outcome, reason)


def _check_close(found: Case, outcome: str, reason: str) -> None:
    if outcome not in OUTCOMES:
        raise BadInput(f"outcome is {outcome!r}", hint=f"one of {', '.join(OUTCOMES)}", field="outcome")
    _check(reason, "reason")
    if found.status == CLOSED:
        message = f"case {found.case_id} was closed by {found.closed_by} as {found.outcome}"
        raise Conflict(message, hint="reopen it first")


def reopen(desk: Desk, who: Who, case_id: str, reason: str, version: int | None = None) -> Case:
    _check(reason, "reason")
    with _changing(desk, who, case_id, version, "reopen", why=reason) as change:
        if change.before.status == OPEN:
            raise Conflict(f"case {case_id} is open", hint="nothing is to be done")
        change.to(status=OPEN, outcome=None, closed_by=None, closed_us=None)
        change.said({"outcome": change.before.outcome}, {"status": OPEN})
    return change.after


@dataclass(frozen=True, slots=True)
class QueueReport:
    """One queue, now: `breached` are those closed too late or still open past their time, that were due in the last 30 days."""

    queue: str
    sla_h: float
    open: int
    claimed: int
    overdue: int
    closed_30d: int
    breached_30d: int
    amount_minor: int
    """Of the open ones."""


def report(desk: Desk, tenant: str, sla_h: dict[str, float] | None = None) -> list[QueueReport]:
    c, now_us = t.cases.c, desk.clock()
    since_us, found = now_us - 30 * DAY_US, []
    is_open = c.status == OPEN

    def count(*where: Any) -> Any:
        return func.count().filter(and_(*where))

    with desk.reading() as connection:
        for queue, hours in (sla_h or QUEUES).items():
            query = select(
                count(is_open), count(is_open, c.claimed_until_us > now_us), count(is_open, c.due_us < now_us),
                count(c.closed_us >= since_us),
                count(c.due_us >= since_us, c.due_us < func.coalesce(c.closed_us, now_us)),
                func.coalesce(func.sum(c.amount_minor).filter(is_open), 0),
            ).where(c.tenant == tenant, c.queue == queue)  # fmt: skip
            found.append(QueueReport(queue, hours, *(int(n) for n in connection.execute(query).one())))
    return found


@dataclass(slots=True)
class _Change:
    connection: Connection
    before: Case
    after: Case
    old: object = None
    new: object = None

    def to(self, **values: Any) -> None:
        self.after = msgspec.structs.replace(self.after, **values)

    def said(self, old: object, new: object) -> None:
        """For the audit trail."""
        self.old, self.new = old, new


@contextmanager
def _changing(
    desk: Desk, who: Who, case_id: str, version: int | None, did: str, *, why: str = "", locked: bool = True
) -> Iterator[_Change]:
    """The case, held; what becomes of it is saved and recorded when the block ends well. `locked`: not while somebody else has claimed it."""
    c = t.cases.c
    with desk.writing() as connection:
        mine = select(t.cases).where(c.tenant == who.tenant, c.case_id == case_id).with_for_update()
        row = connection.execute(mine).first()
        if row is None:
            raise _unknown(case_id)
        before = case_of(row)
        _check_free(before, who, version, desk.clock(), locked=locked)
        change = _Change(connection, before, msgspec.structs.replace(before, version=before.version + 1))
        yield change
        save(desk, connection, change.after)
        desk.append(connection, Act(who.tenant, who.name, f"case.{did}", "case", case_id, change.old, change.new, why))


def _check_free(found: Case, who: Who, version: int | None, now_us: int, *, locked: bool) -> None:
    holder = found.claimed(now_us)
    if locked and holder not in (None, who.name):
        message = f"case {found.case_id} is claimed by {holder}"
        raise Conflict(message, hint="wait for the claim to expire, or ask them; who leads may claim it")
    if version is not None and version != found.version:
        message = f"case {found.case_id} is at version {found.version}, not {version}"
        raise Conflict(message, hint="look at it again: somebody changed it")


def _unknown(case_id: str) -> NotFound:
    return NotFound(f"there is no case {case_id!r}", hint="the query `cases` lists them")


def _check(text: str, field: str) -> None:
    if not text.strip() or len(text) > MOST_TEXT:
        raise BadInput(f"{field} is empty or too long", hint=f"1 to {MOST_TEXT:,} characters", field=field)

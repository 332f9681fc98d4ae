"""Cases over GraphQL: the queue, what a case is, and people's work on it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import strawberry
from strawberry.types import Info

from api import reads
from api.closing import close_case
from api.graphql import types as t
from api.graphql.alerts import Alert, alerts_as, ring_summary
from api.graphql.arguments import After, CaseId, First, Version, Why
from api.graphql.connection import Connection, by_value, page, read_by_value
from api.graphql.context import Context, bounded, context_of, described
from api.graphql.deciding import Refused, or_refused
from desk import cases as c
from desk.case import CLOSED, OPEN, QUEUES
from desk.case import Case as Kept
from ringwatch.errors import BadInput

_MOST_CASES, _MOST_ALERTS, _MOST_ACCOUNTS = 100, 200, 1000


@strawberry.type(description="What somebody wrote down about a case")
class CaseNote:
    number: int = strawberry.field(description="From 1")
    who: str = strawberry.field(description="Who wrote it")
    at: str = strawberry.field(description="When")
    text: str = strawberry.field(description="The note")


@strawberry.type(description="A case without what hangs on it")
class CaseLine:
    id: str = strawberry.field(description="Lasts as long as the case")
    kind: str = strawberry.field(description="Of what it is about: ring, or a kind of entity")
    entity: str = strawberry.field(description="The ring or the entity it is about")
    ring: str | None = strawberry.field(description="The ring it was last seen to concern; null where it concerns none")
    queue: str = strawberry.field(description="now or digest: as its strongest alert is delivered")
    status: str = strawberry.field(description="open or closed")
    level: str = strawberry.field(description="The highest of its alerts")
    text: str = strawberry.field(description="The strongest reason in words")
    score: float = strawberry.field(description="The highest of its alerts, 0 to 1")
    ring_risk: float = strawberry.field(description="0 to 1; 0 where it concerns no ring")
    amount_minor: t.Long = strawberry.field(description="Of its alerts' events: the money at risk")
    alert_count: int = strawberry.field(description="Alerts in it")
    events: int = strawberry.field(description="Alerted events in it")
    account_count: int = strawberry.field(description="Accounts concerned")
    priority: float = strawberry.field(
        description="Expected loss: the higher of score and ring risk, times money at risk and one"
    )
    first_at: str = strawberry.field(description="Of its first event")
    last_at: str = strawberry.field(description="Of its last event")
    opened_at: str = strawberry.field(description="When it came into the queue")
    due_at: str = strawberry.field(description="When it is to be closed")
    overdue: bool = strawberry.field(description="Whether that has passed, or it was closed later")
    claimed_by: str | None = strawberry.field(description="Who works on it; null: nobody. A claim expires")
    claimed_until: str | None = strawberry.field(description="When the claim expires; null without one")
    outcome: str | None = strawberry.field(description="fraud, false_positive or not_sure; null while it is open")
    closed_by: str | None = strawberry.field(description="Who closed it; null while it is open")
    closed_at: str | None = strawberry.field(description="When it was closed; null while it is open")
    version: int = strawberry.field(
        description="Rises with all that somebody does to it; give it with a change to be sure nobody was first"
    )


@strawberry.type(description="Alerts that one person looks at together")
class Case(CaseLine):
    @described("Until when it sleeps; null when it does not")
    def snoozed_until(self, info: Info[Any, Any]) -> str | None:
        context = context_of(info)
        until_us = context.loads.get(
            "case", self.id, "snoozed", lambda ids: c.snoozed_until(context.here.desk, context.tenant, ids)
        )
        return None if until_us is None else t.time(until_us)

    @described("Its notes, in the order they were written")
    def notes(self, info: Info[Any, Any]) -> list[CaseNote]:
        context = context_of(info)
        found = context.loads.get("case", self.id, "notes", lambda ids: c.notes(context.here.desk, context.tenant, ids))
        return [CaseNote(number=n.number, who=n.who, at=t.time(n.at_us), text=n.text) for n in found or ()]

    @described("Its alerts, the last event first; at most 200")
    def alerts(self, info: Info[Any, Any], first: First = 20) -> list[Alert]:
        context, limit = context_of(info), bounded(first, _MOST_ALERTS)
        return context.loads.get("case", self.id, ("alerts", limit), lambda ids: _alerts(context, ids, limit)) or []

    @described("The accounts concerned, by name; at most 1,000")
    def accounts(self, info: Info[Any, Any], first: First = 100) -> list[str]:
        context, limit = context_of(info), bounded(first, _MOST_ACCOUNTS)
        found = context.loads.get(
            "case", self.id, ("accounts", limit),
            lambda ids: c.accounts_of(context.here.desk, context.tenant, ids, limit=limit),
        )  # fmt: skip
        return list(found or ())

    @described("The ring it was last seen to concern, as it is now; null where it concerns none or that has ended")
    def ring_summary(self, info: Info[Any, Any]) -> t.RingSummary | None:
        return ring_summary(context_of(info), self.ring)


@strawberry.enum(description="In which order cases are listed")
class CaseOrder(Enum):
    PRIORITY = strawberry.enum_value("PRIORITY", description="The highest expected loss first")
    DUE = strawberry.enum_value("DUE", description="Those first that are to be closed first")
    NEWEST = strawberry.enum_value("NEWEST", description="Those first that were opened last")


@strawberry.type(description="How one queue stands")
class QueueReport:
    queue: str = strawberry.field(description="now or digest")
    sla_h: float = strawberry.field(description="Hours within which its cases are to be closed")
    open: int = strawberry.field(description="Open cases")
    claimed: int = strawberry.field(description="Of these, those somebody works on")
    overdue: int = strawberry.field(description="Of these, those past their time")
    closed_30d: int = strawberry.field(description="Closed in the last 30 days")
    breached_30d: int = strawberry.field(description="Due in the last 30 days, and closed later or still open")
    amount_minor: t.Long = strawberry.field(description="Money at risk in the open ones")


@strawberry.input(description="All that are given must hold")
class CaseFilter:
    status: str | None = strawberry.field(default=OPEN, description="open, closed; null: both")
    queue: str | None = strawberry.field(default=None, description="now or digest")
    claimed_by: str | None = strawberry.field(default=None, description="Who works on it")
    mine: bool = strawberry.field(default=False, description="Those that whoever asks works on")
    unclaimed: bool = strawberry.field(default=False, description="Those that nobody works on")
    overdue: bool = strawberry.field(default=False, description="Those past their time")
    ring: str | None = strawberry.field(default=None, description="Those that concern a ring")
    account: str | None = strawberry.field(default=None, description="Those that concern an account")
    alert: str | None = strawberry.field(default=None, description="The one that an alert is in")
    snoozed: bool | None = strawberry.field(default=False, description="Those that sleep; null: both")


CaseResult = Annotated[
    Case | Refused, strawberry.union("CaseResult", description="The case as it is now, or why it was not changed")
]


@strawberry.type
class CaseQueries:
    @described("A case; null when there is none")
    def case(self, info: Info[Any, Any], id: CaseId) -> Case | None:
        context = context_of(info)
        found = c.case(context.here.desk, context.tenant, id) if reads.is_id(id) else None
        return None if found is None else cases_as(context, [found])[id]

    @described("The queue: open cases that do not sleep, or what the filter says; at most 100 at once")
    def cases(
        self, info: Info[Any, Any], filter: CaseFilter | None = None, order: CaseOrder = CaseOrder.PRIORITY, first: First = 20,
        after: After = None,
    ) -> Connection[Case]:  # fmt: skip
        context = context_of(info)
        return case_page(context, _filter(context, filter or CaseFilter()), order, first, after)

    @described("How the queues stand, and where cases were closed too late")
    def queues(self, info: Info[Any, Any]) -> list[QueueReport]:
        context = context_of(info)
        found = c.report(context.here.desk, context.tenant, context.here.cases.sla_h)
        return [
            QueueReport(
                queue=r.queue, sla_h=r.sla_h, open=r.open, claimed=r.claimed, overdue=r.overdue, closed_30d=r.closed_30d,
                breached_30d=r.breached_30d, amount_minor=t.Long(r.amount_minor),
            )
            for r in found
        ]  # fmt: skip


@strawberry.type
class CaseMutations:
    @described(
        "Work on a case for `minutes`: until the claim expires nobody else may. Claiming again goes on; who may `lead` takes over others' claims"
    )
    def claim_case(self, info: Info[Any, Any], id: CaseId, minutes: int = 30, version: Version = None) -> CaseResult:
        return _changed(info, lambda desk, who: c.claim(desk, who, id, minutes, version))

    @described("Give a case back to the queue")
    def release_case(self, info: Info[Any, Any], id: CaseId, version: Version = None) -> CaseResult:
        return _changed(info, lambda desk, who: c.release(desk, who, id, version))

    @described("Write something down about a case: `text`")
    def note_case(self, info: Info[Any, Any], id: CaseId, text: str) -> CaseResult:
        return _changed(info, lambda desk, who: c.note(desk, who, id, text))

    @described(
        "Put a case, and all to come about the same ring or entity, out of the queue `until` a time (ISO 8601 with a zone); one that has "
        "passed wakes them"
    )
    def snooze_case(
        self, info: Info[Any, Any], id: CaseId, until: str, reason: Why, version: Version = None
    ) -> CaseResult:
        def snooze(desk: Any, who: c.Who) -> Kept:
            until_us = reads.time_of(until, "until")
            assert until_us is not None
            return c.snooze(desk, who, id, until_us, reason, version)

        return _changed(info, snooze)

    @described("Close a case. `outcome`: `fraud` labels the accounts fraud, `false_positive` labels them good, `not_sure` labels none; `accounts`: "
            "these instead of all that are concerned")  # fmt: skip
    def close_case(
        self, info: Info[Any, Any], id: CaseId, outcome: str, reason: Why, accounts: list[str] | None = None,
        version: Version = None,
    ) -> CaseResult:  # fmt: skip
        here = context_of(info).here
        return _changed(info, lambda desk, who: close_case(here, who, id, outcome, reason, accounts, version))

    @described("Open a closed case again; labels it gave stay until others come")
    def reopen_case(self, info: Info[Any, Any], id: CaseId, reason: Why, version: Version = None) -> CaseResult:
        return _changed(info, lambda desk, who: c.reopen(desk, who, id, reason, version))


def _changed(info: Info[Any, Any], change: Any) -> Case | Refused:
    context = context_of(info)

    def done() -> Case:
        context.who.need("act")
        desk = context.here.desk
        kept = change(desk, c.Who(context.tenant, context.who.name, context.who.leads))
        return cases_as(context, [kept])[kept.case_id]

    return or_refused(done)


def case_page(
    context: Context, wanted: c.CaseFilter, order: CaseOrder, first: int, after: str | None
) -> Connection[Case]:
    by = order.name.lower()
    question = ["cases", context.tenant, *(getattr(wanted, name) for name in c.CaseFilter.__slots__), by]
    limit, behind = bounded(first, _MOST_CASES), read_by_value(after, question)
    found = c.page(context.here.desk, context.tenant, wanted, limit=limit + 1, after=behind, order=by)
    shown = cases_as(context, found[:limit])
    return page(
        found,
        lambda k: shown[k.case_id],
        lambda k: by_value(*c.place_of(k, by)),
        first=limit,
        after=after,
        question=question,
    )


def cases_as(context: Context, found: Sequence[Kept]) -> dict[str, Case]:
    """By their ids. What hangs on them is read for all of them at once."""
    now_us = context.here.desk.clock()
    context.loads.expect("case", (k.case_id for k in found))
    context.loads.expect("ring", (k.ring for k in found if k.ring))
    return {k.case_id: Case(**vars(line_of(k, now_us))) for k in found}


def _filter(context: Context, given: CaseFilter) -> c.CaseFilter:
    if given.status not in (None, OPEN, CLOSED):
        raise BadInput(f"status is {given.status!r}", hint=f"{OPEN} or {CLOSED}", field="status")
    if given.queue not in (None, *QUEUES):
        raise BadInput(f"queue is {given.queue!r}", hint=f"one of {', '.join(QUEUES)}", field="queue")
    for name in ("claimed_by", "ring", "account", "alert"):
        value = getattr(given, name)
        if value is not None and not reads.is_id(value):
            raise BadInput(f"{name} is no identifier", hint=f"1 to {reads.MAX_TEXT} printable characters", field=name)
    claimed_by = context.who.name if given.mine else given.claimed_by
    return c.CaseFilter(
        given.status,
        given.queue,
        claimed_by,
        given.unclaimed,
        given.overdue,
        given.ring,
        given.account,
        given.alert,
        given.snoozed,
    )


def _alerts(context: Context, case_ids: Sequence[str], limit: int) -> dict[str, list[Alert]]:
    """Of each case, the last event first."""
    ids = c.alerts_of(context.here.desk, context.tenant, case_ids, limit=limit)
    found = context.here.ledger.alerts_by_id(context.tenant, [id_ for some in ids.values() for id_ in some])
    shown = {a.id: a for a in alerts_as(context, sorted(found, key=lambda a: (-a.last_at_us, a.alert_id)))}
    order = {id_: n for n, id_ in enumerate(shown)}
    return {
        case_id: [shown[i] for i in sorted((i for i in some if i in shown), key=order.__getitem__)]
        for case_id, some in ids.items()
    }


def line_of(k: Kept, now_us: int) -> CaseLine:
    claimed_by = k.claimed(now_us)
    return CaseLine(
        id=k.case_id, kind=k.kind, entity=k.entity, ring=k.ring or None, queue=k.queue, status=k.status, level=k.level,
        text=k.text, score=k.score, ring_risk=k.ring_risk, amount_minor=t.Long(k.amount_minor), alert_count=k.alerts,
        events=k.events, account_count=k.accounts, priority=k.priority, first_at=t.time(k.first_at_us),
        last_at=t.time(k.last_at_us), opened_at=t.time(k.opened_us), due_at=t.time(k.due_us), overdue=k.overdue(now_us),
        claimed_by=claimed_by, claimed_until=_time(k.claimed_until_us) if claimed_by else None, outcome=k.outcome,
        closed_by=k.closed_by, closed_at=_time(k.closed_us), version=k.version,
    )  # fmt: skip


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else t.time(at_us)

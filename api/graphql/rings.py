"""Rings over GraphQL: the list, and one ring with its members, what they share, its past, its alerts and cases."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import strawberry
from strawberry.types import Info

from api import reads
from api.graphql import ring_history as h
from api.graphql import types as t
from api.graphql.alerts import Alert, alerts_as
from api.graphql.arguments import After, First, RingId
from api.graphql.cases import Case, CaseOrder, case_page
from api.graphql.connection import Connection, by_value, page, read_by_value
from api.graphql.context import bounded, context_of, described, of
from desk import cases as c
from ledger.queries import AlertFilter
from rings import ring as rings
from ringwatch.errors import BadInput

MOST_RINGS, MOST_MEMBERS, MOST_LINKS = 100, 1000, 2000


@strawberry.type(description="A ring: who, what they share, why it is a risk")
class Ring(h.RingPast):
    summary: t.RingSummary = of("Its line of the list of rings")
    founding_event: str = of("The event that made the first link they share")
    settled_at: str = of("Event time as of which expiry, hubs and risk were worked out last, in UTC")
    truncated: bool = of("Whether members or links were left out because there are too many")
    parts: list[t.RingPart] = of("They add up to the risk")
    whole: strawberry.Private[rings.Ring]

    @described("By time of joining; at most 1,000")
    def members(self, first: First = 100) -> list[t.Member]:
        return [t.member_of(m) for m in self.whole.members[: bounded(first, MOST_MEMBERS)]]

    @described("What at least two members share, most users first; at most 1,000")
    def shared(self, first: First = 100) -> list[t.Shared]:
        return [t.shared_of(s) for s in self.whole.shared[: bounded(first, MOST_MEMBERS)]]

    @described("Members' links to what is shared; at most 2,000")
    def links(self, first: First = 200) -> list[t.Link]:
        return [t.ring_link_of(link) for link in self.whole.links[: bounded(first, MOST_LINKS)]]

    @described("Alerts about it, the last event first; at most 200 at once")
    def alerts(self, info: Info[Any, Any], first: First = 20, after: After = None) -> Connection[Alert]:
        context, limit = context_of(info), bounded(first, reads.MOST_ALERTS)
        wanted = AlertFilter(ring=self.summary.id)
        found = reads.alerts(context.here, context.tenant, wanted, limit, after)
        shown = alerts_as(context, found.alerts)
        return Connection(items=shown, places=found.places, more=found.more, began=bool(after), question=found.question)

    @described("Cases about it, open and closed, the highest priority first; at most 100 at once")
    def cases(self, info: Info[Any, Any], first: First = 20, after: After = None) -> Connection[Case]:
        wanted = c.CaseFilter(status=None, ring=self.summary.id, snoozed=None)
        return case_page(context_of(info), wanted, CaseOrder.PRIORITY, first, after)


@strawberry.input(description="All that are given must hold")
class RingFilter:
    least_users: int = strawberry.field(default=2, description="Members at least, 2 or more")
    least_risk: float = strawberry.field(default=0.0, description="Risk at least, 0 to 1")
    pattern: str | None = strawberry.field(
        default=None, description="A fraud pattern that its members were alerted for"
    )
    active_since: str | None = strawberry.field(
        default=None, description="A member used what they share then or later: ISO 8601 with a zone"
    )
    born_since: str | None = strawberry.field(default=None, description="Founded then or later: ISO 8601 with a zone")


@strawberry.enum(description="In which order rings are listed")
class RingOrder(Enum):
    RISKIEST = strawberry.enum_value("RISKIEST", description="The highest risk first")
    LARGEST = strawberry.enum_value("LARGEST", description="The most members first")
    NEWEST = strawberry.enum_value("NEWEST", description="The last founded first")
    LATEST = strawberry.enum_value("LATEST", description="The last active first")
    EXPOSURE = strawberry.enum_value("EXPOSURE", description="The highest amount first")


_BY: dict[RingOrder, Callable[[rings.RingSummary], float]] = {
    RingOrder.RISKIEST: lambda r: r.risk,
    RingOrder.LARGEST: lambda r: r.users,
    RingOrder.NEWEST: lambda r: r.born_us,
    RingOrder.LATEST: lambda r: r.last_us,
    RingOrder.EXPOSURE: lambda r: r.amount_minor,
}


@strawberry.type
class RingQueries:
    @described(
        "Rings of two users or more; at most 100 at once. Where another process keeps them, the 500 riskiest are looked at"
    )
    def rings(
        self, info: Info[Any, Any], filter: RingFilter | None = None, order: RingOrder = RingOrder.RISKIEST, first: First = 20,
        after: After = None,
    ) -> Connection[t.RingSummary]:  # fmt: skip
        context, limit = context_of(info), bounded(first, MOST_RINGS)
        given, by = filter or RingFilter(), _BY[order]
        holds, question = _holds(given), ["rings", context.tenant, order.name, *vars(given).values()]
        behind = read_by_value(after, question)
        every = context.here.engine.ask_from(reads.rings_question(context.tenant, given.least_users))
        listed = sorted(((-by(r), r.ring_id, r) for r in every if holds(r)), key=lambda x: x[:2])
        found = [r for *place, r in listed if behind is None or tuple(place) > behind][: limit + 1]
        return page(
            found, t.summary_of, lambda r: by_value(-by(r), r.ring_id), first=limit, after=after, question=question
        )  # fmt: skip

    @described(
        "A ring; null when there is none. One that has ended has its past. `asOf` is the time of `then`, ISO 8601 with a zone"
    )
    def ring(self, info: Info[Any, Any], id: RingId, as_of: str | None = None) -> Ring | None:
        context = context_of(info)
        past = h.Past(context.here.ledger, context.tenant, id, as_of)
        found: rings.Ring | None = context.here.engine.ask_from(reads.ring_question(context.tenant, id)) or past.gone()
        if found is None:
            return None
        return Ring(
            summary=t.summary_of(found.summary), founding_event=found.founding_event, settled_at=t.time(found.settled_us),
            truncated=found.truncated, parts=[t.RingPart(code=p.code, text=p.text, value=p.value) for p in found.parts],
            whole=found, past=past,
        )  # fmt: skip


def _holds(given: RingFilter) -> Callable[[rings.RingSummary], bool]:
    """Raises BadInput naming what is wrong."""
    if given.least_users < 2:
        raise BadInput(f"leastUsers is {given.least_users}", hint="2 or more", field="leastUsers")
    if not 0.0 <= given.least_risk <= 1.0:
        raise BadInput(f"leastRisk is {given.least_risk}", hint="0 to 1", field="leastRisk")
    active_us, born_us = reads.time_of(given.active_since, "activeSince"), reads.time_of(given.born_since, "bornSince")
    return lambda r: (
        r.risk >= given.least_risk
        and (given.pattern is None or given.pattern in r.patterns)
        and (active_us is None or r.last_us >= active_us)
        and (born_us is None or r.born_us >= born_us)
    )

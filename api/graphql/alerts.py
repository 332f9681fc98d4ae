"""Alerts over GraphQL: the list, and what an alert leads to."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry.types import Info

from api import reads
from api.graphql import types as t
from api.graphql.arguments import After, AlertId, First
from api.graphql.connection import Connection
from api.graphql.context import Context, bounded, context_of, described
from desk.cases import cases_of
from ringwatch import model

if TYPE_CHECKING:
    from api.graphql.cases import Case


@strawberry.type(description="Events worth a person's time, grouped")
class Alert(t.AlertLine):
    @described("The case it is in; null where it is in none yet: that takes half a second")
    def case(self, info: Info[Any, Any]) -> Annotated[Case, strawberry.lazy("api.graphql.cases")] | None:
        from api.graphql.cases import cases_as

        context = context_of(info)

        def all_of(ids: Sequence[str]) -> dict[str, Case]:
            found = cases_of(context.here.desk, context.tenant, ids)
            shown = cases_as(context, list({c.case_id: c for c in found.values()}.values()))
            return {alert_id: shown[case.case_id] for alert_id, case in found.items()}

        return context.loads.get("alert", self.id, "case", all_of)

    @described("The ring it was last seen to concern, as it is now; null where it concerns none or that has ended")
    def ring_summary(self, info: Info[Any, Any]) -> t.RingSummary | None:
        return ring_summary(context_of(info), self.ring)

    @described("What its highest scored event was given; null where that is not kept any more")
    def top_event(self, info: Info[Any, Any]) -> t.Assessment | None:
        context = context_of(info)

        def all_of(ids: Sequence[str]) -> dict[str, t.Assessment]:
            stored = context.here.ledger.assessments(context.tenant, ids)
            return {id_: t.assessment_of(one, reads.alert_event(one).features) for id_, one in stored.items()}

        return context.loads.get("event", self.top_event_id, "assessment", all_of)


@strawberry.input(description="All that are given must hold")
class AlertFilter:
    level: str | None = strawberry.field(default=None, description="LOW, MEDIUM, HIGH or CRITICAL")
    pattern: str | None = strawberry.field(default=None, description="A fraud pattern that any of its events fits")
    ring: str | None = strawberry.field(default=None, description="Those about a ring")
    kind: str | None = strawberry.field(default=None, description="Kind of the entity it is about, or ring")
    entity: str | None = strawberry.field(default=None, description="What it is about; needs `kind`")
    account: str | None = strawberry.field(default=None, description="Those that concern an account")
    delivery: str | None = strawberry.field(default=None, description="now or digest")
    since: str | None = strawberry.field(default=None, description="Last event then or later: ISO 8601 with a zone")
    until: str | None = strawberry.field(default=None, description="Last event before then: ISO 8601 with a zone")


@strawberry.enum(description="In which order alerts are listed")
class AlertOrder(Enum):
    NEWEST = strawberry.enum_value("NEWEST", description="The last event first")
    SEVEREST = strawberry.enum_value("SEVEREST", description="The highest level first, in each the last event first")


@strawberry.type
class AlertQueries:
    @described("Alerts; at most 200 at once. One that grows moves to the front of its page")
    def alerts(
        self, info: Info[Any, Any], filter: AlertFilter | None = None, order: AlertOrder = AlertOrder.NEWEST, first: First = 20,
        after: After = None,
    ) -> Connection[Alert]:  # fmt: skip
        context = context_of(info)
        wanted = reads.alert_filter({} if filter is None else vars(filter))
        limit = bounded(first, reads.MOST_ALERTS)
        severest = order is AlertOrder.SEVEREST
        found = reads.alerts(context.here, context.tenant, wanted, limit, after, severest=severest)
        shown = alerts_as(context, found.alerts)
        return Connection(items=shown, places=found.places, more=found.more, began=bool(after), question=found.question)

    @described("An alert; null when there is none")
    def alert(self, info: Info[Any, Any], id: AlertId) -> Alert | None:
        context = context_of(info)
        found = context.here.ledger.alert(context.tenant, id) if reads.is_id(id) else None
        return None if found is None else alerts_as(context, [found])[0]


def alerts_as(context: Context, found: Sequence[model.Alert]) -> list[Alert]:
    """What hangs on them is read for all of them at once."""
    context.loads.expect("alert", (a.alert_id for a in found))
    context.loads.expect("ring", (a.ring for a in found if a.ring))
    context.loads.expect("event", (a.top_event_id for a in found))
    return [Alert(**vars(t.alert_line(a))) for a in found]


def ring_summary(context: Context, ring_id: str | None) -> t.RingSummary | None:
    if not ring_id:
        return None

    def all_of(ids: Sequence[str]) -> dict[str, t.RingSummary]:
        found = context.here.engine.ask_from(reads.summaries_question(context.tenant, ids))
        return {summary.ring_id: t.summary_of(summary) for summary in found}

    return context.loads.get("ring", ring_id, "summary", all_of)

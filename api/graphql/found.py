"""GraphQL types of what people look for: the events of an entity, hits of a search, a path between two entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import strawberry
from strawberry.types import Info

from api import finding
from api.graphql import types as t
from api.graphql.alerts import Alert, alerts_as
from api.graphql.context import context_of, described
from graph import store
from ledger.entity_queries import EntityEvent


@strawberry.type(description="An event of an entity and what it was given")
class TimelineEvent:
    event_id: str = strawberry.field(description="The event")
    type: str = strawberry.field(description="Of the event: payment, login, ...")
    at: str = strawberry.field(description="When it happened")
    user: str | None = strawberry.field(description="Who did it; null where the event names nobody")
    amount_minor: t.Long | None = strawberry.field(
        description="In minor units of the tenant's currency; null without one"
    )
    score: float = strawberry.field(description="Probability of fraud, as it was decided")
    level: str = strawberry.field(description="LOW, MEDIUM, HIGH or CRITICAL")
    action: str = strawberry.field(description="What the policy advised")
    alert_id: str | None = strawberry.field(description="The alert it is in; null where it is in none")

    @described("The alert it is in, as it is now; null where it is in none")
    def alert(self, info: Info[Any, Any]) -> Alert | None:
        if self.alert_id is None:
            return None
        context = context_of(info)

        def all_of(ids: Sequence[str]) -> dict[str, Alert]:
            found = context.here.ledger.alerts_by_id(context.tenant, ids)
            return {alert.id: alert for alert in alerts_as(context, found)}

        return context.loads.get("alert", self.alert_id, "alert", all_of)


@strawberry.type(description="Something whose identifier was looked for")
class Hit:
    kind: str = strawberry.field(description="event, alert, ring, or the kind of an entity")
    id: str = strawberry.field(description="Its whole identifier")
    text: str = strawberry.field(description="What it is, in a line")


@strawberry.type(description="An entity on the way from one to another")
class OnPath:
    kind: str = strawberry.field(description="Of the entity")
    id: str = strawberry.field(description="The entity")
    degree: int = strawberry.field(description="All links it has")
    events: int = strawberry.field(description="Events it was in")
    alerts: int = strawberry.field(description="Alerts it was in")


@strawberry.type(description="A shortest way between two entities")
class Path:
    hops: int | None = strawberry.field(
        description="Links on the way; null where none was found, but something was left out"
    )
    entities: list[OnPath] = strawberry.field(description="From the one to the other, both included")
    links: list[t.Link] = strawberry.field(description="Between each two of them, in their order")
    cuts: list[str] = strawberry.field(
        description="What was left out: hubs, through which no way leads, and bounds that were met. A shorter way may lead there"
    )


def path_of(found: store.Path | None) -> Path | None:
    if found is None:
        return None
    return Path(
        hops=len(found.links) if found.nodes else None,
        entities=[
            OnPath(kind=n.ref.kind, id=n.ref.id, degree=n.degree, events=n.events, alerts=n.alerts) for n in found.nodes
        ],
        links=[t.link_of(x) for x in found.links],
        cuts=list(found.cuts),
    )


def timeline_event(x: EntityEvent) -> TimelineEvent:
    e = x.event
    return TimelineEvent(
        event_id=e.event_id, type=e.type, at=t.time(e.at_us), user=e.user,
        amount_minor=None if e.amount_minor is None else t.Long(e.amount_minor),
        score=x.score, level=x.level, action=x.action, alert_id=x.alert_id,
    )  # fmt: skip


def hit_of(h: finding.Hit) -> Hit:
    return Hit(kind=h.kind, id=h.id, text=h.text)

"""Entities over GraphQL: one with its neighbours and events, a way between two, and what has an identifier."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.types import Info

from api import finding, reads
from api.graphql import found as f
from api.graphql import types as t
from api.graphql.arguments import After, EntityId, First, Kind, Since, Until
from api.graphql.connection import Connection, connection
from api.graphql.context import bounded, context_of, described, of
from graph.store import EntityRef, StoredEntity
from ringwatch.errors import BadInput

MOST_NEIGHBOURS = 50


@strawberry.type(
    description="A user, device, card, ... as the graph knows it: a snapshot interval behind the newest event at most"
)
class Entity:
    kind: str = of("user, device, card, address, ...")
    id: str = of("Its whole identifier")
    first_at: str = of("First seen, in UTC")
    last_at: str = of("Last seen, in UTC")
    events: int = of("Events it was in")
    alerts: int = of("Alerted events it was in")
    amount_minor: t.Long = of("Sum over its events, in minor units of the tenant's currency")
    degree: int = of("All links it has")

    @described("Linked entities, at most 50; over two `hops` also what those are linked to. Only by links to these `kinds` of "
               "things (null: all; to users always), last used at `since` <= time < `until`, of `minEvents` events or more")  # fmt: skip
    def neighbours(
        self, info: Info[Any, Any], first: First = 20, hops: int = 1, kinds: list[str] | None = None,
        since: Since = None, until: Until = None, min_events: int = 1,
    ) -> t.Neighbours:  # fmt: skip
        context = context_of(info)
        bounded(first, MOST_NEIGHBOURS)
        if hops not in (1, 2):
            raise BadInput(f"hops is {hops}", hint="1 or 2", field="hops")
        graph = context.here.graph
        if graph is None:
            raise finding.no_graph()
        root = EntityRef(context.tenant, self.kind, self.id)
        wanted = finding.link_filter(context.here, kinds, since, until, min_events)
        return t.neighbours_of(graph.neighbourhood(root, hops=hops, degree_cap=first, limit=first + 1, wanted=wanted))

    @described("Its events, newest first, at most 200 at once; `since` <= time < `until`, of these `types` (null: all). A page looks at "
               "2,000 events: it may be short and still have a next one")  # fmt: skip
    def timeline(
        self, info: Info[Any, Any], first: First = 20, after: After = None, since: Since = None,
        until: Until = None, types: list[str] | None = None,
    ) -> Connection[f.TimelineEvent]:  # fmt: skip
        context = context_of(info)
        wanted, limit = finding.event_filter(since, until, types), bounded(first, finding.MOST_TIMELINE)
        found = finding.timeline(context.here, context.tenant, (self.kind, self.id), wanted, first=limit, after=after)
        context.loads.expect("alert", (x.alert_id for x in found.events if x.alert_id is not None))
        return connection(
            found.events, f.timeline_event, lambda x: (x.event.at_us, x.event.event_id), after=after, question=found.question, more=found.more
        )  # fmt: skip


@strawberry.type
class EntityQueries:
    @described("An entity of the graph; null when it is not known")
    def entity(self, info: Info[Any, Any], kind: Kind, id: EntityId) -> Entity | None:
        context = context_of(info)
        graph = context.here.graph
        if graph is None:
            raise finding.no_graph()
        finding.known_kind(context.here, kind, "kind")
        if not reads.is_id(id):
            return None
        ref = EntityRef(context.tenant, kind, id)
        found = graph.surroundings([ref], also=[ref], cap=1, limit=1)
        return _entity(found.entities[ref], found.degrees.get(ref, 0)) if ref in found.entities else None

    @described("What has the identifier `text`, of whatever kind: events, alerts, rings, entities; then what has one that begins with it (rings: "
               "whole ones only). At most 50")  # fmt: skip
    def search(self, info: Info[Any, Any], text: str, first: First = 20) -> list[f.Hit]:
        context, limit = context_of(info), bounded(first, finding.MOST_HITS)
        return [f.hit_of(h) for h in finding.search(context.here, context.tenant, text, first=limit)]

    @described("A shortest way between two entities, at most `maxHops` links long (1 to 6), of several always the same one; none leads "
               "through an entity with more than 200 links. Null where there is none and nothing was left out")  # fmt: skip
    def path(
        self,
        info: Info[Any, Any],
        from_kind: Kind,
        from_id: EntityId,
        to_kind: Kind,
        to_id: EntityId,
        max_hops: int = 6,
    ) -> f.Path | None:
        context = context_of(info)
        ends = (from_kind, from_id), (to_kind, to_id)
        return f.path_of(finding.path(context.here, context.tenant, *ends, max_hops))


def _entity(e: StoredEntity, degree: int) -> Entity:
    return Entity(
        kind=e.ref.kind, id=e.ref.id, first_at=t.time(e.first_seen_us), last_at=t.time(e.last_seen_us),
        events=e.events, alerts=e.alerts, amount_minor=t.Long(e.amount_minor), degree=degree,
    )  # fmt: skip

"""The GraphQL schema: what an investigator asks. Resolvers are plain functions of a worker thread."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.extensions import MaxTokensLimiter
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext, Info
from strawberry.types.graphql import OperationType

from api import finding, reads
from api.graphql import explained as x
from api.graphql import found as f
from api.graphql import ring_history as h
from api.graphql import types as t
from api.graphql.cases import CaseMutations, CaseQueries
from api.graphql.checked import Checked
from api.graphql.configured import ConfiguredQueries
from api.graphql.context import bounded as _bounded
from api.graphql.context import context_of as _context
from api.graphql.context import described as _field
from api.graphql.deciding import DecidingMutations, DecidingQueries
from api.graphql.erasing import ErasingMutations
from api.graphql.limits import MOST_TOKENS
from api.graphql.streams import Subscription
from explain.replay import replay
from graph.store import EntityRef, StoredEntity
from rings import ring as rings
from ringwatch.errors import BadInput

MOST_NEIGHBOURS, MOST_MEMBERS, MOST_LINKS = 50, 1000, 2000


@strawberry.input
class AlertFilter:
    """All that are given must hold. `since` and `until` are ISO 8601 with a zone."""

    level: str | None = None
    pattern: str | None = None
    ring: str | None = None
    kind: str | None = None
    entity: str | None = None
    account: str | None = None
    delivery: str | None = None
    since: str | None = None
    until: str | None = None


@strawberry.type
class Entity:
    """A user, device, card, ... as the graph knows it: a snapshot interval behind the newest event at most."""

    kind: str
    id: str
    first_at: str
    last_at: str
    events: int
    alerts: int
    amount_minor: t.Long
    degree: int

    @_field("Linked entities, at most 50; over two hops also what those are linked to. Only by links to these kinds of things (to users "
            "always), last used at `since` <= time < `until`, of `minEvents` events or more")  # fmt: skip
    def neighbours(
        self, info: Info[Any, Any], first: int = 20, hops: int = 1, kinds: list[str] | None = None,
        since: str | None = None, until: str | None = None, min_events: int = 1,
    ) -> t.Neighbours:  # fmt: skip
        context = _context(info)
        _bounded(first, MOST_NEIGHBOURS)
        if hops not in (1, 2):
            raise BadInput(f"hops is {hops}", hint="1 or 2", field="hops")
        graph = context.here.graph
        if graph is None:
            raise finding.no_graph()
        root = EntityRef(context.tenant, self.kind, self.id)
        wanted = finding.link_filter(context.here, kinds, since, until, min_events)
        return t.neighbours_of(graph.neighbourhood(root, hops=hops, degree_cap=first, limit=first + 1, wanted=wanted))

    @_field("Its events, newest first, at most 200 at once; `since` <= time < `until`, of these types")
    def timeline(
        self, info: Info[Any, Any], first: int = 20, after: str | None = None, since: str | None = None,
        until: str | None = None, types: list[str] | None = None,
    ) -> f.EntityTimeline:  # fmt: skip
        context = _context(info)
        wanted = finding.event_filter(since, until, types)
        _bounded(first, finding.MOST_TIMELINE)
        return f.timeline_of(
            finding.timeline(context.here, context.tenant, (self.kind, self.id), wanted, first=first, after=after)
        )


@strawberry.type
class Ring(h.RingPast):
    """A ring: who, what they share, why it is a risk."""

    summary: t.RingSummary
    founding_event: str
    settled_at: str
    truncated: bool
    parts: list[t.RingPart]
    whole: strawberry.Private[rings.Ring]

    @_field("By time of joining; at most 1,000")
    def members(self, first: int = 100) -> list[t.Member]:
        return [t.member_of(m) for m in self.whole.members[: _bounded(first, MOST_MEMBERS)]]

    @_field("What at least two members share, most users first; at most 1,000")
    def shared(self, first: int = 100) -> list[t.Shared]:
        return [t.shared_of(s) for s in self.whole.shared[: _bounded(first, MOST_MEMBERS)]]

    @_field("Members' links to what is shared; at most 2,000")
    def links(self, first: int = 200) -> list[t.Link]:
        return [t.ring_link_of(link) for link in self.whole.links[: _bounded(first, MOST_LINKS)]]


@strawberry.type
class Query(CaseQueries, DecidingQueries, ConfiguredQueries):
    """Everything is of the key's tenant."""

    @_field("Alerts, newest last event first; at most 200 at once")
    def alerts(
        self, info: Info[Any, Any], filter: AlertFilter | None = None, first: int = 20, after: str | None = None
    ) -> t.AlertPage:
        context = _context(info)
        wanted = reads.alert_filter({} if filter is None else vars(filter))
        page, more = reads.alert_page(context.here, context.tenant, wanted, _bounded(first, reads.MOST_ALERTS), after)
        return t.AlertPage(items=[t.alert_of(a) for a in page], next=more)

    @_field("An alert; null when there is none")
    def alert(self, info: Info[Any, Any], id: str) -> t.Alert | None:
        context = _context(info)
        found = context.here.ledger.alert(context.tenant, id) if reads.is_id(id) else None
        return None if found is None else t.alert_of(found)

    @_field("What an event was given; null when it is not known")
    def assessment(self, info: Info[Any, Any], event_id: str) -> t.Assessment | None:
        context = _context(info)
        found = context.here.ledger.stored(context.tenant, event_id) if reads.is_id(event_id) else None
        return None if found is None else t.assessment_of(found, reads.alert_event(found).features)

    @_field("Why an event was given what it was, from what was stored with the decision; of an alert its highest scored event. Null when "
            "there is none")  # fmt: skip
    def explanation(
        self, info: Info[Any, Any], alert_id: str | None = None, event_id: str | None = None
    ) -> x.Explanation | None:
        context = _context(info)
        found = reads.decided(context.here, context.tenant, alert_id, event_id)
        return None if found is None else x.explanation_of(reads.explained(context.here, found), found)

    @_field("A decision made anew from what was stored with it: identical to the bit, or what differs; of an alert its highest scored "
            "event. Null when there is none")  # fmt: skip
    def replay(self, info: Info[Any, Any], alert_id: str | None = None, event_id: str | None = None) -> x.Replay | None:
        context = _context(info)
        found = reads.decided(context.here, context.tenant, alert_id, event_id)
        return None if found is None else x.replay_of(replay(context.here.past, found))

    @_field("An entity of the graph; null when it is not known")
    def entity(self, info: Info[Any, Any], kind: str, id: str) -> Entity | None:
        context = _context(info)
        graph = context.here.graph
        if graph is None:
            raise finding.no_graph()
        finding.known_kind(context.here, kind, "kind")
        if not reads.is_id(id):
            return None
        ref = EntityRef(context.tenant, kind, id)
        found = graph.surroundings([ref], also=[ref], cap=1, limit=1)
        return _entity(found.entities[ref], found.degrees.get(ref, 0)) if ref in found.entities else None

    @_field("What has this identifier, of whatever kind: events, alerts, rings, entities; then what has one that begins with it (rings: "
            "whole ones only). At most 50")  # fmt: skip
    def search(self, info: Info[Any, Any], text: str, first: int = 20) -> list[f.Hit]:
        context = _context(info)
        _bounded(first, finding.MOST_HITS)
        return [f.hit_of(h) for h in finding.search(context.here, context.tenant, text, first=first)]

    @_field("A shortest way between two entities, at most 6 links long, of several always the same one; none leads through an entity with "
            "more than 200 links. Null where there is none and nothing was left out")  # fmt: skip
    def path(
        self, info: Info[Any, Any], from_kind: str, from_id: str, to_kind: str, to_id: str, max_hops: int = 6
    ) -> f.Path | None:
        context = _context(info)
        ends = (from_kind, from_id), (to_kind, to_id)
        return f.path_of(finding.path(context.here, context.tenant, *ends, max_hops))

    @_field("Rings, highest risk first; at most 100")
    def rings(self, info: Info[Any, Any], first: int = 20, least_users: int = 2) -> list[t.RingSummary]:
        context = _context(info)
        _bounded(first, 100)
        if least_users < 2:
            raise BadInput(f"leastUsers is {least_users}", hint="2 or more", field="leastUsers")
        found = context.here.engine.ask_from(reads.rings_question(context.tenant, least_users))
        return [t.summary_of(s) for s in found[:first]]

    @_field(
        "A ring; null when there is none. One that has ended has its past. `asOf` is the time of `then`, ISO 8601 with a zone"
    )
    def ring(self, info: Info[Any, Any], id: str, as_of: str | None = None) -> Ring | None:
        context = _context(info)
        past = h.Past(context.here.ledger, context.tenant, id, as_of)
        found: rings.Ring | None = context.here.engine.ask_from(reads.ring_question(context.tenant, id)) or past.gone()
        if found is None:
            return None
        return Ring(
            summary=t.summary_of(found.summary),
            founding_event=found.founding_event,
            settled_at=t.time(found.settled_us),
            truncated=found.truncated,
            parts=[t.RingPart(code=p.code, text=p.text, value=p.value) for p in found.parts],
            whole=found,
            past=past,
        )


@strawberry.type
class Mutation(CaseMutations, DecidingMutations, ErasingMutations):
    """What people do; all of it is in the audit trail. Needs a key that may `act`, or what stands at the field."""


def _entity(e: StoredEntity, degree: int) -> Entity:
    return Entity(
        kind=e.ref.kind, id=e.ref.id, first_at=t.time(e.first_seen_us), last_at=t.time(e.last_seen_us),
        events=e.events, alerts=e.alerts, amount_minor=t.Long(e.amount_minor), degree=degree,
    )  # fmt: skip


class Schema(strawberry.Schema):
    """Says nothing by itself when a resolver fails: the route logs and answers."""

    def process_errors(self, errors: list[Any], execution_context: ExecutionContext | None = None) -> None:
        return

    async def stream(self, *args: Any, **more: Any) -> Any:
        """Over WebSocket: subscriptions only; resolvers of the rest would hold the event loop up."""
        return await super().stream(*args, **{**more, "allowed_operation_types": (OperationType.SUBSCRIPTION,)})


schema = Schema(
    Query,
    Mutation,
    Subscription,
    config=StrawberryConfig(scalar_map={t.Long: t.LONG}),
    extensions=[lambda: MaxTokensLimiter(MOST_TOKENS), Checked],
)

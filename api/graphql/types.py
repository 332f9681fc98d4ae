"""GraphQL types: the model's values, in GraphQL's words. Times are ISO 8601 in UTC; amounts are in minor units."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NewType

import strawberry

from graph import store
from graph.alert_query import alert_query
from ledger.store import StoredAssessment
from rings import ring as rings
from ringwatch import model

Long = NewType("Long", int)
LONG = strawberry.scalar(
    name="Long", description="A whole number within 2^53 either way", serialize=int, parse_value=int
)


@strawberry.type
class Named:
    """A number with its name: a feature, a scorer's score, a stage's microseconds."""

    name: str
    value: float | None


@strawberry.type
class Reason:
    """Why the score is what it is."""

    code: str
    text: str
    contribution: float
    kind: str | None
    entity: str | None


@strawberry.type
class Id:
    """An entity of the event."""

    kind: str
    id: str


@strawberry.type
class Assessment:
    """What an event was given, and why."""

    event_id: str
    type: str
    at: str
    user: str | None
    entities: list[Id]
    amount_minor: Long | None
    score: float
    level: str
    action: str
    scores: list[Named]
    reasons: list[Reason]
    features: list[Named]
    patterns: list[str]
    degraded: list[str]
    timing_us: list[Named]
    ring: str | None
    ring_age_s: float | None
    embedding_age_s: float | None
    schema_version: str
    policy_version: str


@strawberry.type
class Alert:
    """A group of events worth a person's time."""

    id: str
    level: str
    delivery: str
    kind: str
    entity: str
    reason: str
    text: str
    score: float
    events: int
    first_at: str
    last_at: str
    amount_minor: Long
    patterns: list[str]
    accounts: list[str]
    ring: str | None
    top_event_id: str
    query: str = strawberry.field(description="Cypher that opens its picture in Neo4j Browser")


@strawberry.type
class AlertPage:
    items: list[Alert]
    next: str | None = strawberry.field(description="`after` of the next page; null at the end")


@strawberry.type
class Neighbour:
    """An entity near the one asked for."""

    kind: str
    id: str
    depth: int
    degree: int
    events: int
    alerts: int
    cut: bool


@strawberry.type
class Link:
    """A user and what it used."""

    user: str
    kind: str
    id: str
    first_at: str
    last_at: str
    events: int
    amount_minor: Long
    fails: int


@strawberry.type
class Neighbours:
    """The most recent links, bounded; `cuts` says what was left out."""

    nodes: list[Neighbour]
    links: list[Link]
    cuts: list[str]


@strawberry.type
class RingPart:
    code: str
    text: str
    value: float


@strawberry.type
class Member:
    user: str
    joined_at: str
    last_at: str
    young: bool
    departed: bool
    fraud: bool
    patterns: list[str]


@strawberry.type
class Shared:
    kind: str
    entity: str
    users: int
    first_at: str
    last_at: str
    verdict: str


@strawberry.type
class RingSummary:
    """A line of the list of rings."""

    id: str
    risk: float
    users: int
    things: int
    born_at: str
    last_at: str
    patterns: list[str]
    amount_minor: Long


def time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000).isoformat()


def named(values: dict[str, float] | dict[str, float | None]) -> list[Named]:
    return [Named(name=name, value=value) for name, value in values.items()]


def reason_of(r: model.Reason) -> Reason:
    return Reason(code=r.code, text=r.text, contribution=r.contribution, kind=r.kind, entity=r.entity)


def assessment_of(stored: StoredAssessment, features: dict[str, float]) -> Assessment:
    a, event = stored.assessment, stored.event
    return Assessment(
        event_id=a.event_id, type=event.type, at=time(a.at_us), user=a.user,
        entities=[Id(kind=kind, id=id_) for kind, id_ in event.entities.items()],
        amount_minor=None if event.amount_minor is None else Long(event.amount_minor),
        score=a.score, level=a.level, action=a.action, scores=named(a.scores),
        reasons=[reason_of(r) for r in a.reasons],
        features=named(features), patterns=list(a.patterns), degraded=list(a.degraded), timing_us=named(a.timing_us),
        ring=a.ring, ring_age_s=a.ring_age_s, embedding_age_s=a.embedding_age_s, schema_version=a.versions.schema, policy_version=a.versions.policy,
    )  # fmt: skip


def alert_of(a: model.Alert) -> Alert:
    return Alert(
        id=a.alert_id, level=a.level, delivery=a.delivery, kind=a.kind, entity=a.entity, reason=a.reason, text=a.text,
        score=a.score, events=a.events, first_at=time(a.first_at_us), last_at=time(a.last_at_us),
        amount_minor=Long(a.amount_minor), patterns=list(a.patterns), accounts=list(a.accounts), ring=a.ring or None,
        top_event_id=a.top_event_id, query=alert_query(a),
    )  # fmt: skip


def link_of(x: store.Link) -> Link:
    return Link(
        user=x.user.id, kind=x.other.kind, id=x.other.id, first_at=time(x.first_seen_us),
        last_at=time(x.last_seen_us), events=x.events, amount_minor=Long(x.amount_minor), fails=x.fails,
    )  # fmt: skip


def neighbours_of(found: store.Neighbourhood) -> Neighbours:
    return Neighbours(
        nodes=[
            Neighbour(
                kind=n.ref.kind, id=n.ref.id, depth=n.depth, degree=n.degree, events=n.events, alerts=n.alerts, cut=n.cut
            )
            for n in found.nodes
            if n.depth
        ],
        links=[link_of(x) for x in found.links],
        cuts=list(found.cuts),
    )  # fmt: skip


def summary_of(s: rings.RingSummary) -> RingSummary:
    return RingSummary(
        id=s.ring_id, risk=s.risk, users=s.users, things=s.things, born_at=time(s.born_us), last_at=time(s.last_us),
        patterns=list(s.patterns), amount_minor=Long(s.amount_minor),
    )  # fmt: skip


def member_of(m: rings.RingMember) -> Member:
    return Member(
        user=m.user, joined_at=time(m.joined_us), last_at=time(m.last_us), young=m.young, departed=m.departed,
        fraud=m.fraud, patterns=list(m.patterns),
    )  # fmt: skip


def shared_of(s: rings.SharedThing) -> Shared:
    return Shared(
        kind=s.kind,
        entity=s.entity,
        users=s.users,
        first_at=time(s.first_us),
        last_at=time(s.last_us),
        verdict=s.verdict,
    )


def ring_link_of(x: rings.RingLink) -> Link:
    return Link(
        user=x.user, kind=x.kind, id=x.entity, first_at=time(x.first_us), last_at=time(x.last_us), events=x.events,
        amount_minor=Long(x.amount_minor), fails=0,
    )  # fmt: skip

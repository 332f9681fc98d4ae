"""GraphQL types: the model's values, in GraphQL's words. Times are ISO 8601 in UTC; amounts are in minor units."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NewType

import strawberry

from api.graphql.context import of
from graph import store
from graph.alert_query import alert_query
from ledger.store import StoredAssessment
from rings import ring as rings
from ringwatch import model

Long = NewType("Long", int)
LONG = strawberry.scalar(
    name="Long", description="A whole number within 2^53 either way", serialize=int, parse_value=int
)


@strawberry.type(description="A number with its name: a feature, a scorer's value, a stage's time")
class Named:
    name: str = of("What it is of")
    value: float | None = of("Null where there is none")


@strawberry.type(description="Why the score is what it is")
class Reason:
    code: str = of("Stable: scorer.what, for example neighbourhood.shared_device")
    text: str = of("In words, with the numbers behind it")
    contribution: float = of("Its share of the score, 0 to 1; those of a decision add up to the score")
    kind: str | None = of("Kind of the entity it is about; null where it is about none")
    entity: str | None = of("The entity it is about; null where it is about none")


@strawberry.type(description="An entity of an event")
class Id:
    kind: str = of("user, device, card, address, ...")
    id: str = of("Its whole identifier")


@strawberry.type(description="What an event was given, as it was stored when it was decided")
class Assessment:
    event_id: str = of("The event")
    type: str = of("Of the event: payment, login, ...")
    at: str = of("When it happened, in UTC")
    user: str | None = of("Who did it; null where the event names nobody")
    entities: list[Id] = of("All it names, the user included")
    amount_minor: Long | None = of("In minor units of the tenant's currency; null without one")
    score: float = of("Probability of fraud, 0 to 1")
    level: str = of("LOW, MEDIUM, HIGH or CRITICAL")
    action: str = of("What the policy advised: allow, review, challenge, block, ...")
    scores: list[Named] = of("What each scorer said, 0 to 1; null where it had nothing to say")
    reasons: list[Reason] = of("The weightiest first")
    features: list[Named] = of("What was known of it, as the scorers saw it; those that were missing are left out")
    patterns: list[str] = of("Fraud patterns that it fits")
    degraded: list[str] = of("What was not as it should be when it was decided; empty: nothing")
    timing_us: list[Named] = of("Microseconds each stage took")
    ring: str | None = of("The ring its user was in; null: none")
    ring_age_s: float | None = of(
        "How old the ring's risk was, in seconds of event time; null where there was no ring data"
    )
    embedding_age_s: float | None = of("How old the graph network's view was, in seconds; null without one")
    schema_version: str = of("Of the features")
    policy_version: str = of("Of levels, weights and actions")


@strawberry.type(description="Events worth a person's time, grouped, without what hangs on them")
class AlertLine:
    id: str = of("Lasts as long as the alert")
    level: str = of("The highest of its events: MEDIUM, HIGH or CRITICAL")
    delivery: str = of("now or digest: how soon somebody should see it")
    kind: str = of("Of what it is about: ring, or a kind of entity")
    entity: str = of("The ring or the entity it is about")
    reason: str = of("Code of its strongest reason")
    text: str = of("Its strongest reason in words")
    score: float = of("The highest of its events, 0 to 1")
    events: int = of("How many are in it")
    first_at: str = of("Of its first event, in UTC")
    last_at: str = of("Of its last event, in UTC")
    amount_minor: Long = of("Sum over its events, in minor units of the tenant's currency")
    patterns: list[str] = of("Fraud patterns that any of its events fits")
    accounts: list[str] = of("Accounts concerned, in order of coming; at most 200")
    ring: str | None = of("The ring it was last seen to concern; null where it concerns none")
    top_event_id: str = of("Its highest scored event: `assessment` and `explanation` tell more of it")
    query: str = of("Cypher that opens its picture in Neo4j Browser")


@strawberry.type(description="An entity near the one asked for")
class Neighbour:
    kind: str = of("Of the entity")
    id: str = of("The entity")
    depth: int = of("Links between it and the one asked for: 1 or 2")
    degree: int = of("All links it has")
    events: int = of("Events it was in")
    alerts: int = of("Alerts it was in")
    cut: bool = of("Whether some of its links were left out")


@strawberry.type(description="A user and what it used")
class Link:
    user: str = of("Who used it")
    kind: str = of("Kind of what was used")
    id: str = of("What was used")
    first_at: str = of("First use, in UTC")
    last_at: str = of("Last use, in UTC")
    events: int = of("How often")
    amount_minor: Long = of("Sum over these events, in minor units of the tenant's currency")
    fails: int = of("Of these events those that failed or were declined; 0 in rings, which do not count them")


@strawberry.type(description="A piece of the graph around an entity, the latest links first")
class Neighbours:
    nodes: list[Neighbour] = of("Without the entity asked for")
    links: list[Link] = of("Between them and the entity asked for")
    cuts: list[str] = of("What was left out, a sentence a bound; empty: nothing")


@strawberry.type(description="A part of a ring's risk; the parts add up to it")
class RingPart:
    code: str = of("Stable: chance, synchrony, young, confirmed, ...")
    text: str = of("In words")
    value: float = of("What it adds; negative where sharing looks innocent")


@strawberry.type(description="An account in a ring")
class Member:
    user: str = of("The account")
    joined_at: str = of("When the first link that holds it there was made, in UTC")
    last_at: str = of("Its last event on what the ring shares, in UTC")
    young: bool = of("Whether it was under a day old when it joined")
    departed: bool = of("Whether it joined by leaving its usual device, card or address")
    fraud: bool = of("Whether it is confirmed as fraud")
    patterns: list[str] = of("Fraud patterns its events were alerted for")


@strawberry.type(description="What at least two members of a ring share")
class Shared:
    kind: str = of("Of the entity")
    entity: str = of("The entity")
    users: int = of("Members that use it")
    first_at: str = of("First use by a member, in UTC")
    last_at: str = of("Last use by a member, in UTC")
    verdict: str = of("household, office, campus, ... where the sharing looks innocent; else empty")
    busted_ring: str | None = of("The ring, confirmed as fraud, that had it before this one; null where none had")


@strawberry.type(description="A line of the list of rings")
class RingSummary:
    id: str = of("Lasts as long as the ring, and is never used again")
    risk: float = of("0 to 1")
    users: int = of("Members")
    things: int = of("Entities they share")
    born_at: str = of("Of the event that founded it, in UTC")
    last_at: str = of("Last event of a member on what they share, in UTC")
    patterns: list[str] = of("Fraud patterns its members were alerted for")
    amount_minor: Long = of("Amounts on links to what they share, in minor units of the tenant's currency")


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


def alert_line(a: model.Alert) -> AlertLine:
    return AlertLine(
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
        busted_ring=s.busted_ring or None,
    )


def ring_link_of(x: rings.RingLink) -> Link:
    return Link(
        user=x.user, kind=x.kind, id=x.entity, first_at=time(x.first_us), last_at=time(x.last_us), events=x.events,
        amount_minor=Long(x.amount_minor), fails=0,
    )  # fmt: skip

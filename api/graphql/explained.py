"""GraphQL types of explanations: why an event was given what it was, what had changed it, and whether it can be made anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import strawberry
from strawberry.types import Info

from api import reads
from api.graphql import types as t
from api.graphql.alerts import Alert, alerts_as
from api.graphql.arguments import First
from api.graphql.context import bounded, context_of, described
from explain import explanation as e
from explain import replay as r
from explain.changes import AsUsual, Change, WithoutUser
from explain.what_if import Outcome
from ledger.store import StoredAssessment
from ringwatch.model import MICROSECONDS

_MOST_SIMILAR = 20


@strawberry.type(description="A thing of the event")
class Thing:
    kind: str = strawberry.field(description="Kind of the entity")
    entity: str = strawberry.field(description="The entity")


@strawberry.type(
    description="One thing changed: an entity or another user on some entities thought away, or a feature as it usually is"
)
class ChangeMade:
    kind: str | None = strawberry.field(
        description="Of the entity that is thought away; null where something else is changed"
    )
    entity: str | None = strawberry.field(
        description="The entity that is thought away, with the user's link to it; null where something else is changed"
    )
    user: str | None = strawberry.field(
        description="Another user that is thought away from `things`; `key:` and 16 hex digits where no event that tells it is kept; null where "
        "something else is changed"
    )
    things: list[Thing] = strawberry.field(description="The entities that another user is thought away from; else none")
    feature: str | None = strawberry.field(
        description="The feature that is as it usually is; null where something else is changed"
    )
    usual: float | None = strawberry.field(description="Its usual value; null where most events do not have it")


@strawberry.type(description="What the event had been given with the changes")
class WhatIf:
    changes: list[ChangeMade] = strawberry.field(description="All of them at once")
    score: float = strawberry.field(description="Probability of fraud then")
    level: str = strawberry.field(description="LOW, MEDIUM, HIGH or CRITICAL")
    action: str = strawberry.field(description="What the policy had advised")
    less: float = strawberry.field(description="How much lower the score is; negative where it is higher")
    patterns_gone: list[str] = strawberry.field(
        description="Fraud patterns that the event fits, and had not fitted then"
    )


@strawberry.type(description="A link of the event's user and what hangs on it")
class EvidenceLink:
    kind: str = strawberry.field(description="Kind of the entity")
    entity: str = strawberry.field(description="The entity")
    text: str = strawberry.field(description="What is remarkable about it, in words")
    less: float = strawberry.field(description="How much lower the score had been without it")
    share: float = strawberry.field(description="That, as a share of the score")
    users: int | None = strawberry.field(
        description="Users on it ever, this one included; null where the kind links nobody"
    )
    users_24h: int | None = strawberry.field(
        description="Of these those of the last 24 hours; null where the kind links nobody"
    )
    frauds: int = strawberry.field(description="Users on it that were confirmed as fraud by then")
    link_age_s: float | None = strawberry.field(
        description="Seconds since the user was first seen on it; null where that is not known"
    )
    new: bool = strawberry.field(description="Whether this event was the first")
    without: WhatIf = strawberry.field(description="What had been without it")


@strawberry.type(
    description="Another user on the event's entities, and what its links to them carry; as of the decision"
)
class OtherUser:
    user: str = strawberry.field(description="The user; `key:` and 16 hex digits where no event that tells it is kept")
    things: list[Thing] = strawberry.field(
        description="The entities it is thought away from: one, or all of the event's that it was seen on"
    )
    text: str = strawberry.field(description="What is known of it there, in words")
    less: float = strawberry.field(description="How much lower the score had been without it there")
    share: float = strawberry.field(description="That, as a share of the score")
    first_at: str = strawberry.field(description="Its first event there, to the second")
    last_at: str = strawberry.field(description="Its last event there, to the second")
    events: int = strawberry.field(description="Its events there")
    fraud: bool = strawberry.field(description="Whether it was confirmed as fraud")
    good: bool = strawberry.field(description="Whether it was confirmed as good")
    without: WhatIf = strawberry.field(description="What had been without it there")


@strawberry.type(description="A feature that is not as usual, and counts")
class OddFeature:
    name: str = strawberry.field(description="As in the list of features")
    definition: str = strawberry.field(description="What it measures")
    unit: str = strawberry.field(description="Of its values")
    value: float = strawberry.field(description="What it was")
    usual: float | None = strawberry.field(
        description="Median of earlier events without an alert; null where most of them do not have it"
    )
    high: float | None = strawberry.field(
        description="95 % of these lie at or below; null where most of them do not have it"
    )
    as_usual: WhatIf = strawberry.field(description="What had been with the usual value")


@strawberry.type(description="What happened beside what is usual for one entity")
class Habit:
    kind: str = strawberry.field(description="Kind of the entity")
    entity: str = strawberry.field(description="The entity")
    what: str = strawberry.field(description="amount, events_24h, hour_share, category_share or country_changed")
    value: float = strawberry.field(description="Now; amounts in minor units")
    usual: float | None = strawberry.field(description="Usually; null where the value is a share of the past itself")
    text: str = strawberry.field(description="In words")


@strawberry.type(description="An earlier alert that is like this decision")
class SimilarAlert:
    alert: Alert = strawberry.field(description="The alert")
    similarity: float = strawberry.field(description="Cosine of what each reason carries, 0.5 to 1")
    reasons: list[str] = strawberry.field(description="Codes of the reasons that both have, the weightiest first")
    outcome: str | None = strawberry.field(
        description="fraud, false_positive or not_sure: of its case, else by labels of its accounts and its highest scored event; null "
        "where nobody has said"
    )


@strawberry.type(description="Why an event was given what it was; from what was stored with the decision alone")
class Explanation:
    then: strawberry.Private[StoredAssessment]
    event_id: str = strawberry.field(description="The event; of an alert its highest scored one")
    score: float = strawberry.field(description="Probability of fraud")
    level: str = strawberry.field(description="LOW, MEDIUM, HIGH or CRITICAL")
    action: str = strawberry.field(description="What the policy advised")
    reasons: list[t.Reason] = strawberry.field(description="With their contributions, the weightiest first")
    adds_up_to: float = strawberry.field(description="Sum of the contributions")
    evidence: list[EvidenceLink] = strawberry.field(description="The event's entities, the strongest first")
    others: list[OtherUser] | None = strawberry.field(
        description="Other users on these whose links carry something, the strongest first, at most 8; null where links were not kept "
        "with the decision: of alerts and of what is not simply allowed they are, of one in a hundred of the rest, and of nothing before that"
    )
    features: list[OddFeature] = strawberry.field(
        description="What was unusual and counts, the strongest first; at most 12"
    )
    habits: list[Habit] = strawberry.field(description="What is usual for the event's entities themselves")
    flip: WhatIf | None = strawberry.field(
        description="The smallest set of changes found that had made the advice milder; null where there is none"
    )
    peers: int = strawberry.field(description="Earlier events without an alert that the usual is taken from")
    of_type: bool = strawberry.field(description="Whether these are of the event's type")
    summary: list[str] = strawberry.field(description="Sentences for the file, made of these numbers")
    network_counts: bool | None = strawberry.field(
        description="Whether the changes count what the model's graph network had said without what is thought away; false where what it saw was "
        "not kept, so that its answer stays as it was; null where it had no part in the score"
    )
    trouble: str | None = strawberry.field(
        description="Why nothing is told of changes: what made the decision is not there any more; null where it is told"
    )

    @described("Alerts like it that had ended before, the most alike first, of the latest 500; at most 20")
    def similar(self, info: Info[Any, Any], first: First = 5) -> list[SimilarAlert]:
        context = context_of(info)
        found = reads.alike(context.here, context.tenant, self.then, bounded(first, _MOST_SIMILAR))
        shown = alerts_as(context, [s.alert for s, _ in found])
        return [
            SimilarAlert(alert=alert, similarity=s.similarity, reasons=list(s.reasons), outcome=outcome)
            for alert, (s, outcome) in zip(shown, found, strict=True)
        ]


@strawberry.type(description="Something that is not as it was")
class Difference:
    what: str = strawberry.field(
        description="score, level, action, patterns, reasons, scores.NAME; or of versions what makes it"
    )
    then: str = strawberry.field(description="As it was stored")
    now: str = strawberry.field(description="As it is made now")


@strawberry.type(description="A decision made anew from what was stored with it")
class Replay:
    event_id: str = strawberry.field(description="The event; of an alert its highest scored one")
    identical: bool = strawberry.field(description="Whether all is the same, to the bit")
    differences: list[Difference] = strawberry.field(description="What is not")
    versions: list[Difference] = strawberry.field(description="What decides now in another version than then")
    taken: list[str] = strawberry.field(description="Scorers that were not asked again: what they said then counts")
    trouble: str | None = strawberry.field(description="Why it could not be made anew; null where it was")
    missing: str | None = strawberry.field(
        description="What of the event was erased since: what reads it may say something else; null where nothing was"
    )


def _change(c: Change, then: StoredAssessment, names: Mapping[int, str]) -> ChangeMade:
    if isinstance(c, AsUsual):
        return ChangeMade(kind=None, entity=None, user=None, things=[], feature=c.feature, usual=c.usual)
    if isinstance(c, WithoutUser):
        things = _things((kind, then.event.entities[kind]) for kind in c.kinds)
        return ChangeMade(kind=None, entity=None, user=names[c.key], things=things, feature=None, usual=None)
    return ChangeMade(kind=c.kind, entity=c.entity, user=None, things=[], feature=None, usual=None)


def _things(found: Iterable[tuple[str, str]]) -> list[Thing]:
    return [Thing(kind=kind, entity=entity) for kind, entity in found]


def explanation_of(found: e.Explanation, then: StoredAssessment) -> Explanation:
    def what_if(o: Outcome) -> WhatIf:
        changes = [_change(c, then, found.names) for c in o.changes]
        return WhatIf(
            changes=changes,
            score=o.score,
            level=o.level,
            action=o.action,
            less=o.less,
            patterns_gone=list(o.patterns_gone),
        )

    def other(x: e.OtherUser) -> OtherUser:
        return OtherUser(
            user=x.user, things=_things(x.on), text=x.text, less=x.less, share=x.share, events=x.events, fraud=x.fraud,
            good=x.good, first_at=t.time(x.first_s * MICROSECONDS), last_at=t.time(x.last_s * MICROSECONDS),
            without=what_if(x.without),
        )  # fmt: skip

    return Explanation(
        then=then, event_id=found.event_id, score=found.score, level=found.level, action=found.action,
        reasons=[t.reason_of(x) for x in found.reasons], adds_up_to=found.adds_up_to,
        evidence=[
            EvidenceLink(
                kind=x.kind, entity=x.entity, text=x.text, less=x.less, share=x.share, users=x.users, users_24h=x.users_24h,
                frauds=x.frauds, link_age_s=x.link_age_s, new=x.new, without=what_if(x.without),
            )
            for x in found.evidence
        ],
        others=None if found.others is None else [other(x) for x in found.others],
        features=[
            OddFeature(
                name=x.name, definition=x.definition, unit=x.unit, value=x.value, usual=x.usual, high=x.high,
                as_usual=what_if(x.as_usual),
            )
            for x in found.features
        ],
        habits=[
            Habit(kind=x.kind, entity=x.entity, what=x.what, value=x.value, usual=x.usual, text=x.text) for x in found.habits
        ],
        flip=None if found.flip is None else what_if(found.flip), peers=found.peers, of_type=found.of_type, network_counts=found.network_counts,
        trouble=found.trouble or None,
        summary=list(found.summary),
    )  # fmt: skip


def replay_of(found: r.Replayed) -> Replay:
    return Replay(
        event_id=found.event_id, identical=found.identical, differences=_differences(found.differences),
        versions=_differences(found.versions), taken=list(found.taken), trouble=found.trouble or None,
        missing=found.missing or None,
    )  # fmt: skip


def _differences(found: tuple[r.Difference, ...]) -> list[Difference]:
    return [Difference(what=d.what, then=d.then, now=d.now) for d in found]

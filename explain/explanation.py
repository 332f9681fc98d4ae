"""Why an event was given what it was: everything from what was stored with the decision, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from explain.changes import AsUsual, Change, WithoutEntity, WithoutUser
from explain.habits import Habit, habits_of
from explain.others import FLAGS, NamesOf, Others, key_name
from explain.past import Past
from explain.usual import Usual, usual_of
from explain.what_if import Outcome, WhatIf
from features.record import LINK_FRAUD, LINK_GOOD
from features.schema import FeatureSchema
from ledger.store import Peers, StoredAssessment
from ringwatch.errors import Corrupt, NotFound
from ringwatch.model import MICROSECONDS, Reason

_FEATURES, _OTHERS = 12, 8


class Evidence(msgspec.Struct, frozen=True):
    """A link of the event's user, and what hangs on it."""

    kind: str
    entity: str
    less: float
    """How much lower the score had been without it; negative where it speaks for the user."""
    share: float
    """That, of the score."""
    users: int | None
    """Users on the entity ever, this one included; None where the kind does not link users."""
    users_24h: int | None
    frauds: int
    """Links of the entity to users confirmed as fraud."""
    link_age_s: float | None
    new: bool
    """Whether this event made the link."""
    without: Outcome
    text: str


class OtherUser(msgspec.Struct, frozen=True):
    """Another user on the event's entities, and what its links carry."""

    user: str
    """Its name; `key:` and 16 hex digits where no event that tells it is kept."""
    on: tuple[tuple[str, str], ...]
    """(kind, id) of the entities it is thought away from: one link, or all it has to the event's entities."""
    first_s: int
    """Second since 1970 of its first event on them."""
    last_s: int
    events: int
    """Of it on them by then."""
    fraud: bool
    """Confirmed as fraud by then."""
    good: bool
    less: float
    """How much lower the score had been without it there."""
    share: float
    """That, of the score."""
    without: Outcome
    text: str


class OddFeature(msgspec.Struct, frozen=True):
    """A feature that is not as usual, and counts."""

    name: str
    definition: str
    unit: str
    value: float
    usual: float | None
    """Median of the peers that have it; None where most of them do not."""
    high: float | None
    """95 % of the peers that have it lie at or below."""
    known: int
    """Peers that have it."""
    as_usual: Outcome


class Explanation(msgspec.Struct, frozen=True):
    event_id: str
    score: float
    level: str
    action: str
    reasons: tuple[Reason, ...]
    adds_up_to: float
    """Sum of the reasons' contributions: the score."""
    evidence: tuple[Evidence, ...]
    """The strongest first."""
    others: tuple[OtherUser, ...] | None
    """Other users whose links carry something, the strongest first, at most 8; None where links were not kept with the decision."""
    names: dict[int, str]
    """Of the users that changes are about, by their keys."""
    features: tuple[OddFeature, ...]
    """The strongest first."""
    habits: tuple[Habit, ...]
    flip: Outcome | None
    """The smallest set of changes found that had made the action milder; None where there is none, or nothing milder."""
    peers: int
    """Earlier events without any alert that the usual is taken from."""
    of_type: bool
    """Whether they are of the event's type."""
    summary: tuple[str, ...]
    """Sentences for the file, each made of these numbers."""
    network_counts: bool | None
    """Whether the falls told here count what the model's graph network had said without the links; False where what it saw was not kept, and
    it stays as it was; None where it had no part."""
    trouble: str
    """Why nothing is told of changes: what made the decision is not there any more; empty where it is told."""


class Changes(msgspec.Struct, frozen=True):
    """What the decision had been with something changed; nothing where that cannot be told."""

    evidence: tuple[Evidence, ...] = ()
    others: tuple[OtherUser, ...] | None = None
    names: dict[int, str] = {}
    features: tuple[OddFeature, ...] = ()
    flip: Outcome | None = None
    network_counts: bool | None = None
    trouble: str = ""


def explain(past: Past, then: StoredAssessment, peers: Peers, names_of: NamesOf = lambda sought: {}) -> Explanation:
    """`peers`: events of the tenant before this one that nobody found remarkable."""
    usual = usual_of(past.schema, then, peers)
    try:
        changes = _changes(WhatIf(past, then, usual), then, usual, names_of)
    except (NotFound, Corrupt) as error:
        changes = Changes(trouble=f"{error.message}: {error.hint}" if error.hint else error.message)
    a = then.assessment
    total = float(np.sum([r.contribution for r in a.reasons]))
    return Explanation(
        a.event_id, a.score, a.level, a.action, a.reasons, total, changes.evidence, changes.others, changes.names, changes.features,
        habits_of(then.event, then.features), changes.flip, usual.peers, usual.of_type, _summary(then, changes, usual),
        changes.network_counts, changes.trouble,
    )  # fmt: skip


def _changes(what_if: WhatIf, then: StoredAssessment, usual: Usual, names_of: NamesOf) -> Changes:
    if trouble := what_if.trouble():
        return Changes(trouble=trouble)
    flip = what_if.flip()
    strongest = what_if.others()[:_OTHERS]
    names = _names(what_if.links, [*strongest, *([flip] if flip else [])], names_of)
    return Changes(
        tuple(_evidence(then, o) for o in what_if.entities()),
        tuple(_other(then, what_if.links, o, names) for o in strongest) if what_if.links.known else None,
        names,
        tuple(_odd(what_if.schema, then, usual, o) for o in what_if.features()[:_FEATURES] if o.less > 0.0),
        flip,
        what_if.network_counts,
    )


def _names(links: Others, outcomes: Sequence[Outcome], names_of: NamesOf) -> dict[int, str]:
    """Of every user these are about."""
    keys = list(dict.fromkeys(c.key for o in outcomes for c in o.changes if isinstance(c, WithoutUser)))
    told = names_of([links.sought(key) for key in keys]) if keys else {}
    return {key: told.get(key) or key_name(key) for key in keys}


def _other(then: StoredAssessment, links: Others, outcome: Outcome, names: Mapping[int, str]) -> OtherUser:
    (change,) = outcome.changes
    assert isinstance(change, WithoutUser)
    mine = [links.by_user[change.key][kind] for kind in change.kinds]
    flags = int(np.bitwise_or.reduce([link["flags"] for link in mine]))
    last_s = max(int(link["last_s"]) for link in mine)
    words = [text for flag, text in FLAGS if flags & flag]
    words.append(f"last seen there {_age(then.event.at_us / MICROSECONDS - last_s)} before")
    score = then.assessment.score
    return OtherUser(
        names[change.key], tuple((kind, then.event.entities[kind]) for kind in change.kinds),
        min(int(link["first_s"]) for link in mine), last_s, sum(int(link["count"]) for link in mine),
        bool(flags & LINK_FRAUD), bool(flags & LINK_GOOD), outcome.less, outcome.less / score if score > 0.0 else 0.0, outcome,
        ", ".join(words),
    )  # fmt: skip


def _evidence(then: StoredAssessment, outcome: Outcome) -> Evidence:
    (change,) = outcome.changes
    assert isinstance(change, WithoutEntity)
    kind = change.kind

    def of(name: str) -> float | None:
        return then.features.get(f"{kind}.{name}")

    users, users_24h, frauds, age_s = (
        of("neighbours_all"),
        of("neighbours_24h"),
        of("fraud_neighbours") or 0.0,
        of("link_age_s"),
    )
    score = then.assessment.score
    words = [] if users is None else [f"{users:,.0f} user{'s' if users != 1 else ''}"]
    words += [f"{users_24h:,.0f} in 24 hours"] if users_24h is not None and users_24h > 1 else []
    words += [f"{frauds:,.0f} confirmed as fraud"] if frauds else []
    words += (
        ["new to the user"] if of("link_new") == 1.0 else [f"the user's for {_age(age_s)}"] if age_s is not None else []
    )
    return Evidence(
        kind, change.entity, outcome.less, outcome.less / score if score > 0.0 else 0.0, None if users is None else int(users),
        None if users_24h is None else int(users_24h), int(frauds), age_s, of("link_new") == 1.0, outcome, ", ".join(words),
    )  # fmt: skip


def _odd(schema: FeatureSchema, then: StoredAssessment, usual: Usual, outcome: Outcome) -> OddFeature:
    (change,) = outcome.changes
    assert isinstance(change, AsUsual)
    at = schema.column(change.feature)
    about, high = schema.features[at], float(usual.high[at])
    return OddFeature(
        change.feature, about.definition, about.unit, then.features[change.feature], change.usual, None if high != high else high,
        int(usual.known[at]), outcome,
    )  # fmt: skip


def _summary(then: StoredAssessment, changes: Changes, usual: Usual) -> tuple[str, ...]:
    a, event = then.assessment, then.event
    user = f" of user {event.user}" if event.user else ""
    found = [f"The {event.type.replace('_', ' ')}{user} has score {a.score:.2f}, level {a.level}; advised: {a.action}."]
    if a.reasons:
        told = "; ".join(f"{r.text} ({r.contribution:.2f})" for r in a.reasons[:3] if r.contribution > 0.0)
        found += [f"Reasons, with their part of the score: {told}."] if told else []
    if changes.trouble:
        return (*found, f"What had changed the advice cannot be told: {changes.trouble}.")
    if changes.evidence and changes.evidence[0].less > 0.0:
        e = changes.evidence[0]
        found.append(
            f"It rests on {e.kind} {e.entity} ({e.text}): without it the score is {e.without.score:.2f}, advised: {e.without.action}."
        )
    if changes.others and changes.others[0].less > 0.0:
        o = changes.others[0]
        things = " and ".join(f"{kind} {id_}" for kind, id_ in o.on)
        found.append(
            f"Without user {o.user} on {things} ({o.text}) the score is {o.without.score:.2f}, advised: {o.without.action}."
        )
    if changes.features:
        f = changes.features[0]
        found.append(
            f"{f.name} is {f.value:,.4g}; {_normal(f, usual, event.type)}: as usual, the score is {f.as_usual.score:.2f}."
        )
    if changes.flip is not None:
        words = " and ".join(_words(c, then, changes.names) for c in changes.flip.changes)
        found.append(f"The advice had been {changes.flip.action}, with score {changes.flip.score:.2f}, {words}.")
    elif a.action != "allow":
        found.append(f"No change of a few of its entities and links had made the advice milder than {a.action}.")
    return tuple(found)


def _normal(f: OddFeature, usual: Usual, type_: str) -> str:
    of_type = f" of type {type_}" if usual.of_type else ""
    peers = f"{usual.peers} earlier events{of_type} without an alert"
    if not usual.peers:
        return "there are no earlier events without an alert, so that none is usual"
    if f.usual is None:
        return f"{f.known} of {peers} have it"
    return f"of {peers} {f.known} have it, half of these {f.usual:,.4g} or less"


def _words(change: Change, then: StoredAssessment, names: Mapping[int, str]) -> str:
    if isinstance(change, WithoutEntity):
        return f"without {change.kind} {change.entity}"
    if isinstance(change, WithoutUser):
        on = " and ".join(f"{kind} {then.event.entities[kind]}" for kind in change.kinds)
        return f"without user {names[change.key]} on {on}"
    return f"with {change.feature} {'missing' if change.usual is None else f'at {change.usual:,.4g}'}"


def _age(seconds: float) -> str:
    for unit, length in (("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0)):
        if seconds >= length:
            n = int(seconds // length)
            return f"{n:,} {unit}{'s' if n != 1 else ''}"
    return "under a minute"

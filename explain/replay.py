"""A decision made anew from what was stored with it: to the bit, or what differs."""

from __future__ import annotations

import msgspec

from explain.past import UNUSABLE_CODE, Past, Told
from ledger.personal import ERASED, FIELDS
from ledger.store import StoredAssessment
from ringwatch.errors import RingwatchError
from scorers.learned.book import NONE
from scorers.learned.inputs import CHALLENGER, LEARNED

_ERASED = f"erased: {', '.join(FIELDS)}"


class Difference(msgspec.Struct, frozen=True):
    """Something that is not as it was."""

    what: str
    then: str
    now: str


class Replayed(msgspec.Struct, frozen=True):
    """A decision made anew from what was stored with it."""

    event_id: str
    identical: bool
    """Score, level, action, patterns, every scorer's value and every reason are the same, to the bit."""
    differences: tuple[Difference, ...] = ()
    versions: tuple[Difference, ...] = ()
    """What decides now in another version than then."""
    taken: tuple[str, ...] = ()
    """Scorers that were not asked again: what they said then counts."""
    trouble: str = ""
    """Why it could not be made anew at all; empty where it was."""
    missing: str = ""
    """What of the event was erased since, so that what reads it may say something else; empty where nothing was."""


def replay(past: Past, then: StoredAssessment) -> Replayed:
    """Make a decision anew and compare. Raises nothing for what is not there any more: that is said."""
    a = then.assessment
    try:
        assessor, _ = past.assessor(then)
        vector = past.vector(then)
    except RingwatchError as error:
        return Replayed(a.event_id, False, trouble=f"{error.message}: {error.hint}" if error.hint else error.message)
    made = Past.assess(assessor, [then.event], vector[None, :], [a.ring])
    now = made.assessment(0)
    taken = tuple(s.name for s in assessor.scorers if isinstance(s, Told) and a.scores.get(s.name) is not None)
    asked = {s.name: s.version for s in assessor.scorers} | {
        LEARNED: assessor.book.known["champion"], CHALLENGER: assessor.book.known["challenger"],
    }  # fmt: skip
    versions = [
        Difference(name, then_, asked.get(name, NONE))
        for name, then_ in sorted(a.versions.scorers.items())
        if asked.get(name, NONE) != then_ and UNUSABLE_CODE.get(name) not in a.degraded
    ]
    if (of_policy := a.versions.policy.partition("@")[0]) != past.policy.version:
        versions.append(Difference("policy", of_policy, past.policy.version))
    pairs: list[tuple[str, object, object]] = [
        ("score", a.score, now.score), ("level", a.level, now.level), ("action", a.action, now.action),
        ("patterns", a.patterns, now.patterns),
    ]  # fmt: skip
    pairs += [
        (f"scores.{name}", a.scores.get(name), now.scores.get(name)) for name in dict.fromkeys((*a.scores, *now.scores))
    ]
    pairs.append(("reasons", a.reasons, now.reasons))
    differences = tuple(Difference(what, repr(one), repr(other)) for what, one, other in pairs if one != other)
    missing = _ERASED if ERASED in then.event.degraded else ""
    return Replayed(a.event_id, not differences, differences, tuple(versions), taken, missing=missing)

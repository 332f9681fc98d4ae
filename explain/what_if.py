"""Counterfactuals of one decision: what it had been with something changed, and how little would have changed it.

The smallest set is sought among the event's entities, the other users on them and its link-decomposable features: sets of one and of two
completely (of the strongest), larger ones step by step (greedy), with what turned out not to be needed taken out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import msgspec
import numpy as np

from explain.changes import AsUsual, Change, Variant, WithoutEntity, WithoutUser, applied, joins
from explain.others import Others
from explain.past import Past
from explain.usual import Usual
from ledger.store import StoredAssessment
from ringwatch import deadline
from ringwatch.model import Action

_PAIRED, _PAIRED_OTHERS, _MOST = 14, 3, 6
"""Changes looked at in pairs, beside them other users; changes in a set at most."""
_LEAST = 1e-9
_LEAST_PEERS = 30
"""Of fewer nothing is usual."""


class Outcome(msgspec.Struct, frozen=True):
    """What the event had been given with these changes."""

    changes: tuple[Change, ...]
    score: float
    level: str
    action: str
    less: float
    """How much lower the score is than it was; negative where it is higher."""
    patterns_gone: tuple[str, ...] = ()
    """Fraud patterns that it fitted, and had not."""


class WhatIf:
    """Of one decision. Raises NotFound or Corrupt where what made it is not there any more."""

    def __init__(self, past: Past, then: StoredAssessment, usual: Usual) -> None:
        self._then, self._usual, self.schema = then, usual, past.schema
        self._assessor, self._models = past.assessor(then)
        self._vector = past.vector(then)
        self.links = Others(past.schema, then)
        self._alone: tuple[list[Outcome], list[Outcome], list[Outcome]] | None = None

    def of(self, sets: Sequence[Sequence[Change]]) -> list[Outcome]:
        """One outcome a set."""
        deadline.check()
        if not sets:
            return []
        made = [applied(self.schema, self._then, self._vector, changes, self.links) for changes in sets]
        made = [msgspec.structs.replace(v, gone=self._models.saw(v.gone)) for v in made]
        row_of: dict[tuple[object, ...], int] = {}
        rows = [row_of.setdefault(_content(v), len(row_of)) for v in made]
        once = [made[i] for i in np.unique(rows, return_index=True)[1].tolist()]
        self._models.think_away([v.gone for v in once])
        decisions = Past.assess(
            self._assessor, [v.event for v in once], np.array([v.features for v in once]), [v.ring for v in once], explained=False
        )  # fmt: skip
        told = [decisions.assessment(row) for row in range(len(once))]
        found = [told[row] for row in rows]
        then = self._then.assessment
        return [
            Outcome(
                tuple(changes), a.score, a.level, a.action, then.score - a.score,
                tuple(p for p in then.patterns if p not in a.patterns),
            )
            for changes, a in zip(sets, found, strict=True)
        ]  # fmt: skip

    def trouble(self) -> str:
        """What the event is given today where that is not what it was given: changes are told of the decision of then, or not at all."""
        (now,), then = self.of([()]), self._then.assessment
        if (now.score, now.level, now.action) == (then.score, then.level, then.action):
            return ""
        return (
            f"what decided then is not what decides now: the event as it was is given {now.score:.2f}, {now.level}, {now.action} today, not "
            f"{then.score:.2f}, {then.level}, {then.action} (replay tells which versions differ)"
        )

    @property
    def network_counts(self) -> bool | None:
        """As `PastModels.network_counts`."""
        return self._models.network_counts

    def entities(self) -> list[Outcome]:
        """Without each of the event's entities but its user. First those that a fraud pattern goes with; then, where the user is in a ring,
        those that can hold one together; each sort the strongest first, and what does not lower the score last."""
        kinds, in_ring = self.schema.kind_index, self._then.assessment.ring is not None

        def sort(o: Outcome) -> int:
            (change,) = o.changes
            assert isinstance(change, WithoutEntity)
            if o.less <= _LEAST:
                return 3
            holds = in_ring and joins(self.schema.kinds[kinds[change.kind]])
            return 0 if o.patterns_gone else 1 if holds else 2

        return sorted(self._each()[0], key=sort)

    def others(self) -> list[Outcome]:
        """Without each other user on each of the event's entities, and on all of them where it is on several, the strongest first; those
        that change nothing left out."""
        return [o for o in self._each()[2] if abs(o.less) > _LEAST]

    def features(self, *, of_links: bool = False) -> list[Outcome]:
        """With each feature that is not as usual as it is usually, the strongest first; those that change nothing left out. `of_links`:
        link-decomposable ones alone."""
        found = [o for o in self._each()[1] if abs(o.less) > _LEAST]
        return [o for o in found if self._decomposable(o)] if of_links else found

    def _each(self) -> tuple[list[Outcome], list[Outcome], list[Outcome]]:
        if self._alone is None:
            there = ~np.isnan(self._vector) & (self._usual.peers >= _LEAST_PEERS)
            differ = there & ~np.isclose(self._vector, self._usual.middle, rtol=1e-4, atol=1e-6, equal_nan=True)
            at = np.flatnonzero(differ).tolist()
            usual = [float(self._usual.middle[i]) for i in at]
            named = [WithoutEntity(kind, id_) for kind, id_ in self._then.event.entities.items() if kind != "user"]
            odd = [AsUsual(self.schema.names[i], None if u != u else u) for i, u in zip(at, usual, strict=True)]
            users = [WithoutUser(key, kinds) for key, of in self.links.by_user.items() for kinds in _on(of)]
            every: list[Change] = [*named, *odd, *users]
            found = self.of([(change,) for change in every])
            first, last = len(named), len(named) + len(odd)
            self._alone = _ranked(found[:first]), _ranked(found[first:last]), _ranked(found[last:])
        return self._alone

    def _decomposable(self, outcome: Outcome) -> bool:
        (change,) = outcome.changes
        return isinstance(change, AsUsual) and self.schema.features[self.schema.column(change.feature)].decomposable

    def flip(self) -> Outcome | None:
        """The smallest set found that has the event's action milder; None where no set of these does."""
        goal = Action[self._then.assessment.action.upper()]
        if goal is Action.ALLOW:
            return None

        def flips(o: Outcome) -> bool:
            return Action[o.action.upper()] < goal

        singles, others = _ranked([*self.entities(), *self.features(of_links=True)]), self.others()
        alone = next((o for o in _ranked([*singles, *others]) if flips(o)), None)
        if alone is not None:
            return alone
        pool = [o.changes[0] for o in (*singles[:_PAIRED], *others[:_PAIRED_OTHERS]) if o.less > _LEAST]
        pairs = _ranked(self.of([pair for pair in combinations(pool, 2) if _apart(pair)]))
        found = next((o for o in pairs if flips(o)), None)
        best = pairs[0] if pairs else None
        while found is None and best is not None and len(best.changes) < min(_MOST, len(pool)):
            wider = [(*best.changes, c) for c in pool if c not in best.changes]
            steps = _ranked(self.of([changes for changes in wider if _apart(changes)]))
            if not steps or steps[0].less <= best.less + _LEAST:
                return None
            best = steps[0]
            found = best if flips(best) else None
        return None if found is None else self._needed(found)

    def _needed(self, found: Outcome) -> Outcome:
        """Without the changes that it does without."""
        goal = Action[self._then.assessment.action.upper()]
        while len(found.changes) > 1:
            fewer = self.of([[c for c in found.changes if c != left] for left in found.changes])
            milder = [o for o in fewer if Action[o.action.upper()] < goal]
            if not milder:
                break
            found = _ranked(milder)[0]
        return found


def _ranked(found: Sequence[Outcome]) -> list[Outcome]:
    """The strongest first; entities before other users on them, these before features, which are theirs."""
    return sorted(found, key=lambda o: (-o.less, _ORDER[type(o.changes[0])], repr(o.changes)))


_ORDER: dict[type, int] = {WithoutEntity: 0, WithoutUser: 1, AsUsual: 2}


def _on(links: Mapping[str, object]) -> list[tuple[str, ...]]:
    """The entities that a user is thought away from: each by itself, and all."""
    kinds = sorted(links)
    return [*((kind,) for kind in kinds), *([tuple(kinds)] if len(kinds) > 1 else [])]


def _content(v: Variant) -> tuple[object, ...]:
    """Equal for variants that are decided alike."""
    return (*v.event.entities, v.ring, v.gone, v.features.tobytes())


def _apart(changes: Sequence[Change]) -> bool:
    """Whether none is of an entity that another takes away, nor of a user that another takes away."""
    gone = {c.kind for c in changes if isinstance(c, WithoutEntity)}
    users = [c for c in changes if isinstance(c, WithoutUser)]
    return (
        not any(isinstance(c, AsUsual) and c.feature.partition(".")[0] in gone for c in changes)
        and not any(gone & set(c.kinds) for c in users)
        and len({c.key for c in users}) == len(users)
    )

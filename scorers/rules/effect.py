"""What the modes do to a score: an acting rule lifts it to its action, advice alone lifts it to a review and no higher.

Levels and actions follow from the score, so a score is what is bounded: one rule for all, and reasons still add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ringwatch.model import Action, Event
from scorers.combine import combine
from scorers.policy import Policies, TenantPolicy
from scorers.rules.rule import Rule

_UNDER = 0.99
"""Of a threshold: what stays under it."""


def joined(rules: Sequence[Rule], fired: NDArray[np.bool_], modes: tuple[str, ...]) -> NDArray[np.float64]:
    """Noisy-or of the scores of the rules that fired and are in these modes, in [0, 1]; rules in their order."""
    calm = np.ones(len(fired))
    for j in np.flatnonzero(fired.any(axis=0)).tolist():
        if rules[j].mode in modes:
            calm = calm * np.where(fired[:, j], 1.0 - rules[j].score, 1.0)
    return 1.0 - calm


def floors(rules: Sequence[Rule], fired: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The least action of each event: the strongest of the acting rules that fired."""
    least = np.zeros(len(fired), np.uint8)
    for j in np.flatnonzero(fired.any(axis=0)).tolist():
        action = np.uint8(rules[j].least_action)
        least = np.where(fired[:, j], np.maximum(least, action), least)
    return least


def bound(
    events: Sequence[Event], score: NDArray[np.float64], scores: NDArray[np.float64], weights: NDArray[np.float64],
    policy: Policies, found: Found,
) -> NDArray[np.float64]:  # fmt: skip
    """The score with what the modes ask for.

    `scores`, `weights`: (n, scorers) as they went into `score`. An event that is no case for review without its advising
    rules stays under the first level above review; one with an acting rule reaches the level of that rule's action.
    """
    rows = found.rows
    if not len(rows):
        return score
    without = scores[rows].copy()
    without[:, found.column] = found.acting
    calm = combine(without, weights[rows])
    score = score.copy()
    for k, row in enumerate(rows.tolist()):
        mine = policy.of(events[row].tenant)
        score[row] = _bound_one(float(score[row]), float(calm[k]), int(found.least[k]), mine)
    return score


def _bound_one(score: float, calm: float, least: int, policy: TenantPolicy) -> float:
    thresholds, actions = policy.thresholds(), policy.action_codes()
    if actions[int(np.searchsorted(thresholds, calm, side="right"))] < Action.REVIEW:
        above = [t for t, action in zip(thresholds, actions[1:], strict=True) if action > Action.REVIEW]
        if above:
            score = min(score, max(calm, _UNDER * above[0]))
    if least > Action.ALLOW:
        enough = [t for t, action in zip(thresholds, actions[1:], strict=True) if action >= least]
        score = max(score, enough[0] if enough else thresholds[-1])
    return score


class Found:
    """The rows on which contributing rules fired, and what those in mode act say there."""

    def __init__(self, rules: Sequence[Rule], fired: NDArray[np.bool_], column: int) -> None:
        contributing = np.array([r.contributes for r in rules], np.bool_)
        self.rows: NDArray[np.int64] = np.flatnonzero(fired[:, contributing].any(axis=1))
        self.column = column
        self.acting = joined(rules, fired[self.rows], ("act",))
        self.least = floors(rules, fired[self.rows])

    def floor(self, events: int) -> NDArray[np.uint8]:
        """The least action of every event."""
        least = np.zeros(events, np.uint8)
        least[self.rows] = self.least
        return least

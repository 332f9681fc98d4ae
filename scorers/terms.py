"""A tenant's policy in arrays, and the decisions of a batch by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ringwatch.model import Level, Versions


class Terms(NamedTuple):
    """A tenant's policy, for arrays."""

    weights: NDArray[np.float64]
    """Of each scorer."""
    thresholds: NDArray[np.float64]
    actions: NDArray[np.uint8]
    """Of each level."""
    calm: float
    """The most that an event on the allow list scores."""
    versions: Versions


def weights_of(terms: Sequence[Terms]) -> NDArray[np.float64]:
    """(n, scorers), or (1, scorers) where all are of one tenant."""
    if not terms:
        return np.zeros((1, 1))
    first = terms[0]
    alone = all(t is first for t in terms)
    return first.weights[None, :] if alone else np.array([t.weights for t in terms])


def decide(
    score: NDArray[np.float64], patterns: Sequence[tuple[str, ...]], terms: Sequence[Terms]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Levels by the policy's thresholds, a named pattern at least HIGH; actions by level."""
    level = np.zeros(len(score), np.uint8)
    action = np.zeros(len(score), np.uint8)
    for mine in dict.fromkeys(map(id, terms)):
        rows = [i for i, t in enumerate(terms) if id(t) == mine]
        first = terms[rows[0]]
        at = slice(None) if len(rows) == len(terms) else np.array(rows)
        level[at] = np.searchsorted(first.thresholds, score[at], side="right")
        for i in rows:
            if patterns[i]:
                level[i] = max(level[i], int(Level.HIGH))
        action[at] = first.actions[level[at]]
    return level, action

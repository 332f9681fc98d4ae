"""Recall among users: how many fraudulent ones are alerted where no more than a share of the legitimate ones may be.

A user's score is the highest of their events. Alerted is who is strictly over the score of the legitimate user that would be one too many, so ties
count against the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Recall:
    legitimate: int
    alerted: int
    """Of the legitimate."""
    threshold: float
    users: dict[str, int]
    """pattern -> users with a fraudulent event of it."""
    found: dict[str, int]
    """pattern -> those of them that are alerted."""


def recall(
    user: NDArray[np.str_], score: NDArray[np.float64], pattern: NDArray[np.str_], guilty: set[str], share: float
) -> Recall:
    """Of events (n,): the user, empty where there is none; the score; the pattern of a fraudulent event, else empty. Legitimate are users
    that are not `guilty`; there is at least one."""
    names, of = np.unique(user, return_inverse=True)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, of, score)
    legitimate = np.array([name != "" and name not in guilty for name in names.tolist()])
    ranked = -np.sort(-highest[legitimate])
    threshold = float(ranked[int(share * len(ranked))])
    over = highest > threshold
    fraud = (pattern != "") & (user != "")
    who = {name: np.unique(of[fraud & (pattern == name)]) for name in np.unique(pattern[fraud]).tolist()}
    users = {name: len(mine) for name, mine in who.items()}
    found = {name: int(over[mine].sum()) for name, mine in who.items()}
    return Recall(len(ranked), int((ranked > threshold).sum()), threshold, users, found)

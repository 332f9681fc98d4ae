"""Recall among users at a share of legitimate ones alerted."""

from __future__ import annotations

import numpy as np

from evaluate.user_recall import recall


def test_ties_count_against_the_scores() -> None:
    """Of 100 legitimate users one may be alerted: where the two highest are equal, none is, nor who is fraudulent with the same score."""
    user = np.array([f"u{i}" for i in range(100)] + ["bad", "worse", "", "worse"])
    score = np.zeros(104)
    score[[3, 7]] = 0.5
    score[100:] = 0.5, 0.6, 1.0, 0.2
    pattern = np.array([""] * 100 + ["velocity", "velocity", "velocity", ""])
    found = recall(user, score, pattern, {"bad", "worse"}, 0.01)
    assert (found.legitimate, found.alerted, found.threshold) == (100, 0, 0.5)
    assert (found.users, found.found) == ({"velocity": 2}, {"velocity": 1})
    score[3] = 0.55
    found = recall(user, score, pattern, {"bad", "worse"}, 0.01)
    assert (found.alerted, found.threshold) == (1, 0.5)


def test_the_highest_event_of_a_user_counts_whatever_it_is() -> None:
    user, score = np.array(["a", "b", "b", "c"]), np.array([0.3, 0.1, 0.9, 0.2])
    found = recall(user, score, np.array(["", "card_testing", "", ""]), {"b"}, 0.01)
    assert found.found == {"card_testing": 1}
    assert (found.legitimate, found.alerted) == (2, 0)

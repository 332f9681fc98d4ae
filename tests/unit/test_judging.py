"""How rows that were not trained on judge: ranking, and whether the robust rule is worth keeping beside a model."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from scorers.learned.inputs import OF_MODELS
from scorers.policy import BUILT_IN
from training.judging import precision, rule_of, rule_stays
from training.table import Table

RNG = np.random.default_rng(4)
N = 20_000
Y = (RNG.random(N) < 0.02).astype(np.int8)
ONCE = np.ones(N, np.int64)
KNOWN = (RNG.random(N) < 0.5) & (Y == 1)
"""Frauds that the model's labels told of."""
MODEL = np.where(KNOWN, 2.0, -5.0) + RNG.normal(size=N)


def test_precision_is_average_precision_and_strays_as_that_of_rows_drawn_anew() -> None:
    score = RNG.normal(size=N) + 1.5 * Y
    found = precision(score, Y, ONCE)
    assert found[0] == pytest.approx(average_precision_score(Y, score))
    drawn = []
    for seed in range(100):
        rows = np.random.default_rng(seed).integers(0, N, N)
        drawn.append(average_precision_score(Y[rows], score[rows]))
    assert found[1:].std() == pytest.approx(float(np.std(drawn)), rel=0.4)
    assert found[1:].mean() == pytest.approx(float(np.mean(drawn)), abs=0.01)


def test_a_row_that_stands_for_several_counts_as_several() -> None:
    score, weight = RNG.normal(size=N) + Y, np.where(Y == 1, 1, 3)
    assert precision(score, Y, weight)[0] == pytest.approx(average_precision_score(Y, score, sample_weight=weight))


def test_scores_of_the_same_rows_are_compared_on_the_same_draws() -> None:
    score = RNG.normal(size=N) + 1.5 * Y
    lost = precision(score, Y, ONCE) - precision(2.0 * score + 1.0, Y, ONCE)
    assert not lost.any()


@pytest.mark.parametrize(
    ("rule", "stays"),
    [
        (np.where((Y == 1) & ~KNOWN & (RNG.random(N) < 0.5), 0.9, 0.0), True),
        (np.zeros(N), True),
        (np.where(RNG.random(N) < 0.1, 0.95, 0.0), False),
    ],
    ids=["knows what the model does not", "says nothing", "cries wolf"],
)
def test_the_rule_stays_unless_it_does_harm(rule: np.ndarray, stays: bool) -> None:
    assert rule_stays(MODEL, rule, Y, ONCE) is stays


def test_the_rule_is_the_scorers_by_their_weights_without_what_people_decided() -> None:
    names = ("statistical", "velocity", "listed", *OF_MODELS)
    scores = np.full((2, len(names)), 1.0, np.float32)
    scores[1, 1:] = np.nan
    none = np.zeros((2, 0), np.float32)
    nothing = np.zeros(2, np.int64)
    table = Table(
        (), names, none, scores, nothing.astype(np.int8), nothing, nothing, nothing.astype(np.float32), nothing
    )
    one, other = BUILT_IN.weight("statistical"), BUILT_IN.weight("velocity")
    assert rule_of(table) == pytest.approx([1.0 - (1.0 - one) * (1.0 - other), one])

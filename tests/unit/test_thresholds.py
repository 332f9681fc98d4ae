"""Thresholds learned on the past: each rule against trying every threshold there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ringwatch.model import DAY_US
from scorers.alerting import Costs
from scorers.thresholds import NOTHING, account_days, for_budget, for_costs, for_precision, wilson_lower

ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]), st.integers(-1, 1), st.integers(0, 50)),
    min_size=1, max_size=40,
)  # fmt: skip
Rows = list[tuple[float, int, int]]


def columns(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.float64]]:
    score, label, amount = zip(*rows, strict=True)
    return np.array(score), np.array(label, np.int8), np.array(amount, np.float64)


def wilson(hits: int, n: int, z: float) -> float:
    """Where (share - p) / sqrt(p (1 - p) / n) = z, by halving."""
    low, high = 0.0, hits / n
    for _ in range(100):
        p = (low + high) / 2
        if (hits / n - p) > z * math.sqrt(p * (1 - p) / n):
            low = p
        else:
            high = p
    return low


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (3, 4), (17, 20), (50, 50), (1, 1000)])
def test_the_lower_bound_is_wilsons(hits: int, n: int) -> None:
    (found,) = wilson_lower(np.array([float(hits)]), np.array([float(n)]), 0.95)
    assert found == pytest.approx(wilson(hits, n, 1.6448536269514722), abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.sampled_from([0.1, 0.3, 0.5, 0.8]))
def test_the_lowest_threshold_that_shows_the_precision(rows: Rows, target: float) -> None:
    score, label, _ = columns(rows)
    found = for_precision(score, label, target)
    shown = {}
    for value in set(score[label >= 0].tolist()):
        mine = (label >= 0) & (score >= value)
        shown[value] = float(
            wilson_lower(np.array([(label[mine] == 1).sum() * 1.0]), np.array([mine.sum() * 1.0]), 0.95)[0]
        )
    enough = [value for value, bound in shown.items() if bound >= target]
    if not shown:
        assert (found.value, found.reached) == (NOTHING, False)
    elif enough:
        assert (found.value, found.reached) == (min(enough), True)
        assert found.expected == pytest.approx(shown[found.value])
    else:
        assert not found.reached
        assert found.expected == pytest.approx(max(shown.values()))


def test_a_precision_out_of_reach_says_the_most_there_is() -> None:
    score, label = np.linspace(0.0, 1.0, 100), np.tile(np.array([0, 1], np.int8), 50)
    found = for_precision(score, label, 0.9)
    assert not found.reached
    assert 0.3 < found.expected < 0.6


@settings(max_examples=200, deadline=None)
@given(ROWS, st.sampled_from(["amount", 20.0]), st.sampled_from([1.0, 7.0]), st.sampled_from([0.0, 2.0]))
def test_the_cheapest_threshold(rows: Rows, missed: object, false_alert: float, caught: float) -> None:
    score, label, amount = columns(rows)
    costs = Costs(false_alert, missed, caught)  # type: ignore[arg-type]
    prob = np.where(label < 0, 0.25, label)
    each = amount if missed == "amount" else np.full(len(score), 20.0)
    cost = {
        value: float(
            sum(
                p * caught + (1 - p) * false_alert if s >= value else p * m
                for s, p, m in zip(score, prob, each, strict=True)
            )
        )
        for value in {NOTHING, *score.tolist()}
    }
    found = for_costs(score, prob, amount, costs)
    assert found.expected == pytest.approx(min(cost.values()))
    assert cost[found.value] == pytest.approx(min(cost.values()))


def test_a_calibrated_score_gives_elkans_threshold() -> None:
    prob = np.linspace(0.0, 1.0, 1001)
    found = for_costs(prob, prob, np.zeros(1001), Costs(5.0, 20.0, 0.0))
    assert found.value == pytest.approx(5.0 / 25.0, abs=0.0011)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.sampled_from([0.5, 3.0, 10.0, 1000.0]))
def test_the_lowest_threshold_within_the_budget(rows: Rows, per_day: float) -> None:
    score, _, work = columns(rows)
    found = for_budget(score, work, 4.0, per_day)
    within = [v for v in set(score.tolist()) if work[score >= v].sum() / 4.0 <= per_day]
    if within:
        assert (found.value, found.reached) == (min(within), True)
        assert found.expected == pytest.approx(work[score >= found.value].sum() / 4.0)
    else:
        assert (found.value, found.reached) == (NOTHING, False)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 3 * DAY_US), st.floats(0, 1), st.integers(-1, 1), st.integers(0, 9)
        ),
        max_size=30,
    )
)
def test_account_days_in_any_order(rows: list[tuple[int, int, float, int, int]]) -> None:
    days: dict[tuple[int, int], list[tuple[float, int, int]]] = {}
    for account, at_us, score, label, amount in rows:
        days.setdefault((account, at_us // DAY_US), []).append((score, label, amount))
    meant = sorted(
        (
            max(s for s, _, _ in of),
            worst := max(x for _, x, _ in of),
            float(sum(a for _, x, a in of if worst < 1 or x == 1)),
        )
        for of in days.values()
    )
    dtypes = (np.uint64, np.int64, np.float64, np.int8, np.float64)
    for order in (rows, rows[::-1]):
        arrays = [np.array([row[i] for row in order], dtype) for i, dtype in enumerate(dtypes)]
        found = account_days(*arrays)  # type: ignore[arg-type]
        assert sorted(zip(*(c.tolist() for c in found), strict=True)) == meant

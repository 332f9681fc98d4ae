"""Alert thresholds learned on the past: from a target precision, a cost matrix, or a budget of work. Plain functions of arrays.

A threshold takes in every score at or above it, so equal scores are alerted together or not at all. What is counted are the
rows handed in; `account_days` makes of events what an analyst looks at: an account's day.

Sources: the lower bound of Wilson's score interval (E. B. Wilson, JASA 1927; recommended for small n by Brown, Cai and DasGupta,
"Interval Estimation for a Binomial Proportion", Statistical Science 2001); minimal expected cost with costs that depend on the example (C.
Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001; A. Correa Bahnsen et al., "Cost Sensitive Credit Card Fraud
Detection using Bayes Minimum Risk", ICMLA 2013).
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ringwatch.model import DAY_US
from scorers.alerting import Costs

NOTHING = np.inf
"""A threshold that alerts on nothing."""


class Threshold(NamedTuple):
    value: float
    """Alert at and above it; `NOTHING` where no alert is best."""
    reached: bool
    """Whether what was asked for is held."""
    expected: float
    """At this threshold: the precision shown, the cost of all rows, or the work a day. NaN where nothing is known."""


class Units(NamedTuple):
    """One row an account's day."""

    score: NDArray[np.float64]
    """The highest of the day."""
    label: NDArray[np.int8]
    """1 if any of its events was fraud, 0 if any was good and none fraud, -1 where nothing is known."""
    amount: NDArray[np.float64]
    """Of its frauds; of all its events where none is known to be fraud."""


def account_days(
    account: NDArray[np.uint64], at_us: NDArray[np.int64], score: NDArray[np.float64], label: NDArray[np.int8],
    amount: NDArray[np.float64],
) -> Units:  # fmt: skip
    """Events, all of shape (n,), by account and UTC day, in no order that means anything."""
    if not len(score):
        return Units(score, label, amount)
    day = at_us // DAY_US
    order = np.lexsort((day, account))
    account, day = account[order], day[order]
    first = np.flatnonzero(np.append(True, (account[1:] != account[:-1]) | (day[1:] != day[:-1])))
    label, amount = label[order], amount[order]
    worst: NDArray[np.int8] = np.maximum.reduceat(label, first)
    stolen = np.add.reduceat(np.where(label == 1, amount, 0.0), first)
    return Units(
        np.maximum.reduceat(score[order], first), worst, np.where(worst == 1, stolen, np.add.reduceat(amount, first))
    )


def wilson_lower(hits: NDArray[np.float64], n: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """One-sided lower bound of the share behind `hits` of `n`, n >= 1."""
    z = NormalDist().inv_cdf(confidence)
    share, zz = hits / n, z * z
    bound: NDArray[np.float64] = (
        share + zz / (2 * n) - z * np.sqrt(share * (1.0 - share) / n + zz / (4 * n * n))
    ) / (1.0 + zz / n)  # fmt: skip
    return np.maximum(bound, 0.0)


def for_precision(
    score: NDArray[np.float64], label: NDArray[np.int8], target: float, confidence: float = 0.95
) -> Threshold:
    """The lowest threshold whose labelled rows (label 0 or 1) show the precision: the lower bound is at least the target.

    Where none does, the one with the highest bound (the highest of several), and `reached` is False. The bound holds for each
    threshold by itself; the lowest of many that pass is a little optimistic.
    """
    known = label >= 0
    score, fraud = _sorted(score[known], (label[known] == 1).astype(np.float64))
    if not len(score):
        return Threshold(NOTHING, False, np.nan)
    last = _ends(score)
    bound = wilson_lower(np.cumsum(fraud)[last], (last + 1).astype(np.float64), confidence)
    enough = np.flatnonzero(bound >= target)
    best = int(enough[-1]) if len(enough) else int(np.argmax(bound))
    return Threshold(float(score[last[best]]), bool(len(enough)), float(bound[best]))


def for_costs(
    score: NDArray[np.float64], fraud_prob: NDArray[np.float64], amount: NDArray[np.float64], costs: Costs
) -> Threshold:
    """The threshold of least cost, the highest of several. `fraud_prob`: 0 and 1 where labels are known, a calibrated probability
    where not, or both mixed; `amount` in minor units."""
    missed = amount if costs.missed_fraud_minor == "amount" else np.full(len(score), float(costs.missed_fraud_minor))
    alone = fraud_prob * missed
    alerted = fraud_prob * costs.caught_fraud_minor + (1.0 - fraud_prob) * costs.false_alert_minor
    value, gain = _sorted(score, alerted - alone)
    last = _ends(value)
    cost = alone.sum() + np.append(0.0, np.cumsum(gain)[last])
    best = int(np.argmin(cost))
    return Threshold(NOTHING if best == 0 else float(value[last[best - 1]]), True, float(cost[best]))


def for_budget(score: NDArray[np.float64], work: NDArray[np.float64], days: float, per_day: float) -> Threshold:
    """The lowest threshold above which the rows' `work` stays within `per_day`, over a span of `days`; `reached` is False where
    even the highest score is too much."""
    value, work = _sorted(score, work)
    last = _ends(value)
    rate = np.cumsum(work)[last] / days
    within = int(np.searchsorted(rate, per_day, side="right"))
    if within == 0:
        return Threshold(NOTHING, not len(last), 0.0)
    return Threshold(float(value[last[within - 1]]), True, float(rate[within - 1]))


def _sorted(score: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both, highest score first; equal scores by the other, so that sums do not depend on the order of rows."""
    order = np.lexsort((other, -score))
    return score[order], other[order]


def _ends(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """The last place of each run of equal scores."""
    return np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(score) else np.zeros(0, np.int64)

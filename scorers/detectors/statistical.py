"""Statistical scorer: amounts, pace and times that are rare for the user and for where the event took place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.settings import thresholds
from scorers.signals import Signal, SignalScorer, is_place, is_user


@dataclass(frozen=True, slots=True)
class Thresholds:
    amount_z_low: float = 3.0
    """Robust deviations from the user's own median at which an amount begins to count."""
    amount_z_high: float = 12.0
    peer_z_low: float = 3.0
    """Deviations from the amounts usual at the merchant, terminal or other shared place."""
    peer_z_high: float = 7.0
    velocity_low_ratio: float = 4.0
    """Events in 24 h over the user's daily mean."""
    velocity_high_ratio: float = 15.0
    velocity_least_events: float = 6.0
    rare_least_events: float = 20.0
    """Own events needed before an hour or a category can be called rare."""
    rare_share: float = 0.03


class Statistical(SignalScorer):
    """Compares the event with plain statistics of the past: the amount with the user's own last amounts (robust z-score
    and interquartile range) and with what is usual at the same merchant or terminal, the pace with the user's own daily
    mean, the hour and the category with the user's habits. Does not fire on a user's first events."""

    name = "statistical"


def build(overrides: Mapping[str, Any]) -> Statistical:
    t = thresholds(Thresholds, overrides, "statistical")
    times = "{:.1f} times".format
    return Statistical(
        [
            Signal("unusual_amount", "amount_robust_z", t.amount_z_low, t.amount_z_high, 0.45,
                   "the amount is {value} robust deviations above this user's usual", is_user, show="{:.1f}".format),
            Signal("amount_outside_quartiles", "amount_iqr_excess", 1.5, 6.0, 0.25,
                   "the amount lies {value} interquartile ranges outside this user's last ten", is_user,
                   show="{:.1f}".format),
            Signal("unusual_amount_at", "amount_z", t.peer_z_low, t.peer_z_high, 0.3,
                   "the amount is {value} deviations above what is usual at this {kind}", is_place, ("count_all", 20.0),
                   show="{:.1f}".format),
            Signal("velocity", "velocity_ratio", math.log(t.velocity_low_ratio), math.log(t.velocity_high_ratio), 0.4,
                   "{value} the events usual for this user in 24 h", is_user, ("count_24h", t.velocity_least_events),
                   show=lambda x: times(math.exp(x))),
            Signal("rare_hour", "hour_share", t.rare_share, 0.0, 0.12,
                   "this user is active in this part of the day {value} of the time", is_user,
                   ("count_all", t.rare_least_events), show="{:.1%}".format),
            Signal("rare_category", "category_share", t.rare_share, 0.0, 0.1,
                   "this user buys in this category {value} of the time", is_user,
                   ("count_all", t.rare_least_events), show="{:.1%}".format),
        ]
    )  # fmt: skip

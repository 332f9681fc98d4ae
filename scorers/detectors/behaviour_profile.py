"""Behavioural scorer: the event against the user's own profile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.settings import thresholds
from scorers.signals import Signal, SignalScorer, is_personal, is_user


@dataclass(frozen=True, slots=True)
class Thresholds:
    amount_low_ratio: float = 3.0
    """Amount over the user's mean of 30 days."""
    amount_high_ratio: float = 12.0
    speed_low_kmh: float = 900.0
    """Faster than an airliner."""
    speed_high_kmh: float = 3000.0
    fail_run_low: float = 2.0
    """Declined or failed events in a row."""
    fail_run_high: float = 8.0
    dormant_low_days: float = 60.0
    dormant_high_days: float = 240.0
    known_least_events: float = 10.0
    """Own events needed before a new device or card means a departure from habit."""


class BehaviourProfile(SignalScorer):
    """Compares the event with the user's own profile: amount against the mean of the last 30 days, distance and speed
    since the last place, another country, a new device or card on a long-used account, failures in a row, and sudden
    activity after months of none. Does not fire for a new user, who has no profile yet."""

    name = "behaviour_profile"


def build(overrides: Mapping[str, Any]) -> BehaviourProfile:
    t = thresholds(Thresholds, overrides, "behaviour_profile")
    day_s = 86_400.0
    return BehaviourProfile(
        [
            Signal("amount_above_mean", "amount_ratio_30d", math.log(t.amount_low_ratio),
                   math.log(t.amount_high_ratio), 0.45, "the amount is {value} times this user's 30-day mean",
                   is_user, ("count_all", 4.0), show=lambda x: f"{math.exp(x):.1f}"),
            Signal("impossible_speed", "speed_kmh", t.speed_low_kmh, t.speed_high_kmh, 0.5,
                   "{value} km/h would be needed from this user's last place", is_user, ("distance_km", 300.0)),
            Signal("country_changed", "country_changed", 0.0, 1.0, 0.12,
                   "the country differs from this user's last one", is_user),
            Signal("fail_run", "fail_run", t.fail_run_low, t.fail_run_high, 0.5,
                   "{value} declined or failed events in a row for this user", is_user),
            Signal("dormant", "gap_s", t.dormant_low_days * day_s, t.dormant_high_days * day_s, 0.2,
                   "first event of this user for {value} days", is_user, show=lambda x: f"{x / day_s:.0f}"),
            Signal("new_for_known_user", "link_new", 0.0, 1.0, 0.08,
                   "first time this user is seen with this {kind}", is_personal, ("count_all", t.known_least_events)),
        ]
    )  # fmt: skip

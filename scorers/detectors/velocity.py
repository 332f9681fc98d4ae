"""Velocity: more than a person does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least, named
from scorers.settings import thresholds


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    burst_low: float = 1.5
    """Approved payments in ten minutes without an order between them."""
    burst_high: float = 4.0
    stake_low_minor: float = 2_000.0
    """Mean amount of the hour's run, in minor units, from which it matters: game credits and tips come in bursts too."""
    stake_high_minor: float = 4_000.0
    hour_low: float = 3.0
    """The same in an hour."""
    hour_high: float = 6.0


class Velocity(PatternScorer):
    """More payments than a person makes: a run of approved payments in minutes, or hour after hour just under a limit, with
    no order between them; on one card from several accounts, in shop after shop. The velocity checks of the card networks' fraud programmes, counted
    per account and per card. Does not fire on a shopping list (an order before each payment), on declined retries,
    on bursts of trifles (game credits, tips), or on a shop's own pace."""

    name = "velocity"


def build(overrides: Mapping[str, Any]) -> Velocity:
    t = thresholds(Thresholds, overrides, "velocity")
    stake = Condition("{kind}.amount_1h_minor", t.stake_low_minor, t.stake_high_minor, of="{kind}.pay_run_1h")
    return Velocity(
        [
            Clue("burst", 0.9, "{0} approved payments in 10 min by this {kind}, no order between them",
                 (Condition("{kind}.pay_run_10m", t.burst_low, t.burst_high),
                  least("user.since_order_s", 3600, missing=1.0), stake), "{kind}", ("payment",),
                 named("user", "card"), "run"),
            Clue("hour", 0.9, "{0} approved payments in an hour by this {kind}, no order between them",
                 (Condition("{kind}.pay_run_1h", t.hour_low, t.hour_high),
                  least("user.since_order_s", 3600, missing=1.0), stake), "{kind}", ("payment",),
                 named("user", "card"), "run"),
            Clue("hands", 0.75, "{0} approved payments in an hour on this card by {1} accounts, no order between them",
                 (Condition("card.pay_run_1h", 1.0, 4.0), least("card.neighbours_24h", 2),
                  Condition("card.amount_1h_minor", t.stake_low_minor, t.stake_high_minor, of="card.pay_run_1h")), "card", ("payment",)),
        ],
        t.alert_at,
    )  # fmt: skip

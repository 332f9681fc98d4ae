"""Neighbourhood scorer: who else uses what this event uses, how fast they came, and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.scorer import Batch
from scorers.settings import thresholds
from scorers.signals import Placed, Signal, SignalScorer, is_personal, is_place, is_user

_COUNTS = frozenset(("shared", "shared_7d", "new_accounts", "young_accounts"))
"""Signals that count accounts on something personal."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    shared_24h_low: float = 2.0
    """Accounts on one device, card or other personal thing within 24 h; up to here it is a family."""
    shared_24h_high: float = 9.0
    shared_7d_low: float = 4.0
    shared_7d_high: float = 14.0
    new_24h_low: float = 2.0
    """New accounts on it within 24 h."""
    new_24h_high: float = 8.0
    young_low: float = 2.0
    """Accounts that were under a day old when they first used it."""
    young_high: float = 8.0
    young_least_new: float = 3.0
    """Accounts that came within 24 h for young ones to count: a house fills slowly, a ring at once."""
    fraud_neighbours_high: float = 3.0
    fraud_rate_low: float = 0.06
    """Share of confirmed events that were fraud (halved every 30 days, smoothed)."""
    fraud_rate_high: float = 0.5


class Neighbourhood(SignalScorer):
    """Looks at what the event shares with others: how many accounts used its device, card, address, ... and how many of
    them are new or under a day old, whether linked accounts or things were confirmed as fraud, and the rate of
    confirmed fraud of the user and of the places of the event. High counts on crowded kinds (an ip, a merchant) are
    not held against anybody; their confirmed fraud is."""

    name = "neighbourhood"

    def _detail(self, batch: Batch, row: int, placed: Placed) -> str:
        if placed.signal.code not in _COUNTS:
            return ""
        fraud = float(batch.column(f"{placed.kind.name}.fraud_neighbours")[row])
        known = f", {fraud:.0f} of them confirmed fraud" if fraud > 0 else ""
        return f"{known}; usual: 1 or 2"


def build(overrides: Mapping[str, Any]) -> Neighbourhood:
    t = thresholds(Thresholds, overrides, "neighbourhood")
    return Neighbourhood(
        [
            Signal("shared", "neighbours_24h", t.shared_24h_low, t.shared_24h_high, 0.6,
                   "{value} accounts used this {kind} in 24 h", is_personal),
            Signal("shared_7d", "neighbours_7d", t.shared_7d_low, t.shared_7d_high, 0.4,
                   "{value} accounts used this {kind} in 7 days", is_personal),
            Signal("new_accounts", "new_neighbours_24h", t.new_24h_low, t.new_24h_high, 0.5,
                   "{value} accounts came to this {kind} in 24 h", is_personal),
            Signal("young_accounts", "young_neighbours", t.young_low, t.young_high, 0.5,
                   "{value} accounts were under a day old when they first used this {kind}", is_personal,
                   ("new_neighbours_24h", t.young_least_new)),
            Signal("fraud_neighbours", "fraud_neighbours", 0.0, t.fraud_neighbours_high, 0.8,
                   "{value} accounts linked by this {kind} are confirmed fraud", is_personal),
            Signal("linked_to_fraud", "fraud_neighbours", 0.0, t.fraud_neighbours_high, 0.5,
                   "{value} things this user uses took part in confirmed fraud", is_user),
            Signal("fraud_rate", "fraud_rate", t.fraud_rate_low, t.fraud_rate_high, 0.75,
                   "{value} of this user's confirmed events were fraud", is_user, show="{:.0%}".format, covered=True),
            Signal("fraud_rate_at", "fraud_rate", t.fraud_rate_low, t.fraud_rate_high, 0.75,
                   "{value} of the confirmed events at this {kind} were fraud", is_place, show="{:.0%}".format,
                   covered=True),
            Signal("fraud_rate_of", "fraud_rate", t.fraud_rate_low, t.fraud_rate_high, 0.75,
                   "{value} of the confirmed events of this {kind} were fraud", is_personal, show="{:.0%}".format,
                   covered=True),
        ]
    )  # fmt: skip

"""Neighbourhood scorer: who else uses what this event uses, how fast they came, and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorers.scorer import Batch, Finding
from scorers.settings import thresholds
from scorers.signals import Placed, Signal, SignalScorer, is_personal, is_place, is_user, strength

_COUNTS = frozenset(("shared", "shared_7d"))
"""Signals that count accounts on something personal."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    shared_24h_low: float = 2.0
    """Accounts on one device, card or other personal thing within 24 h; up to here it is a family."""
    shared_24h_high: float = 9.0
    shared_7d_low: float = 4.0
    shared_7d_high: float = 14.0
    new_7d_low: float = 3.0
    """Accounts that came to it within 7 days."""
    new_7d_high: float = 10.0
    young_low: float = 1.0
    """Accounts that were under a day old when they first used it."""
    young_high: float = 6.0
    young_least_new: float = 2.0
    """Accounts that came within 7 days for young ones to count: a house fills slowly, a ring at once."""
    fails_low: float = 3.0
    """Declined or failed events on one device, card or other personal thing within an hour."""
    fails_high: float = 10.0
    fraud_neighbours_high: float = 3.0
    fraud_neighbours_share: float = 0.34
    """Share of the linked accounts that must be confirmed as fraud for their number to count fully."""
    fraud_rate_low: float = 0.06
    """Share of confirmed events that were fraud (halved every 30 days, smoothed)."""
    fraud_rate_high: float = 0.5
    ring_risk_low: float = 0.4
    ring_risk_high: float = 0.9
    ring_top: float = 0.6
    """The most that the risk of the user's ring adds."""
    ring_least_users: float = 3.0


class Neighbourhood(SignalScorer):
    """Looks at what the event shares with others: how many accounts used its device, card, address, ..., which part of
    them came lately or had just signed up, how much failed there, which part of the linked accounts or things was
    confirmed as fraud, how risky the ring of the user is, and the rate of confirmed fraud of the user and of the places
    of the event. High counts on crowded kinds (an ip, a merchant) are not held against anybody; their confirmed fraud is."""

    name = "neighbourhood"

    def __init__(self, signals: Sequence[Signal], thresholds: Thresholds) -> None:
        super().__init__(signals)
        self._ring = thresholds

    def score(self, batch: Batch) -> NDArray[np.float64]:
        return 1.0 - (1.0 - super().score(batch)) * (1.0 - self._ring_risk(batch, slice(None)))

    def _ring_risk(self, batch: Batch, rows: slice) -> NDArray[np.float64]:
        t = self._ring
        risk = strength(batch.column("ring.risk")[rows], t.ring_risk_low, t.ring_risk_high, t.ring_top)
        return np.where(batch.column("ring.users")[rows] >= t.ring_least_users, risk, 0.0)

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        findings = super().explain(batch, row)
        weight = float(self._ring_risk(batch, slice(row, row + 1))[0])
        if weight > 0.0:
            users, risk = batch.column("ring.users")[row], batch.column("ring.risk")[row]
            text = f"this user is in a ring of {users:.0f} accounts with a risk of {risk:.2f}"
            findings.append(Finding("ring_risk", text, weight, "user", batch.events[row].user))
        return sorted(findings, key=lambda f: (-f.weight, f.code))

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
            Signal("shared", "neighbours_24h", t.shared_24h_low, t.shared_24h_high, 0.3,
                   "{value} accounts used this {kind} in 24 h", is_personal),
            Signal("shared_7d", "neighbours_7d", t.shared_7d_low, t.shared_7d_high, 0.2,
                   "{value} accounts used this {kind} in 7 days", is_personal),
            Signal("new_accounts", "new_neighbours_7d", t.new_7d_low, t.new_7d_high, 0.25,
                   "accounts that came to this {kind} in 7 days: {value} of {whole}", is_personal,
                   ("neighbours_all", t.new_7d_low), ("neighbours_all", 1.0)),
            Signal("young_accounts", "young_neighbours", t.young_low, t.young_high, 0.7,
                   "accounts on this {kind} that were under a day old when they first used it: {value} of {whole}",
                   is_personal, ("new_neighbours_7d", t.young_least_new), ("neighbours_all", 1.0)),
            Signal("failures", "fails_1h", t.fails_low, t.fails_high, 0.6,
                   "{value} declined or failed events with this {kind} in an hour", is_personal),
            Signal("fraud_neighbours", "fraud_neighbours", 0.0, t.fraud_neighbours_high, 0.8,
                   "other accounts on this {kind} confirmed as fraud: {value} of {whole}", is_personal,
                   relative=("neighbours_all", t.fraud_neighbours_share), own="leave_out"),
            Signal("linked_to_fraud", "fraud_neighbours", 0.0, t.fraud_neighbours_high, 0.4,
                   "things of this user that took part in confirmed fraud: {value} of {whole}", is_user,
                   relative=("neighbours_all", 1.0), own="silent"),
            Signal("fraud_rate", "fraud_rate", t.fraud_rate_low, t.fraud_rate_high, 0.75,
                   "confirmed events of this user that were fraud: {fraud} of {labels}", is_user, covered=True),
            Signal("fraud_rate_at", "fraud_rate", t.fraud_rate_low, t.fraud_rate_high, 0.75,
                   "confirmed events at this {kind} that were fraud: {fraud} of {labels}", is_place, covered=True),
            Signal("fraud_rate_of", "fraud_rate", t.fraud_rate_low, t.fraud_rate_high, 0.5,
                   "confirmed events of this {kind} that were fraud: {fraud} of {labels}", is_personal, own="silent",
                   covered=True),
        ],
        t,
    )  # fmt: skip

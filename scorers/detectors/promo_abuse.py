"""Promotion abuse: a gift for new customers, taken many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, most, named, unlike_household
from scorers.settings import thresholds

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    takers_low: float = 1.0
    """Accounts on one thing that redeemed on their first day: up to here it says nothing."""
    takers_high: float = 2.0
    share_low: float = 0.6
    share_high: float = 0.95
    lately_low: float = 0.4
    """Part of all accounts that came within 7 days."""
    lately_high: float = 0.7


class PromoAbuse(PatternScorer):
    """A newcomer's gift taken again and again: accounts that redeemed a promotion on their first day share a device, card,
    bank account, phone or address. The multi-accounting typology of the Merchant Risk Council's fraud reports and of
    Grab's and Shopee's published promotion defences. Does not fire on one redemption, nor on a house where one of many
    redeemed."""

    name = "promo_abuse"


def build(overrides: Mapping[str, Any]) -> PromoAbuse:
    t = thresholds(Thresholds, overrides, "promo_abuse")
    return PromoAbuse(
        [
            Clue("again", 0.75,
                 "accounts on this {kind} that redeemed a promotion on their first day: {0}, {1} of all, {2} in 7 days",
                 (Condition("{kind}.promo_neighbours", t.takers_low, t.takers_high),
                  Condition("{kind}.promo_neighbours", t.share_low, t.share_high, of="{kind}.neighbours_all"),
                  Condition("{kind}.new_neighbours_7d", t.lately_low, t.lately_high, of="{kind}.neighbours_all"),
                  most("user.since_signup_s", 30 * DAY_S),
                  unlike_household("{kind}.promo_neighbours")), "{kind}",
                 ("promo_redeem", "order", "payment"),
                 named("device", "card", "bank_account", "phone", "email", "address")),
        ],
        t.alert_at,
    )  # fmt: skip

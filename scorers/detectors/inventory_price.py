"""Inventory and price manipulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least, most, named
from scorers.settings import thresholds

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    holds_low: float = 1.0
    """Cart holds in a row without an order or a payment."""
    holds_high: float = 3.0
    drop_from: float = 0.5
    """New price over old one: above it is an ordinary sale."""
    drop_full: float = 0.3
    drop_hours: float = 1.0
    runs_low: float = 1.0
    """Orders in a row of one article on one card, device or address that several accounts use."""
    runs_high: float = 3.0


class InventoryManipulation(PatternScorer):
    """Playing with stock and prices: holding an article again and again without buying (denial of inventory, OWASP
    OAT-021); a price that falls steeply, and linked accounts that buy within the hour; one article ordered in a row by several accounts on
    one card, to be sent back. Does not fire on a flash sale, where buyers share nothing, nor on a hold that ends in an
    order."""

    name = "inventory_price"


def build(overrides: Mapping[str, Any]) -> InventoryManipulation:
    t = thresholds(Thresholds, overrides, "inventory_price")
    drop = Condition("sku.price_ratio", t.drop_from, t.drop_full)
    return InventoryManipulation(
        [
            Clue("holds", 0.8, "{0} holds in a row by this {kind} without a purchase, {1} in a row of one article",
                 (Condition("{kind}.hold_run", t.holds_low, t.holds_high),
                  Condition("sku.hold_run", t.holds_low, t.holds_high)), "{kind}", ("cart_hold",),
                 named("user", "device")),
            Clue("linked_buyers", 0.85,
                 "the price fell to {0} of what it was {1} ago; {2} orders of it in a row from this {kind} of {3} accounts",
                 (drop, most("sku.price_age_s", t.drop_hours * HOUR_S), least("{kind}.sku_run", 2),
                  least("{kind}.neighbours_24h", 2)), "{kind}", ("order", "payment"),
                 named("device", "card", "address")),
            Clue("drained", 0.8,
                 "{0} orders in a row of one article on this {kind} by {1} accounts, {2} of all were new",
                 (Condition("{kind}.sku_run", t.runs_low, t.runs_high), least("{kind}.neighbours_7d", 2),
                  Condition("{kind}.young_neighbours", 0.3, 0.6, of="{kind}.neighbours_all")), "{kind}",
                 ("order",), named("device", "card")),
        ],
        t.alert_at,
    )  # fmt: skip

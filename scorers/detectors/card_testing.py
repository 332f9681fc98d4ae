"""Card testing: which of these stolen numbers still work?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least, most
from scorers.settings import thresholds

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    cards_low: float = 1.0
    """Cards of one account within a day."""
    cards_high: float = 3.0
    small_minor: float = 1000.0
    """What counts as a test amount, in minor units."""
    small_patient_minor: float = 2000.0
    first_hours: float = 1.0
    fails_high: float = 2.0


class CardTesting(PatternScorer):
    """Trying out stolen card numbers: many cards on one account or device with declines and small amounts; accounts opened
    minutes ago that pay a trifle without an order on a card never seen; old accounts that do so with card after card, and
    then spend on what worked. The typology of Visa's enumeration advisories and of Stripe's guide to card testing. Does
    not fire on a retry with the same card, on a broken terminal (known cards, usual amounts), or on a purchase with an
    order."""

    name = "card_testing"


def build(overrides: Mapping[str, Any]) -> CardTesting:
    t = thresholds(Thresholds, overrides, "card_testing")
    payment = ("payment",)
    no_order = Condition("user.since_order_s", HOUR_S, HOUR_S, missing=1.0)
    new_card = most("card.link_age_s", HOUR_S)
    return CardTesting(
        [
            Clue("many_cards", 0.9, "{0} cards in a day on this account, {1} declined in an hour, for small amounts",
                 (Condition("user.card_links_24h", t.cards_low, t.cards_high), Condition("user.fails_1h", 0.0, t.fails_high),
                  most("event.amount_minor", t.small_minor), new_card), "user", payment),
            Clue("first_thing", 0.65,
                 "an account {0} old pays {1} without an order, on a card never seen before",
                 (most("user.since_signup_s", t.first_hours * HOUR_S), most("event.amount_minor", t.small_minor),
                  no_order, new_card, most("card.count_all", 2), least("merchant.paired_share", 0.5)), "merchant", payment,
                 group="first"),
            Clue("first_thing_declined", 0.65,
                 "an account {0} old tries {1} without an order on a card never seen before, {4} declined in an hour",
                 (most("user.since_signup_s", t.first_hours * HOUR_S), most("event.amount_minor", t.small_minor),
                  no_order, new_card, least("user.fails_1h", 1), most("card.count_all", 2)), "merchant", payment,
                 group="first"),
            Clue("card_after_card", 0.65,
                 "a small payment ({1}) without an order, on a card never seen with this account, which had others",
                 (least("card.link_departed", 1), most("event.amount_minor", t.small_patient_minor), no_order,
                  least("merchant.paired_share", 0.7), new_card, most("card.neighbours_all", 1)), "user", payment),
            Clue("worked", 0.65,
                 "a payment of {3} without an order, on a card that came {1} ago and was tried with a small amount",
                 (least("card.amount_median_ratio", 1.5), most("card.age_s", 24 * HOUR_S), no_order,
                  least("event.amount_minor", 5000), least("card.link_departed", 1),
                  least("merchant.paired_share", 0.7)), "user", payment),
        ],
        t.alert_at,
    )  # fmt: skip

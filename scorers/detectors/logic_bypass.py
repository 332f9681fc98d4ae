"""Business-logic bypass: doing what the pages would not let you do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least
from scorers.settings import thresholds

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    paired_low: float = 0.6
    """Share of the merchant's payments that follow an order, for a missing one to mean something."""
    paired_high: float = 0.8
    paired_of: float = 20.0
    underpaid_from: float = 0.8
    """Amount over unit price times quantity; coupons end here."""
    underpaid_full: float = 0.4


class LogicBypass(PatternScorer):
    """Doing what the pages would not let you do: a paid session without cart, checkout or order where payments follow
    orders; a refund of an order that never was; an order for a part of its price. The business-logic abuses of the OWASP
    testing guide (WSTG-BUSL). Learns from each merchant whether its payments follow orders. Does not fire on payments
    outside of a session (a terminal), on coupons, or on refunds of orders before the account's sign-up was seen."""

    name = "logic_bypass"


def build(overrides: Mapping[str, Any]) -> LogicBypass:
    t = thresholds(Thresholds, overrides, "logic_bypass")
    return LogicBypass(
        [
            Clue("skipped_steps", 0.75,
                 "a payment without cart, checkout or order in its session; {2} of this merchant's payments follow an order",
                 (Condition("session.basket", 1.0, 0.0), Condition("user.since_order_s", HOUR_S, HOUR_S, missing=1.0),
                  Condition("merchant.paired_share", t.paired_low, t.paired_high),
                  least("merchant.paired_of", t.paired_of)), "user", ("payment",)),
            Clue("phantom_refund", 0.75, "a refund of an order this account never placed or paid",
                 (least("event.refund_unknown", 1),), "user", ("refund",)),
            Clue("phantom_payout", 0.6, "refunds of unknown orders, to a bank account of {1} accounts",
                 (least("event.refund_unknown", 1), least("bank_account.neighbours_7d", 2)), "bank_account",
                 ("refund",)),
            Clue("underpaid", 0.85, "the order is paid with {0} of unit price times quantity",
                 (Condition("event.paid_share", t.underpaid_from, t.underpaid_full),), "user", ("order",)),
        ],
        t.alert_at,
    )  # fmt: skip

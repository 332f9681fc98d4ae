"""Coordinated accounts: one hand behind many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least, most, named, unlike_household
from scorers.settings import thresholds
from scorers.signals import is_personal

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    young_low: float = 1.0
    """Accounts on one thing that were under a day old when they came: up to here it says nothing."""
    young_high: float = 3.0
    young_share_low: float = 0.6
    """Part of all accounts on the thing; in a house most accounts are old ones."""
    young_share_high: float = 0.95
    lately_low: float = 0.4
    """Part of all accounts that came within 7 days; a house fills over months."""
    lately_high: float = 0.7
    pool_least: float = 3.0
    """Accounts that left their usual card for this one."""
    pool_share: float = 0.6


class CoordinatedAccounts(PatternScorer):
    """One hand behind many accounts: accounts that had just been opened come to one device, card or address one after the
    other; or old accounts leave their own cards for a common pool. Rests on the loosely synchronised shared use that
    SynchroTrap (Cao et al., CCS 2014) and CopyCatch (Beutel et al., WWW 2013) look for. Does not fire on a family, flat
    or campus, where most accounts are old or came over months and share several things, nor on a crowded thing (an
    ip, a merchant)."""

    name = "coordinated_accounts"


def build(overrides: Mapping[str, Any]) -> CoordinatedAccounts:
    t = thresholds(Thresholds, overrides, "coordinated_accounts")
    young = Condition("{kind}.young_neighbours", t.young_low, t.young_high)
    share = Condition("{kind}.young_neighbours", t.young_share_low, t.young_share_high, of="{kind}.neighbours_all")
    return CoordinatedAccounts(
        [
            Clue("opened_together", 0.9,
                 "accounts on this {kind} that were under a day old when they came: {0}, {1} of all, {2} in 7 days",
                 (young, share, least("{kind}.new_neighbours_7d", 2),
                  Condition("{kind}.new_neighbours_7d", t.lately_low, t.lately_high, of="{kind}.neighbours_all"),
                  unlike_household("{kind}.young_neighbours")), "{kind}", kinds=is_personal),
            Clue("two_in_a_day", 0.65,
                 "two accounts opened and used on this {kind} within a day, with another card each",
                 (least("{kind}.young_neighbours", 2), least("{kind}.young_neighbours", 1, of="{kind}.neighbours_all"),
                  least("{kind}.new_neighbours_24h", 2), least("card.link_new", 1), most("card.neighbours_all", 1),
                  unlike_household("{kind}.young_neighbours")),
                 "{kind}", ("order", "payment"), named("device", "address")),
            Clue("pool", 0.8,
                 "accounts that left their own card for this {kind}: {0}, {1} of all on it, {2} in 7 days",
                 (Condition("{kind}.departed_neighbours", t.pool_least - 1.5, t.pool_least),
                  Condition("{kind}.departed_neighbours", t.pool_share - 0.2, t.pool_share, of="{kind}.neighbours_all"),
                  least("{kind}.new_neighbours_7d", 2), least("{kind}.link_departed", 1),
                  unlike_household("{kind}.departed_neighbours"), Condition("ring.innocence", 0.8, 0.3, missing=1.0)),
                 "{kind}", ("order", "payment"), named("card", "bank_account")),
            Clue("pool_of_old", 0.75,
                 "{0} accounts, none of them new, came to this {kind} in 7 days, {1} of all on it; this one is {3} old",
                 (Condition("{kind}.new_neighbours_7d", t.pool_least - 1.0, t.pool_least),
                  least("{kind}.new_neighbours_7d", 0.99, of="{kind}.neighbours_all"),
                  most("{kind}.link_age_s", DAY_S), least("user.age_s", 7 * DAY_S), most("{kind}.young_neighbours", 0),
                  unlike_household("{kind}.new_neighbours_7d")),
                 "{kind}", ("order", "payment"), named("card", "bank_account")),
            Clue("ring_of_cards", 0.75,
                 "a ring of {0} accounts, {1} of which left their own card, {2} within a day, held together by cards alone",
                 (least("ring.users", t.pool_least), Condition("ring.departed_share", t.pool_share - 0.2, t.pool_share),
                  Condition("ring.synchrony", 0.3, 0.6), most("ring.kinds", 1), least("card.departed_neighbours", 2),
                  Condition("ring.innocence", 0.8, 0.3, missing=1.0),
                  least("card.new_neighbours_7d", 2)), "ring", ("order", "payment")),
            Clue("card_of_strangers", 0.65,
                 "a card known for {0} is used by {1} old accounts that share neither device nor address",
                 (most("card.age_s", 4 * DAY_S), least("card.neighbours_all", 2), most("card.young_neighbours", 0),
                  least("user.age_s", 7 * DAY_S), most("card.link_age_s", DAY_S), most("device.neighbours_all", 1),
                  most("address.neighbours_all", 1)), "card", ("order",)),
        ],
        t.alert_at,
    )  # fmt: skip

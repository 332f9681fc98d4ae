"""Synthetic identity: people put together from pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least, most, named, unlike_household
from scorers.settings import thresholds


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    pieces_low: float = 1.0
    """New accounts on one phone, e-mail or bank account: up to here it says nothing."""
    pieces_high: float = 3.0
    share_low: float = 0.6
    share_high: float = 0.95
    lately_low: float = 0.4
    """Part of all accounts that came within 7 days; a family comes over years."""
    lately_high: float = 0.7
    chain_least: float = 3.0
    """Accounts in a ring whose members share one piece with the next."""
    chain_young_share: float = 0.9
    chain_density: float = 0.7
    """A household shares everything with everybody; a chain of pieces does not."""


class SyntheticIdentity(PatternScorer):
    """Identities put together from pieces: one phone, e-mail or bank account under several accounts opened lately, or a chain
    of new accounts that each share a piece with the next. The typology of the Federal Reserve's synthetic identity papers
    (2019, 2021); the communal links of Phua et al. (2012). Does not fire on a family, whose accounts are old or share
    everything, and not on the device or card alone."""

    name = "synthetic_identity"


def build(overrides: Mapping[str, Any]) -> SyntheticIdentity:
    t = thresholds(Thresholds, overrides, "synthetic_identity")
    pieces = named("phone", "email", "bank_account")
    return SyntheticIdentity(
        [
            Clue("pieces", 0.9,
                 "accounts opened with this {kind} or linked to it on their first day: {0}, {1} of all, {2} in 7 days",
                 (Condition("{kind}.young_neighbours", t.pieces_low, t.pieces_high),
                  Condition("{kind}.young_neighbours", t.share_low, t.share_high, of="{kind}.neighbours_all"),
                  least("{kind}.new_neighbours_7d", 2),
                  Condition("{kind}.new_neighbours_7d", t.lately_low, t.lately_high, of="{kind}.neighbours_all"),
                  unlike_household("{kind}.young_neighbours")),
                 "{kind}", kinds=pieces),
            Clue("chain", 0.75,
                 "{0} accounts, {1} of them new, hold together by {2} kinds of pieces, each shared by a few of them",
                 (least("ring.users", t.chain_least), Condition("ring.young_share", t.chain_young_share - 0.2, t.chain_young_share),
                  least("ring.kinds", 2), most("ring.density", t.chain_density), least("ring.new_users_7d", 3),
                  Condition("ring.new_users_7d", 0.6, 0.9, of="ring.users"),
                  Condition("ring.things", 0.4, 0.6, of="ring.users")), "ring"),
        ],
        t.alert_at,
    )  # fmt: skip

"""What was found of what was planted: alerts held against the truth that the simulator wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from evaluate.campaigns import Truth
from ringwatch.model import Alert


@dataclass(slots=True)
class Pattern:
    """One fraud pattern: its campaigns, and those with at least half of their accounts in alerts that name it."""

    campaigns: int = 0
    found: int = 0
    accounts: int = 0
    alerted: int = 0
    """Accounts of its campaigns in any alert for now."""


@dataclass(slots=True)
class Found:
    patterns: dict[str, Pattern]
    accounts: int
    """Accounts in alerts for now."""
    guilty: int
    """Of them, members of campaigns."""
    innocents: int
    """Users outside of every campaign in the whole market."""

    @property
    def accused_share(self) -> float:
        """Innocent users in alerts for now, over all innocent users."""
        return (self.accounts - self.guilty) / max(1, self.innocents)


def found(market: Path, alerts: Iterable[Alert], users: int) -> Found:
    """`market` is the simulator's folder, `users` how many users its events name."""
    truth = Truth(market)
    urgent = [a for a in alerts if a.delivery == "now"]
    patterns: dict[str, Pattern] = {}
    alerted = {account for a in urgent for account in a.accounts}
    for key, campaign in truth.campaigns.items():
        members = truth.members[key]
        named = {account for a in urgent if campaign.pattern in a.patterns for account in a.accounts}
        pattern = patterns.setdefault(campaign.pattern, Pattern())
        pattern.campaigns += 1
        pattern.found += 2 * len(members & named) >= len(members)
        pattern.accounts += len(members)
        pattern.alerted += len(members & alerted)
    guilty = alerted & truth.guilty
    return Found(dict(sorted(patterns.items())), len(alerted), len(guilty), max(0, users - len(truth.guilty)))

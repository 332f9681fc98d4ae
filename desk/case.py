"""What a case is: alerts that one person looks at together."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row

OPEN, CLOSED = "open", "closed"
QUEUES = {"now": 4.0, "digest": 72.0}
"""Queue -> hours within which its cases are to be closed, where no setting says otherwise. The queue is the delivery of the strongest alert."""
OUTCOMES = ("fraud", "false_positive", "not_sure")


class Case(msgspec.Struct, frozen=True):
    """As it is kept. Times in microseconds since 1970: `first_at_us` and `last_at_us` of the events, the others of the clock."""

    tenant: str
    case_id: str
    kind: str
    """Of what it is about: "ring", or a kind of entity."""
    entity: str
    ring: str
    """The ring that it was last seen to concern; empty for none."""
    queue: str
    status: str
    level: str
    text: str
    """The strongest reason in words."""
    score: float
    """The highest of its alerts."""
    ring_risk: float
    """0 where it concerns no ring."""
    amount_minor: int
    """Of its alerts' events: the money at risk."""
    alerts: int
    events: int
    accounts: int
    priority: float
    first_at_us: int
    last_at_us: int
    opened_us: int
    due_us: int
    claimed_by: str | None
    claimed_until_us: int | None
    outcome: str | None
    closed_by: str | None
    closed_us: int | None
    version: int
    """Rises with all that somebody does to it."""
    change: int = 0
    """When it was changed last, as a number that rises over all cases."""

    @property
    def key(self) -> str:
        """What it is snoozed by."""
        return f"{self.kind}:{self.entity}"

    def claimed(self, now_us: int) -> str | None:
        """By whom; a claim expires."""
        return self.claimed_by if self.claimed_until_us is not None and self.claimed_until_us > now_us else None

    def overdue(self, now_us: int) -> bool:
        """Whether it was not closed in time."""
        return (now_us if self.closed_us is None else self.closed_us) > self.due_us


class Note(msgspec.Struct, frozen=True):
    number: int
    who: str
    at_us: int
    text: str


def priority(score: float, ring_risk: float, amount_minor: int) -> float:
    """Expected loss in units of 100 minor ones: the higher of score and ring risk, times the money at risk and one more unit, so that what has
    taken no money yet has a place by its risk."""
    return max(score, ring_risk) * (amount_minor / 100 + 1.0)


def case_of(row: Row[Any] | tuple[Any, ...]) -> Case:
    """The table's columns are in the order of its fields."""
    return Case(*tuple(row))

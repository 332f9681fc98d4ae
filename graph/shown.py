"""Rings and alerts as an investigator sees them in the graph: plain values the ring keeper and the ledger make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ringwatch.model import Alert

ENDED = "ended"
ACCOUNTS_SHOWN = 200
"""Accounts of an alert that are linked to it."""
EntityKey = tuple[str, str]
"""kind, id"""


class MemberShown(msgspec.Struct, frozen=True):
    user: str
    joined_us: int


class RingShown(msgspec.Struct, frozen=True):
    """A ring at one moment. What is None stays as it was shown before: an ended ring is known by its id and status only."""

    tenant: str
    ring_id: str
    status: str
    """"active", "dormant", ...; `ENDED` once it is no ring any more."""
    version: int
    """Grows with each state of a ring, for example the position it follows from: an older state changes nothing."""
    risk: float | None = None
    users: int | None = None
    """All its users; `members` may name fewer."""
    first_us: int | None = None
    last_us: int | None = None
    amount_minor: int | None = None
    patterns: tuple[str, ...] | None = None
    members: tuple[MemberShown, ...] = ()
    shared: tuple[EntityKey, ...] = ()


class GraphDisplay(Protocol):
    """What roles write beside entities and links, for people. Idempotent; several may write at once."""

    def show_alerts(self, alerts: Sequence[Alert], about: Mapping[str, Sequence[EntityKey]] | None = None) -> None:
        """Alerts as they are now. `about`: by alert id, further entities it is about. Of two states, that with more events stays.

        Raises `Unavailable`.
        """
        ...

    def show_rings(self, rings: Sequence[RingShown]) -> None:
        """Rings as they are now; members and things that are not named any more lose their link. Raises `Unavailable`."""
        ...

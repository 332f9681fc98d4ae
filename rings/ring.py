"""What a ring is to everybody outside of the keeper: plain values, made when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec


class RiskPart(msgspec.Struct, frozen=True):
    """One part of a ring's risk; the parts add up to it. Innocent sharing is negative."""

    code: str
    text: str
    value: float


class SharedThing(msgspec.Struct, frozen=True):
    """An entity that at least two members are linked to."""

    kind: str
    entity: str
    users: int
    first_us: int
    last_us: int
    verdict: str = ""
    """household, office, campus, carrier_nat, hub, or nothing."""
    busted_ring: str = ""
    """The ring, confirmed as fraud, that had it before; or nothing."""


class RingMember(msgspec.Struct, frozen=True):
    user: str
    joined_us: int
    """When the first link that holds it in the ring was made."""
    last_us: int
    young: bool = False
    """Under a day old when it joined."""
    departed: bool = False
    """Joined by leaving its usual device, card or address."""
    fraud: bool = False
    """Confirmed."""
    patterns: tuple[str, ...] = ()
    """Fraud patterns its events were alerted for."""


class RingLink(msgspec.Struct, frozen=True):
    user: str
    kind: str
    entity: str
    first_us: int
    last_us: int
    events: int
    amount_minor: int = 0


class RingSummary(msgspec.Struct, frozen=True):
    """A line of the list of rings."""

    ring_id: str
    tenant: str
    risk: float
    users: int
    things: int
    born_us: int
    """Time of the founding event: the one that made the first shared link."""
    last_us: int
    """Last event of a member on a shared entity."""
    patterns: tuple[str, ...] = ()
    amount_minor: int = 0
    """Exposure: amounts on links to shared entities."""


def most_telling(rings: Iterable[RingSummary]) -> RingSummary | None:
    """The ring to show first: alerted for a pattern, risky, of a size that can be taken in at a glance, lately active."""
    shown = [r for r in rings if r.users >= 3]
    return max(
        shown,
        key=lambda r: (bool(r.patterns), round(r.risk, 1), min(r.users, 8), r.things, r.last_us, r.ring_id),
        default=None,
    )


class Ring(msgspec.Struct, frozen=True):
    """Everything about one ring."""

    summary: RingSummary
    founding_event: str
    parts: tuple[RiskPart, ...]
    members: tuple[RingMember, ...]
    """By time of joining, then user; at most 1,000."""
    shared: tuple[SharedThing, ...]
    """Most users first."""
    links: tuple[RingLink, ...]
    """Members' links to the shared entities; at most 5,000."""
    settled_us: int
    """Event time of the last mark at which expiry, hubs and communities were worked out."""
    truncated: bool = False


class RingReader(Protocol):
    """What is read of the rings."""

    def rings(self, tenant: str | None = None, *, least_users: int = 2) -> Sequence[RingSummary]: ...

    def ring(self, tenant: str, ring_id: str) -> Ring | None: ...

    def summaries(self, tenant: str, ring_ids: Sequence[str]) -> Sequence[RingSummary]:
        """Of those that there are, in any order."""
        ...

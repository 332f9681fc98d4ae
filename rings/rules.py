"""The rules of ring membership, and what an event is told about the ring of its user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, HOUR_US


@dataclass(frozen=True, slots=True)
class RingRules:
    """Step rules: a link takes part or it does not, so that membership is exact and can be checked."""

    hub_cap: int = 50
    """Live users on an entity above which it is a hub and holds nothing together. It stays a hub until nobody was seen
    on it for a whole window."""
    window_us: int = 30 * DAY_US
    """A link not seen for that long has expired; applied at marks."""
    mark_us: int = 6 * HOUR_US
    """Event time between marks."""
    community_above: int = 12
    """Connected components with more users than this are split into circles."""
    visits_per_mark: int = 50_000
    """Links looked at in the rebuilds of one mark; what is not reached stays queued for the next."""
    eager_users: int = 200
    """Rings up to this size are measured again with every change, larger ones at marks."""
    dormant_us: int = 14 * DAY_US
    """A ring none of whose shared things a member was seen on for that long is dormant; noticed at marks."""

    def __post_init__(self) -> None:
        for name in ("window_us", "mark_us", "community_above", "visits_per_mark", "dormant_us"):
            if getattr(self, name) < 1:
                raise BadInput(f"ring rule {name} is {getattr(self, name)}, at least 1 is needed")
        if not 2 <= self.hub_cap <= 10_000:
            raise BadInput(f"ring rule hub_cap is {self.hub_cap}, 2 to 10,000 are possible")


class RingAt(NamedTuple):
    """The ring of a user as of an event."""

    ring_id: str
    members: tuple[str, ...]
    """Sorted; the same tuple until the ring changes."""

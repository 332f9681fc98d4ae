"""What an event is told about the ring of its user: the ring columns of its feature row, the ring's id and members."""

from __future__ import annotations

from math import nan

import numpy as np
from numpy.typing import NDArray

from rings import risk
from rings.facts import joined_since
from rings.identity import RingState
from rings.links import Links
from rings.rules import RingAt
from ringwatch.model import DAY_US

NEW_7D, AGE = 1, 11
"""Columns of the ring block that depend on the event's time."""
REMEMBERED = 20_000
"""Rings whose row and names are kept ready."""


class Teller:
    def __init__(self, links: Links) -> None:
        self._links = links
        self._told: list[RingState] = []

    def tell(self, ring: RingState, at_us: int, row: NDArray[np.float32]) -> RingAt:
        """Fill the ring columns of a row but the age."""
        if ring.row is None:
            ring.row = _row_of(ring, self._links.kinds)
        row[:] = ring.row
        row[NEW_7D] = joined_since(ring.joined, at_us - 7 * DAY_US)
        at = ring.at
        if at is None:
            names = self._links.user_name
            at = ring.at = RingAt(ring.ring_id, tuple(sorted(names[u] for u in ring.members)))
            self._remember(ring)
        return at

    def _remember(self, ring: RingState) -> None:
        self._told.append(ring)
        if len(self._told) > REMEMBERED:
            for other in self._told[: REMEMBERED // 2]:
                other.at = other.row = None
            del self._told[: REMEMBERED // 2]


def _row_of(ring: RingState, kinds: tuple[str, ...]) -> NDArray[np.float32]:
    """In the order of RING_BLOCK."""
    f = ring.facts
    n = max(1, f.users)
    values = [
        f.users, 0.0, f.young / n, f.departed / n, f.things, f.kinds, f.links / max(1, n * f.things),
        f.within_day / n, f.fraud / n, min(1.0, risk.innocence(f, kinds) + ring.eased / risk.HOUSEHOLD),
        ring.risk if ring.risk_facts is not None else nan, 0.0,
    ]  # fmt: skip
    return np.array(values, np.float32)

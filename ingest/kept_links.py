"""Links of events, kept with the decisions that somebody may ask about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.seen import Seen, pack
from scorers.decision import Decisions, asked_about


def kept_links(decisions: Decisions, seen: Seen, places: Sequence[int]) -> Sequence[bytes]:
    """`places`: which event of `seen` each decision is of, -1 for none of them."""
    found = [b""] * len(decisions)
    for row in np.flatnonzero(asked_about(decisions.events, decisions.level, decisions.action)).tolist():
        if places[row] >= 0 and len(seen.ends):
            found[row] = pack(seen, places[row])
    return found

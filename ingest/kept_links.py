"""Which decisions keep the links that their features were read from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from features.seen import Seen, pack
from ringwatch.model import Action, Level
from scorers.decision import Decisions

_ONE_IN = 100


def kept_links(decisions: Decisions, seen: Seen, places: Sequence[int]) -> Sequence[bytes]:
    """Of alerts, of whatever is not simply allowed, and of one event in a hundred (by its id, the same wherever it is decided).
    `places`: which event of `seen` each decision is of, -1 for none of them."""
    worth = (decisions.level >= int(Level.MEDIUM)) | (decisions.action != int(Action.ALLOW))
    for row, event in enumerate(decisions.events):
        worth[row] |= zlib.crc32(event.event_id.encode("utf-8", "surrogatepass")) % _ONE_IN == 0
    found = [b""] * len(decisions)
    for row in np.flatnonzero(worth).tolist():
        if places[row] >= 0 and len(seen.ends):
            found[row] = pack(seen, places[row])
    return found

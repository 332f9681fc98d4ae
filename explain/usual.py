"""What is usual: the features of events shortly before that nobody found remarkable."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ledger.store import Peers, StoredAssessment

_ENOUGH = 30
"""Events of the same type, for these to be the peers."""
_HIGH = 0.95


class Usual(msgspec.Struct, frozen=True):
    """Of each feature (schema.size,), over the peers that have it: NaN where under half of them do."""

    middle: NDArray[np.float32]
    """Median: a value that one of them has."""
    high: NDArray[np.float32]
    """95 % lie at or below."""
    known: NDArray[np.int64]
    """Peers that have it."""
    peers: int
    of_type: bool
    """Whether they are of the event's type; else of any."""


def usual_of(schema: FeatureSchema, then: StoredAssessment, peers: Peers) -> Usual:
    """`peers`: events of the tenant before this one."""
    same = np.array([type_ == then.event.type for type_ in peers.types], bool)
    of_type = int(same.sum()) >= _ENOUGH
    values = peers.features[same] if of_type else peers.features
    n = len(values)
    known = np.sum(~np.isnan(values), axis=0)
    found = np.full((2, schema.size), np.nan, np.float32)
    some = np.flatnonzero((known > 0) & (2 * known >= n))
    if len(some):
        ordered = np.sort(values[:, some], axis=0)  # missing ones last
        for row, share in zip(found, (0.5, _HIGH), strict=True):
            at = np.floor((known[some] - 1) * share).astype(np.int64)
            row[some] = np.take_along_axis(ordered, at[None], axis=0)[0]
    return Usual(found[0], found[1], known, n, of_type)

"""What is usual: the features of events shortly before that nobody found remarkable."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ledger.store import StoredAssessment

_ENOUGH = 30
"""Events of the same type, for these to be the peers."""
_SHARE = 0.95


class Usual(msgspec.Struct, frozen=True):
    """Of each feature (schema.size,), over the peers that have it: NaN where under half of them do."""

    middle: NDArray[np.float32]
    """Median: a value that one of them has."""
    high: NDArray[np.float32]
    """95 % lie at or below."""
    peers: int
    of_type: bool
    """Whether they are of the event's type; else of any."""


def usual_of(schema: FeatureSchema, then: StoredAssessment, peers: Sequence[StoredAssessment]) -> Usual:
    """`peers`: events of the tenant before this one. Those of another schema or without features do not count."""
    kept = [p for p in peers if p.features and p.assessment.versions.schema == schema.hash]
    same = [p for p in kept if p.event.type == then.event.type]
    of_type = len(same) >= _ENOUGH
    chosen = same if of_type else kept
    values = np.full((len(chosen), schema.size), np.nan, np.float32)
    for row, peer in zip(values, chosen, strict=True):
        row[[schema.column(name) for name in peer.features]] = list(peer.features.values())
    known = np.sum(~np.isnan(values), axis=0)
    found = np.full((2, schema.size), np.nan, np.float32)
    some = np.flatnonzero((known > 0) & (2 * known >= len(chosen)))
    if len(some):
        found[:, some] = np.nanquantile(values[:, some], [0.5, _SHARE], axis=0, method="lower")
    return Usual(found[0], found[1], len(chosen), of_type)

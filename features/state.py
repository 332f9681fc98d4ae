"""Port: what is known about entities now.

Called by the pipeline only, from one thread per store. A batch is applied in the order given: for each event the state of
its entities is updated first, then its features are read; labels change counts of the labelled entities and of their
neighbours. Results are the same to the bit however the same sequence is cut into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.columns import Applied
from features.schema import FeatureSchema
from features.seen import NOTHING, Seen
from ringwatch.errors import BadInput


class StateStore(Protocol):
    schema: FeatureSchema

    def apply(self, items: Sequence[Applied], *, commit: bool = True) -> NDArray[np.float32]:
        """Apply events and labels in order; features of the events, float32 of shape (events, schema.size), NaN missing.

        With `commit=False` nothing is changed (read-only scoring). Raises `Unavailable` when the store cannot be reached.
        """
        ...

    def apply_seen(self, items: Sequence[Applied]) -> tuple[NDArray[np.float32], Seen]:
        """As `apply`, with the links that the features were read from."""
        ...

    def snapshot(self, path: Path, *, position: int) -> None:
        """Write everything to `path` atomically, with the number of the last applied item."""
        ...

    def restore(self, path: Path) -> int:
        """Load a snapshot and return its position. Raises `Corrupt` on a failed checksum or another schema."""
        ...

    def stats(self) -> dict[str, int]:
        """entities, capacity, evicted, bytes."""
        ...

    def close(self) -> None: ...


class NoState:
    """Stands where a store would, for a stream that is given its features."""

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema

    def apply(self, items: Sequence[Applied], *, commit: bool = True) -> NDArray[np.float32]:
        raise BadInput("no state of entities is kept here", hint="ask the shared state store")

    def apply_seen(self, items: Sequence[Applied]) -> tuple[NDArray[np.float32], Seen]:
        return self.apply(items), NOTHING

    def snapshot(self, path: Path, *, position: int) -> None:
        """Nothing to write."""

    def restore(self, path: Path) -> int:
        return -1

    def stats(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        """Nothing to close."""

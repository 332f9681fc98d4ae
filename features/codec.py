"""Feature vectors to bytes and back, exactly.

Features: a 16-bit mask of the entity kinds the event names, then float32 (little-endian) of those kinds' blocks, the user's
blocks if there is a user, and the event's block. What is left out is missing (NaN) by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import Event


class FeatureCodec:
    """Packs feature vectors of one schema."""

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema
        self._columns: dict[int, NDArray[np.int64]] = {}

    def _mask(self, event: Event) -> int:
        index = self.schema.kind_index
        mask = 0
        for kind in event.entities:
            if kind in index:
                mask |= 1 << index[kind]
        return mask

    def _columns_of(self, mask: int) -> NDArray[np.int64]:
        columns = self._columns.get(mask)
        if columns is None:
            size = self.schema.slot_size
            parts = [np.arange(k * size, (k + 1) * size) for k in range(len(self.schema.kinds)) if mask >> k & 1]
            if mask & 1:
                parts.append(np.arange(self.schema.user_offset, self.schema.event_offset))
            parts.append(np.arange(self.schema.event_offset, self.schema.size))
            columns = self._columns[mask] = np.concatenate(parts)
        return columns

    def pack(self, events: Sequence[Event], features: NDArray[np.float32]) -> list[bytes]:
        """One blob an event."""
        blobs = []
        for event, row in zip(events, np.ascontiguousarray(features, dtype="<f4"), strict=True):
            mask = self._mask(event)
            blobs.append(mask.to_bytes(2, "little") + row.take(self._columns_of(mask)).tobytes())
        return blobs

    def unpack(self, blob: bytes) -> NDArray[np.float32]:
        """The full vector, float32 of shape (schema.size,)."""
        features = np.full(self.schema.size, np.nan, np.float32)
        mask = int.from_bytes(blob[:2], "little")
        features[self._columns_of(mask)] = np.frombuffer(blob[2:], "<f4")
        return features

"""Events as they come to the columns of a network: one definition for training and for serving."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.columns import ColumnBuilder, entity_key
from features.schema import FeatureSchema
from gnn.history import Batch, Numbering, batch_of
from ringwatch.model import Event


class Intake:
    """Feed it events in order; entities get numbers as they are met. `kinds`: those of the network, among the schema's."""

    def __init__(self, schema: FeatureSchema, kinds: Sequence[str]) -> None:
        self._columns = ColumnBuilder(schema)
        self._kinds = [schema.kind_index[kind] for kind in kinds]
        self.numbers = Numbering()

    def batch(self, events: Sequence[Event]) -> Batch:
        columns = self._columns.build(events)
        token = np.array([event_token(event.tenant, event.event_id) for event in events], np.uint64)
        return batch_of(columns, self.numbers.of(columns.keys[:, self._kinds]), token)


def event_token(tenant: str, event_id: str) -> int:
    """What stands for an event: 64 bits."""
    return entity_key(tenant, "event", event_id)

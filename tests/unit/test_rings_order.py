"""Rings do not depend on the order in which a record names its entities: the ledger keeps another one."""

from __future__ import annotations

import msgspec
import numpy as np
from support.streams import stream

from features.schema import FeatureSchema
from rings.keeper import RingKeeper
from ringwatch.model import Event

SCHEMA = FeatureSchema()


def test_the_order_of_entities_in_a_record_changes_nothing() -> None:
    events = [item for item in stream(4, 600, labels=False, late=False) if isinstance(item, Event)]
    turned = [msgspec.structs.replace(e, entities=dict(reversed(e.entities.items()))) for e in events]
    digests = []
    for some in (events, turned):
        keeper = RingKeeper(SCHEMA)
        for seq, event in enumerate(some):
            if keeper.next_mark_us is None or event.at_us >= keeper.next_mark_us:
                keeper.advance(event.at_us)
            keeper.apply([(seq, event)], np.full((1, SCHEMA.size), np.nan, np.float32))
        digests.append(keeper.digest())
    assert digests[0] == digests[1]

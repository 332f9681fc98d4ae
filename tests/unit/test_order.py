"""What does not depend on the order in which several scorers commit: seen by the same stream in other orders."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.expected import events_of, market

from bus.messages import key_of
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.stream import ScoringStream
from rings.keeper import RingKeeper
from ringwatch.model import Event
from ringwatch.settings import Settings
from ringwatch.wiring import open_assessor

SCHEMA = FeatureSchema()


def features_of(events: list[Event]) -> dict[str, NDArray[np.float32]]:
    state = MemoryState(SCHEMA, max_entities=50_000)
    stream = ScoringStream(state, open_assessor(Settings(), SCHEMA), RingKeeper(SCHEMA))
    made = stream.feed(list(enumerate(events)))
    return dict(zip([e.event_id for e in made.events], made.features, strict=True))


def in_turns(events: list[Event], seed: int) -> list[Event]:
    """Each of four partitions in its order, some of one and then some of another."""
    left: dict[int, list[Event]] = {}
    for event in reversed(events):
        left.setdefault(zlib.crc32(key_of(event)) % 4, []).append(event)
    draw, found = random.Random(seed), []
    while left:
        part = draw.choice(sorted(left))
        for _ in range(min(draw.randint(1, 60), len(left[part]))):
            found.append(left[part].pop())
        if not left[part]:
            del left[part]
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_scorers_changes_only_what_is_listed(tmp_path: Path, seed: int) -> None:
    events = events_of(market(tmp_path, 2000, seed), "t")
    one, other = features_of(events), features_of(in_turns(events, seed))
    assert one.keys() == other.keys()
    differ = np.zeros(SCHEMA.size, np.bool_)
    for event_id, row in one.items():
        differ |= ~((row == other[event_id]) | (np.isnan(row) & np.isnan(other[event_id])))
    named = {SCHEMA.names[i] for i in np.flatnonzero(differ)}
    assert len(named) > 50
    assert named <= SCHEMA.order_dependent


def test_the_list_leaves_out_what_is_of_the_event_and_its_user() -> None:
    kept = set(SCHEMA.names) - SCHEMA.order_dependent
    assert {"user.count_24h", "user.device_links_all", "user.since_login_s", "user.hops", "event.amount_minor"} <= kept
    assert not {"user.young_neighbours", "user.fraud_rate", "event.max_neighbours_24h"} & kept
    assert not {name for name in kept if name.startswith(("device.", "card.", "ring.", "session."))}

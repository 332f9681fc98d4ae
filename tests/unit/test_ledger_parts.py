"""What the ledger is made of: packed features, alerts by group, what was seen before, labels that wait."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ledgers import scored

from features.codec import FeatureCodec
from features.columns import ResolvedLabel
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.redelivery import CONFLICT, NEW, SAME, SeenEvents
from ingest.stream import ScoringStream
from ledger.alerting import AlertGrouper
from ringwatch.model import HOUR_US, Alert, Event, Label
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return scored(900)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_packed_features_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = [k.name for k in SCHEMA.kinds if rng.random() < 0.4]
    event = Event("e", "payment", 1, dict.fromkeys(kinds, "x"))
    features = np.full((1, SCHEMA.size), np.nan, np.float32)
    for kind in kinds:
        k = SCHEMA.kind_index[kind]
        features[0, k * SCHEMA.slot_size : (k + 1) * SCHEMA.slot_size] = rng.normal(size=SCHEMA.slot_size)
    if "user" in kinds:
        features[0, SCHEMA.user_offset : SCHEMA.event_offset] = rng.normal(
            size=SCHEMA.event_offset - SCHEMA.user_offset
        )
    features[0, SCHEMA.event_offset :] = rng.normal(size=SCHEMA.size - SCHEMA.event_offset)
    codec = FeatureCodec(SCHEMA)
    (blob,) = codec.pack([event], features)
    assert np.array_equal(codec.unpack(blob).view(np.uint32), features[0].view(np.uint32))


@pytest.mark.parametrize("cut", [1, 7, 250])
def test_alerts_do_not_depend_on_batches(decisions: Decisions, cut: int) -> None:
    def final(size: int) -> tuple[dict[str, Alert], list[tuple[str, str]]]:
        grouper, alerts, pairs = AlertGrouper(6 * HOUR_US), {}, []
        for i in range(0, len(decisions), size):
            changed, added = grouper.add(decisions.select(i, min(i + size, len(decisions))))
            alerts |= {a.alert_id: a for a in changed}
            pairs += added
        return alerts, pairs

    assert final(cut) == final(len(decisions))
    assert final(cut)[0]


def test_restored_grouper_continues(decisions: Decisions) -> None:
    window = 6 * HOUR_US
    whole, first, second = AlertGrouper(window), AlertGrouper(window), AlertGrouper(window)
    alerts = {a.alert_id: a for a in whole.add(decisions)[0]}
    half = {a.alert_id: a for a in first.add(decisions.select(0, 500))[0]}
    now = max(e.at_us for e in decisions.events[:500])
    second.restore([a for a in half.values() if a.last_at_us >= now - second.memory_us], now)
    half |= {a.alert_id: a for a in second.add(decisions.select(500, len(decisions)))[0]}
    assert half == alerts


def test_one_event_adds_to_one_alert(decisions: Decisions) -> None:
    _, pairs = AlertGrouper(HOUR_US).add(decisions)
    assert len({event for _, event in pairs}) == len(pairs)


def test_redelivery_and_conflict_are_told_apart_within_bounds() -> None:
    seen = SeenEvents(10)
    events = [Event(f"e{i}", "login", i, {"user": "u"}) for i in range(30)]
    assert seen.check(events[0]) == NEW
    assert seen.check(events[0]) == SAME
    assert seen.check(Event("e0", "login", 0, {"user": "other"})) == CONFLICT
    assert seen.check(Event("e0", "login", 0, {"user": "u"}, tenant="b")) == NEW
    for e in events:
        seen.check(e)
    assert seen.check(events[-1]) == SAME
    assert seen.check(events[0]) == NEW


def test_labels_wait_until_they_are_known() -> None:
    scoring = ScoringStream(MemoryState(SCHEMA, max_entities=1000), Assessor(build_scorers(), Policy(), SCHEMA))
    event = lambda i, at: Event(f"e{i}", "payment", at, {"user": "u"})  # noqa: E731
    at = 1_700_000_000_000_000
    label = ResolvedLabel(Label("event", "e0", "fraud", at + 100), {"user": "u"})
    d = scoring.feed(
        [(0, event(0, at)), (1, label), (2, event(1, at + 99)), (3, event(2, at + 100)), (4, event(3, at))]
    )
    known = d.features[:, SCHEMA.column("user.fraud_labels")].tolist()
    assert known == [0, 0, 1, 1]

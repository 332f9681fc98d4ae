from __future__ import annotations

from typing import Any

import numpy as np

from features.schema import FeatureSchema
from graph.aggregate import Aggregator
from graph.store import EntityRef
from ringwatch.model import BUILTIN_KINDS, Event, Kind, Level, Strength, Versions
from scorers.decision import Decisions

SCHEMA = FeatureSchema()


def decided(*events: Event, level: list[int] | None = None, first_seq: int = 0) -> Decisions:
    n = len(events)
    return Decisions(
        events=events,
        seq=np.arange(first_seq, first_seq + n),
        features=np.zeros((n, 1), np.float32),
        schema=SCHEMA,
        scorer_names=(),
        scores=np.zeros((n, 0)),
        score=np.zeros(n),
        level=np.array(level or [0] * n, np.uint8),
        action=np.zeros(n, np.uint8),
        reasons=[()] * n,
        versions=[Versions("", {}, "")] * n,
        timing_us={},
        degraded=[()] * n,
        patterns=[()] * n,
        ring_ids=(),
    )


def event(at: int = 1, **fields: Any) -> Event:
    entities = fields.pop("entities", {"user": "u", "device": "d"})
    return Event(event_id=f"e{at}", type="payment", at_us=at, entities=entities, **fields)


def ref(kind: str, id_: str, tenant: str = "default") -> EntityRef:
    return EntityRef(tenant, kind, id_)


def test_events_on_one_pair_become_one_link_with_sums() -> None:
    pending = Aggregator(BUILTIN_KINDS)
    pending.add(decided(event(5, amount_minor=100, outcome="declined"), event(3, amount_minor=20), event(9)))
    batch = pending.take(2)
    (link,) = batch.links
    assert (link.user, link.other) == (ref("user", "u"), ref("device", "d"))
    assert (link.first_seen_us, link.last_seen_us, link.events, link.amount_minor, link.fails) == (3, 9, 3, 120, 1)
    assert [(e.ref.kind, e.events, e.amount_minor) for e in batch.entities] == [("device", 3, 120), ("user", 3, 120)]


def test_only_high_and_critical_decisions_count_as_alerts() -> None:
    pending = Aggregator(BUILTIN_KINDS)
    levels = [Level.LOW, Level.MEDIUM, Level.HIGH, Level.CRITICAL]
    pending.add(decided(*(event(i) for i in range(4)), level=[int(x) for x in levels]))
    assert [e.alerts for e in pending.take(3).entities] == [2, 2]


def test_kinds_that_link_nobody_stay_out() -> None:
    pending = Aggregator(BUILTIN_KINDS)
    pending.add(decided(event(entities={"user": "u", "session": "s", "sku": "k", "ip": "i", "undeclared": "x"})))
    batch = pending.take(0)
    assert [e.ref.kind for e in batch.entities] == ["ip", "user"]
    assert [x.other.kind for x in batch.links] == ["ip"]


def test_a_declared_kind_links_by_its_strength() -> None:
    pending = Aggregator((*BUILTIN_KINDS, Kind("terminal", Strength.WEAK), Kind("batch", Strength.NONE)))
    pending.add(decided(event(entities={"user": "u", "terminal": "t", "batch": "b"})))
    assert [x.other.kind for x in pending.take(0).links] == ["terminal"]


def test_an_event_without_user_counts_on_its_entities_and_links_nothing() -> None:
    pending = Aggregator(BUILTIN_KINDS)
    pending.add(decided(event(entities={"device": "d"})))
    assert (pending.links, pending.entities) == (0, 1)


def test_tenants_are_kept_apart() -> None:
    pending = Aggregator(BUILTIN_KINDS)
    pending.add(decided(event(tenant="a"), event(tenant="b")))
    assert [(x.user.tenant, x.other.tenant) for x in pending.take(1).links] == [("a", "a"), ("b", "b")]


def test_take_is_sorted_whatever_the_order_and_leaves_nothing() -> None:
    events = [event(i, entities={"user": f"u{i * 7 % 5}", "card": f"c{i % 3}"}) for i in range(20)]
    forwards, backwards = Aggregator(BUILTIN_KINDS), Aggregator(BUILTIN_KINDS)
    forwards.add(decided(*events))
    backwards.add(decided(*reversed(events)))
    batch = forwards.take(19, "3")
    assert batch == backwards.take(19, "3")
    assert (batch.position, batch.partition) == (19, "3")
    assert (forwards.links, forwards.entities) == (0, 0)
    assert forwards.take(20).links == []


def test_rows_before_start_are_left_out() -> None:
    pending = Aggregator(BUILTIN_KINDS)
    pending.add(decided(event(1), event(2), event(3)), start=2)
    assert [x.events for x in pending.take(2).links] == [1]

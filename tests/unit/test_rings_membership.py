"""Membership of rings against networkx from scratch: additions, expiry, hubs, late events, labels."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.plain_rings import KINDS, SCHEMA, Plain, check, drive
from support.streams import START_US

from features.columns import Applied, ResolvedLabel
from rings.keeper import RingKeeper, RingRules
from ringwatch.model import DAY_US, HOUR_US, Event, Label

step = st.tuples(
    st.sampled_from([0, 1, HOUR_US // 2, 5 * HOUR_US, DAY_US]),
    st.sampled_from([0, 0, 0, 0, HOUR_US, 30 * HOUR_US, 9 * DAY_US]),
    st.integers(0, 13),
    st.integers(0, 9),
    st.one_of(st.none(), st.integers(0, 9)),
    st.sampled_from(["login", "payment", "signup"]),
    st.sampled_from(["", "", "", "fraud", "good"]),
)


def items_of(steps: list[tuple[int, int, int, int, int | None, str, str]]) -> list[Applied]:
    at_us, items = START_US, []
    for i, (gap_us, late_us, user, one, other, kind, verdict) in enumerate(steps):
        at_us += gap_us
        entities = {"user": f"u{user}", KINDS[one % 3]: f"x{one}", "ip": "i"}
        if other is not None:
            entities[KINDS[other % 3]] = f"x{other}"
        tenant = "a" if user % 7 else "b"
        event = Event(f"e{i}", kind, at_us - late_us, entities, tenant=tenant, amount_minor=100)
        items.append(event)
        if verdict:
            items.append(ResolvedLabel(Label("event", f"e{i}", verdict, at_us, tenant), entities))
    return items


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=90), st.sampled_from([2, 3, 6]), st.sampled_from([3, 5]), st.sampled_from([3, 1000]))
def test_membership_is_what_networkx_finds_from_scratch(
    steps: list[tuple[int, int, int, int, int | None, str, str]], community_above: int, hub_cap: int, visits: int
) -> None:
    rules = RingRules(
        mark_us=HOUR_US, hub_cap=hub_cap, window_us=4 * DAY_US, community_above=community_above, visits_per_mark=visits
    )
    keeper, plain = RingKeeper(SCHEMA, rules), Plain(rules)
    items = items_of(steps)
    drive(keeper, plain, items, 0, len(items) // 2)
    check(keeper, plain)
    drive(keeper, plain, items, len(items) // 2, len(items))
    check(keeper, plain)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_long_streams_with_everything_at_once(seed: int) -> None:
    rng = random.Random(seed)
    rules = RingRules(
        mark_us=HOUR_US,
        hub_cap=6,
        window_us=3 * DAY_US,
        community_above=4,
        visits_per_mark=rng.choice([10, 200, 50_000]),
    )
    keeper, plain = RingKeeper(SCHEMA, rules), Plain(rules)
    items: list[Applied] = []
    at_us = START_US
    for i in range(1500):
        at_us += rng.randrange(HOUR_US // 2)
        user = rng.randrange(120)
        entities = {"user": f"u{user}", "device": f"d{user // 3 if rng.random() < 0.8 else rng.randrange(40)}"}
        if rng.random() < 0.4:
            entities["card"] = f"c{user // 2 if rng.random() < 0.7 else rng.randrange(60)}"
        if rng.random() < 0.3:
            entities["address"] = f"a{user // 8 if rng.random() < 0.9 else 0}"
        late_us = rng.choice([0] * 9 + [2 * DAY_US])
        items.append(Event(f"e{i}", rng.choice(["login", "signup"]), at_us - late_us, entities))
        if rng.random() < 0.05:
            items.append(ResolvedLabel(Label("event", f"e{i}", rng.choice(["fraud", "good"]), at_us), entities))
    for part in range(5):
        drive(keeper, plain, items, part * len(items) // 5, (part + 1) * len(items) // 5)
        check(keeper, plain)
    assert keeper.stats()["expired"] > 100

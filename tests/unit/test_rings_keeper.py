"""The ring keeper: the same however it is cut, hubs bounded, identity that lasts, answers to questions."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support.streams import START_US, stream

from features.columns import Applied, ResolvedLabel
from features.schema import FeatureSchema
from rings.keeper import RingAt, RingKeeper, RingRules
from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, Event, Label

SCHEMA = FeatureSchema()
RULES = RingRules(mark_us=HOUR_US, window_us=20 * DAY_US, community_above=6, hub_cap=9)


def event(
    n: int, user: str, at_us: int = START_US, *, tenant: str = "default", type_: str = "login", **entities: str
) -> Event:
    return Event(f"e{n}", type_, at_us, {"user": user, **entities}, tenant=tenant)


def feed(
    keeper: RingKeeper, items: Sequence[Applied], cut: int = 1000, start: int = 0
) -> tuple[list[RingAt | None], NDArray[np.float32]]:
    """As the stream does: cut at marks, at most `cut` events a call."""
    found: list[RingAt | None] = []
    rows: list[NDArray[np.float32]] = []
    part: list[tuple[int, Applied]] = []

    def flush() -> None:
        events = sum(isinstance(item, Event) for _, item in part)
        features = np.full((events, SCHEMA.size), 7, np.float32)
        found.extend(keeper.apply(part, features))
        rows.append(features)
        part.clear()

    for seq, item in enumerate(items, start):
        if isinstance(item, Event) and keeper.next_mark_us is not None and item.at_us >= keeper.next_mark_us:
            flush()
            keeper.advance(item.at_us)
        part.append((seq, item))
        if len(part) >= cut or keeper.next_mark_us is None:
            flush()
    flush()
    return found, np.concatenate(rows)


def look(keeper: RingKeeper, one: Event) -> dict[str, float]:
    features = np.zeros((1, SCHEMA.size), np.float32)
    keeper.look([one], features)
    return {n[5:]: float(features[0, i]) for n, i in SCHEMA.index.items() if n.startswith("ring.")}


def members(keeper: RingKeeper, user: str, tenant: str = "default") -> set[str]:
    ring_id = keeper.ring_of(tenant, user)
    ring = keeper.ring(tenant, ring_id) if ring_id else None
    return set() if ring is None else {m.user for m in ring.members}


@pytest.fixture(scope="module")
def items() -> list[Applied]:
    return [*stream(3, 1500, users=60), *stream(4, 1500, users=60)]


@pytest.fixture(scope="module")
def whole(items: list[Applied]) -> tuple[str, list[RingAt | None], NDArray[np.float32]]:
    keeper = RingKeeper(SCHEMA, RULES)
    found, rows = feed(keeper, items)
    return keeper.digest(), found, rows


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 7, 2000])
def test_results_do_not_depend_on_how_items_are_cut(
    cut: int, items: list[Applied], whole: tuple[str, list[RingAt | None], NDArray[np.float32]]
) -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    found, rows = feed(keeper, items, cut)
    assert keeper.digest() == whole[0]
    assert found == whole[1]
    assert np.array_equal(rows.view(np.uint32), whole[2].view(np.uint32))


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1, 700, 1501, 2400])
def test_a_restored_keeper_goes_on_as_if_never_stopped(
    at: int, items: list[Applied], whole: tuple[str, list[RingAt | None], NDArray[np.float32]], tmp_path: object
) -> None:
    keeper, other = RingKeeper(SCHEMA, RULES), RingKeeper(SCHEMA, RULES)
    first = feed(keeper, items[:at])
    feed(other, items[:50])
    other.load(keeper.dump())
    assert other.digest() == keeper.digest()
    assert other.rings() == keeper.rings()
    second = feed(other, items[at:], 100, start=at)
    assert other.digest() == whole[0]
    assert first[0] + second[0] == whole[1]
    assert np.array_equal(np.concatenate([first[1], second[1]]).view(np.uint32), whole[2].view(np.uint32))


def test_the_rows_are_filled_and_others_left_alone(whole: tuple[str, list[RingAt | None], NDArray[np.float32]]) -> None:
    _, found, rows = whole
    assert (rows[:, : SCHEMA.ring_offset] == 7).all()
    users = rows[:, SCHEMA.column("ring.users")]
    inside = np.array([ring is not None for ring in found])
    assert inside.any()
    assert not inside.all()
    assert [int(n) for n in users[inside]] == [len(ring.members) for ring in found if ring is not None]
    assert np.isnan(rows[~inside, SCHEMA.ring_offset : SCHEMA.size - 1]).all()
    assert not np.isnan(rows[:, SCHEMA.column("ring.age_s")]).any()


def test_before_the_first_mark_there_is_no_age() -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    assert np.isnan(look(keeper, event(1, "u"))["age_s"])
    feed(keeper, [event(1, "u", START_US + MINUTE_US)])
    assert look(keeper, event(2, "u", START_US + 5 * MINUTE_US))["age_s"] == 300 + START_US % HOUR_US / 1e6


def test_dumps_are_plain_arrays(items: list[Applied]) -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    feed(keeper, items[:400])
    assert all(array.dtype.kind in "iufb" for array in keeper.dump().values())


def test_looking_changes_nothing(items: list[Applied]) -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    feed(keeper, items[:800])
    before = keeper.digest()
    events = [i for i in items[800:900] if isinstance(i, Event)]
    found = keeper.look(events, np.zeros((len(events), SCHEMA.size), np.float32))
    keeper.rings()
    assert keeper.digest() == before
    assert [None if ring is None else ring.ring_id for ring in found] == [
        keeper.ring_of(e.tenant, e.user or "") for e in events
    ]


def test_a_shared_device_makes_a_ring_at_once() -> None:
    keeper = RingKeeper(SCHEMA)
    found, rows = feed(keeper, [event(0, "a", device="d"), event(1, "b", device="d"), event(2, "c", ip="i")])
    assert found[0] is None
    assert found[1] is not None
    assert found[1].members == ("a", "b")
    assert found[2] is None
    assert rows[1, SCHEMA.column("ring.density")] == 1
    assert keeper.ring("default", found[1].ring_id) is not None
    assert keeper.ring("other", found[1].ring_id) is None


def test_tenants_and_weak_kinds_never_join() -> None:
    keeper = RingKeeper(SCHEMA)
    feed(keeper, [event(0, "a", device="d"), event(1, "b", device="d", tenant="other")])
    feed(keeper, [event(n, f"u{n}", ip="i", merchant="m", session="s") for n in range(2, 30)], start=2)
    assert keeper.rings() == []


def test_100_000_users_behind_one_ip_cost_nothing() -> None:
    keeper = RingKeeper(SCHEMA)
    features = np.empty((1000, SCHEMA.size), np.float32)
    for i in range(0, 100_000, 1000):
        keeper.apply([(n, event(n, f"u{n}", ip="nat", merchant="m")) for n in range(i, i + 1000)], features)
    assert keeper.stats()["users"] == 0
    assert keeper.stats()["links"] == 0


def test_a_device_of_10_000_accounts_is_a_hub_of_bounded_memory() -> None:
    keeper = RingKeeper(SCHEMA, RingRules(mark_us=HOUR_US))
    events = [event(n, f"u{n}", START_US + n, device="kiosk") for n in range(10_000)]
    found, _ = feed(keeper, events[:60])
    assert found[49] is not None
    assert len(found[49].members) == 50
    assert keeper.stats()["hubs"] == 1
    tracemalloc.start()
    features, started = np.empty((1, SCHEMA.size), np.float32), time.perf_counter()
    for n, one in enumerate(events[60:], 60):
        keeper.apply([(n, one)], features)
    seconds = time.perf_counter() - started
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert keeper.stats()["links"] == 51
    assert seconds < 5
    assert grown < 10_000 * 400
    keeper.advance(START_US + HOUR_US)
    assert keeper.rings() == []
    assert keeper.accounts_on("default", "device", "kiosk", 10) == tuple(f"u{n}" for n in range(11))
    assert len(keeper.accounts_on("default", "device", "kiosk", 10**9)) == 51


def test_a_hub_is_forgotten_when_nobody_was_seen_for_a_window() -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    feed(keeper, [event(n, f"u{n}", device="d") for n in range(12)])
    feed(keeper, [event(20, "late", START_US + 19 * DAY_US, device="d")], start=20)
    keeper.advance(START_US + 38 * DAY_US)
    assert keeper.stats()["hubs"] == 1
    keeper.advance(START_US + 40 * DAY_US)
    stats = keeper.stats()
    assert (stats["hubs"], stats["links"], stats["users"], stats["things"]) == (0, 0, 0, 0)
    feed(keeper, [event(n, f"v{n}", START_US + 40 * DAY_US, device="d") for n in (30, 31)], start=30)
    assert members(keeper, "v30") == {"v30", "v31"}


def test_expired_links_leave_and_numbers_are_used_again() -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    for week in range(12):
        at_us = START_US + 14 * week * DAY_US
        feed(keeper, [event(100 * week + n, f"w{week}u{n}", at_us, device=f"w{week}d{n // 3}") for n in range(60)],
             start=100 * week)  # fmt: skip
    assert len(keeper.links.user_name) <= 120
    assert len(keeper.links.link_user) <= 120
    assert keeper.stats()["expired"] == 600


def test_the_id_stays_with_the_larger_part_and_is_never_used_again() -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    feed(keeper, [event(0, "a", device="d1"), event(1, "b", device="d1"), event(2, "c", device="d1")])
    feed(keeper, [event(3, "x", device="d2"), event(4, "y", device="d2")], start=3)
    large, small = keeper.ring_of("default", "a"), keeper.ring_of("default", "x")
    assert large != small
    feed(keeper, [event(5, "x", START_US + MINUTE_US, device="d1")], start=5)
    assert keeper.ring_of("default", "y") == large
    ring = keeper.ring("default", str(large))
    assert ring is not None
    assert ring.founding_event == "e1"
    assert ring.summary.born_us == START_US
    later = START_US + 15 * DAY_US
    feed(keeper, [event(6 + i, u, later, device=d) for i, (u, d) in enumerate([("a", "d1"), ("b", "d1"), ("c", "d1"),
                                                                             ("x", "d2"), ("y", "d2")])], start=6)  # fmt: skip
    keeper.advance(START_US + 21 * DAY_US)
    assert members(keeper, "a") == {"a", "b", "c"}
    assert keeper.ring_of("default", "a") == large
    assert keeper.ring_of("default", "y") not in (large, small, None)


def test_a_tie_goes_to_the_older_ring() -> None:
    keeper = RingKeeper(SCHEMA)
    feed(keeper, [event(n, u, START_US + n, device=d) for n, (u, d) in enumerate([("a", "d1"), ("b", "d1"), ("x", "d2"),
                                                                               ("y", "d2")])])  # fmt: skip
    old = keeper.ring_of("default", "a")
    feed(keeper, [event(9, "y", START_US + 9, card="k"), event(10, "b", START_US + 10, card="k")], start=9)
    assert {keeper.ring_of("default", u) for u in "abxy"} == {old}


def test_flags_and_labels_act_on_risk_at_the_next_mark() -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    accounts = [event(n, f"u{n}", START_US + n * MINUTE_US, device="d") for n in range(4)]
    feed(keeper, accounts)
    keeper.advance(START_US + HOUR_US)
    calm = keeper.rings()[0].risk
    keeper.learn([("default", "u0", ("farm",)), ("default", "u1", ("farm", "burst")), ("nobody", "u2", ("x",))])
    assert keeper.rings()[0].risk == calm
    keeper.advance(START_US + 2 * HOUR_US)
    alerted = keeper.rings()[0]
    assert alerted.risk > calm
    assert alerted.patterns == ("burst", "farm")
    at_us = START_US + 2 * HOUR_US
    labels = [ResolvedLabel(Label("event", f"e{n}", "fraud", at_us), accounts[n].entities) for n in range(3)]
    keeper.apply(list(enumerate(labels, 10)), np.empty((0, SCHEMA.size), np.float32))
    assert keeper.rings()[0].risk == alerted.risk
    assert look(keeper, accounts[0])["fraud_share"] == 0.75
    keeper.advance(START_US + 3 * HOUR_US)
    assert keeper.rings()[0].risk > alerted.risk
    ring = keeper.ring("default", keeper.rings()[0].ring_id)
    assert ring is not None
    assert [m.fraud for m in ring.members] == [True, True, True, False]
    assert ring.settled_us == keeper.settled_us


def test_late_events_count_and_those_before_the_window_do_not() -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    feed(keeper, [event(0, "a", START_US, device="d")])
    feed(keeper, [event(1, "b", START_US - 25 * DAY_US, device="d")], start=1)
    assert keeper.rings() == []
    assert keeper.stats()["late"] == 1
    feed(keeper, [event(2, "b", START_US - 5 * DAY_US, device="d")], start=2)
    assert members(keeper, "a") == {"a", "b"}


def test_budget_spent_shows_as_a_queue() -> None:
    rules = RingRules(mark_us=HOUR_US, window_us=DAY_US, community_above=6, hub_cap=9, visits_per_mark=10)
    keeper = RingKeeper(SCHEMA, rules)
    rng = random.Random(1)
    feed(keeper, [event(n, f"u{rng.randrange(80)}", START_US + n, device=f"d{rng.randrange(30)}") for n in range(300)])
    keeper.advance(START_US + HOUR_US)
    stats = keeper.stats()
    assert stats["queued"] > 0
    assert stats["queued_since_us"] < stats["settled_us"]
    assert stats["most_visits"] < 500


@pytest.mark.parametrize("damage", ["missing", "short", "numbers", "rules", "texts"])
def test_what_is_inconsistent_is_refused_and_changes_nothing(damage: str, items: list[Applied]) -> None:
    keeper, other = RingKeeper(SCHEMA, RULES), RingKeeper(SCHEMA, RULES)
    feed(keeper, items[:600])
    arrays = keeper.dump()
    if damage == "missing":
        del arrays["link_first"]
    elif damage == "short":
        arrays["link_first"] = arrays["link_first"][:-1]
    elif damage == "numbers":
        arrays["link_user"] = arrays["link_user"] + 10_000
    elif damage == "rules":
        other = RingKeeper(SCHEMA, RingRules(hub_cap=8))
    else:
        arrays["user_name"] = arrays["user_name"][:-3]
    before = other.digest()
    with pytest.raises(Corrupt):
        other.load(arrays)
    assert other.digest() == before


def test_rules_that_make_no_sense_are_refused() -> None:
    for wrong in ({"hub_cap": 1}, {"window_us": 0}, {"community_above": 0}):
        with pytest.raises(BadInput):
            RingRules(**wrong)

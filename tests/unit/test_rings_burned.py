"""What a busted ring had and another uses later speaks against that other, and links the two."""

from __future__ import annotations

import numpy as np
from support.streams import START_US
from test_rings_keeper import RULES, SCHEMA, event, feed

from features.columns import ResolvedLabel
from rings.burned import KEPT_US
from rings.keeper import RingKeeper
from rings.ring import Ring
from ringwatch.model import DAY_US, MINUTE_US, Event, Label

LATER_US = START_US + 45 * DAY_US
"""The links of before have expired."""


def accounts(name: str, n: int, at_us: int, **things: str) -> list[Event]:
    """Accounts of long standing that log in on these things."""
    number = sum(name.encode()) * 100
    return [event(number + i, f"{name}{i}", at_us + i * 7 * MINUTE_US, **things) for i in range(n)]


def told(keeper: RingKeeper, events: list[Event], up_to_us: int) -> None:
    for e in events:
        if keeper.next_mark_us is None or e.at_us >= keeper.next_mark_us:
            keeper.advance(e.at_us)
        feed(keeper, [e], start=_next(keeper))
    keeper.advance(up_to_us)


def _next(keeper: RingKeeper) -> int:
    keeper.seen = getattr(keeper, "seen", 0) + 1  # type: ignore[attr-defined]
    return int(keeper.seen)  # type: ignore[attr-defined]


def confirmed(keeper: RingKeeper, e: Event, at_us: int, value: str = "fraud") -> None:
    label = ResolvedLabel(Label("event", e.event_id, value, at_us), e.entities)  # type: ignore[arg-type]
    keeper.apply([(_next(keeper), label)], np.zeros((0, SCHEMA.size), np.float32))


def story(*, fraud: bool = True, second: str = "phone") -> RingKeeper:
    """A ring on a phone, whether it is confirmed as fraud, and 45 days later others on that phone."""
    keeper = RingKeeper(SCHEMA, RULES)
    first = accounts("a", 4, START_US + MINUTE_US, device="phone", card="a-card")
    told(keeper, first, START_US + DAY_US)
    if fraud:
        confirmed(keeper, first[0], START_US + DAY_US)
    keeper.advance(START_US + 2 * DAY_US)
    known = [event(90_000 + i, f"b{i}", LATER_US - 18 * DAY_US + i, card=f"card-b{i}") for i in range(3)]
    told(keeper, [*known, *accounts("b", 3, LATER_US, device=second)], LATER_US + DAY_US)
    return keeper


def the_ring(keeper: RingKeeper, user: str) -> Ring:
    ring_id = keeper.ring_of("default", user)
    assert ring_id is not None
    found = keeper.ring("default", ring_id)
    assert found is not None
    return found


def test_a_thing_of_a_busted_ring_speaks_against_who_shares_it_next_and_names_that_ring() -> None:
    keeper, clean = story(), story(fraud=False)
    busted = next(e.ring_id for e in _history() if e.what == "busted")
    found, other = the_ring(keeper, "b0"), the_ring(clean, "b0")
    assert found.summary.ring_id != busted
    assert keeper.ring("default", busted) is None, "it ended long ago"
    (part,) = [p for p in found.parts if p.code == "reused"]
    assert part.text == "3 of 3 members share a thing that a ring had which was confirmed as fraud"
    assert (part.value, found.summary.risk > other.summary.risk) == (0.35, True)
    assert [s.busted_ring for s in found.shared] == [busted]
    assert [s.busted_ring for s in other.shared] == [""]
    assert round(sum(p.value for p in found.parts), 9) == found.summary.risk


def _history():  # type: ignore[no-untyped-def]
    keeper = RingKeeper(SCHEMA, RULES)
    keeper.keep_history()
    first = accounts("a", 4, START_US + MINUTE_US, device="phone", card="a-card")
    told(keeper, first, START_US + DAY_US)
    confirmed(keeper, first[0], START_US + DAY_US)
    keeper.advance(START_US + 2 * DAY_US)
    return keeper.take_history()


def test_other_things_and_things_that_most_others_used_tell_nothing() -> None:
    elsewhere = the_ring(story(second="another phone"), "b0")
    assert [p.code for p in elsewhere.parts if p.code == "reused"] == []
    assert not list(story(fraud=False).registry.burned.rows()), "nothing was confirmed"
    shared = {key[2] for *key, _, _ in story().registry.burned.rows()}
    assert shared == {"phone", "a-card"}
    locker = RingKeeper(SCHEMA, RULES)
    events = [event(n, f"v{n}", START_US + n * MINUTE_US, address="locker") for n in range(6)]
    events += [
        event(50 + n, f"w{n}", START_US + (50 + n) * MINUTE_US, address="locker", device="d", card="c", phone="p")
        for n in range(3)
    ]
    told(locker, events, START_US + DAY_US)
    confirmed(locker, events[-1], START_US + DAY_US)
    locker.advance(START_US + 2 * DAY_US)
    kept = {key[2] for *key, _, _ in locker.registry.burned.rows()}
    assert ("d" in kept, "locker" in kept) == (True, len(the_ring(locker, "w0").members) > 6)


def test_the_ring_itself_is_not_told_that_it_reuses_what_it_has() -> None:
    keeper = RingKeeper(SCHEMA, RULES)
    first = accounts("a", 4, START_US, device="phone")
    told(keeper, first, START_US + DAY_US)
    confirmed(keeper, first[0], START_US + DAY_US)
    told(keeper, accounts("c", 2, START_US + 3 * DAY_US, device="phone"), START_US + 4 * DAY_US)
    found = the_ring(keeper, "a0")
    assert found.summary.users == 6
    assert [p.code for p in found.parts if p.code == "reused"] == []
    assert [s.busted_ring for s in found.shared] == [""]


def test_it_is_remembered_over_a_restart_and_for_a_year() -> None:
    keeper = story()
    again = RingKeeper(SCHEMA, RULES)
    again.load(keeper.dump())
    assert the_ring(again, "b0") == the_ring(keeper, "b0")
    assert again.digest() == keeper.digest()
    assert list(again.registry.burned.rows())
    again.advance(START_US + KEPT_US - DAY_US)
    assert list(again.registry.burned.rows())
    again.advance(START_US + KEPT_US + 10 * DAY_US)
    assert list(again.registry.burned.rows()) == []

"""Ring risk: parts that add up, what speaks against and what for a ring, verdicts, texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import START_US
from test_rings_keeper import feed

from features.schema import FeatureSchema
from rings import risk
from rings.facts import Facts, most_within
from rings.keeper import RingKeeper
from rings.ring import Ring
from ringwatch.model import DAY_US, HOUR_US, Event

KINDS = ("device", "card", "address", "email", "phone", "bank_account")
DEVICE, CARD, ADDRESS = 0, 1, 2


def ring_of(n: int, **more: int) -> Facts:
    fields = {"users": n, "things": 1, "kinds": 1, "links": n, "widest": n, "widest_kind": DEVICE, "rarity": 1800}
    return Facts(**{**fields, "first_us": START_US, "last_joined_us": START_US + 5 * DAY_US, **more})


def codes(f: Facts) -> dict[str, float]:
    return {part.code: part.value for part in risk.parts(f, KINDS)}


counts = st.integers(0, 30)


@given(
    st.builds(
        Facts, users=st.integers(2, 30), things=counts, kinds=counts, links=counts, multi=counts, widest=counts,
        widest_kind=st.integers(0, 5), widest_day=counts, second=counts, rarity=st.integers(0, 9000), young=counts,
        departed=counts, recent=counts, opened=counts, told=counts, within_day=counts, fraud=counts, fraud_here=counts,
        fraud_elsewhere=counts, good=counts, flagged=counts, amount_minor=st.integers(-(10**9), 10**9),
        first_us=st.integers(0, 10**15), last_joined_us=st.integers(0, 10**15),
    )
)  # fmt: skip
def test_parts_add_up_to_the_risk(f: Facts) -> None:
    parts = risk.parts(f, KINDS)
    total = risk.risk(f, KINDS)
    assert 0 <= total <= 1
    assert round(total * risk.UNIT) == sum(round(part.value * risk.UNIT) for part in parts)
    assert abs(sum(part.value for part in parts) - total) < 1e-9
    assert all(part.value for part in parts)
    assert all(part.text and "{" not in part.text for part in parts)
    assert 0 <= risk.innocence(f, KINDS) <= 1


def test_what_one_hand_does_is_over_a_half() -> None:
    opened = ring_of(5, young=5, recent=5, opened=5, told=3)
    taken = ring_of(5, departed=5, told=3, second=5)
    assert risk.risk(opened, KINDS) > 0.7
    assert risk.risk(taken, KINDS) > 0.5


def test_a_household_is_innocent_until_confirmed() -> None:
    family = ring_of(4, things=4, kinds=4, links=16, multi=4, second=4, young=2, recent=2, opened=2, told=2)
    assert risk.risk(family, KINDS) < 0.1
    assert codes(family)["household"] < 0
    assert risk.verdict(family, KINDS, CARD) == "household"
    assert risk.risk(family._replace(fraud=3, fraud_here=3), KINDS) > 0.5


def test_a_farm_that_shares_everything_is_no_household() -> None:
    farm = ring_of(4, things=4, kinds=4, links=16, multi=4, second=4, young=4, recent=4, opened=4, told=4)
    assert "household" not in codes(farm)
    assert risk.risk(farm, KINDS) > 0.9


@pytest.mark.parametrize(("users", "verdict"), [(6, "flat"), (17, "campus")])
def test_one_address_of_people_who_came_apart(users: int, verdict: str) -> None:
    home = ring_of(users, widest_kind=ADDRESS, young=users // 3, recent=users // 3, opened=2, told=1)
    assert risk.risk(home, KINDS) < 0.25
    assert risk.verdict(home, KINDS, ADDRESS) == verdict
    assert risk.verdict(home, KINDS, CARD) == ""


def test_a_shop_device_of_one_day() -> None:
    shop = ring_of(9, departed=8, told=8, within_day=9, widest_day=9)
    assert risk.risk(shop, KINDS) < 0.35
    assert risk.verdict(shop, KINDS, DEVICE) == "shop_device"
    assert "shop_device" not in codes(shop._replace(widest_day=5))
    assert risk.risk(shop._replace(flagged=5), KINDS) > 0.5


def test_two_are_half_as_much() -> None:
    two, three = (ring_of(n, young=n, recent=n, opened=n, told=n) for n in (2, 3))
    assert risk.risk(two, KINDS) < 0.6 < risk.risk(three, KINDS)


def test_confirmed_good_lowers_the_risk() -> None:
    calm = ring_of(5, young=3, recent=3, opened=3, told=2)
    assert risk.risk(calm._replace(good=3), KINDS) < risk.risk(calm, KINDS)


def test_texts_carry_the_numbers() -> None:
    parts = {part.code: part.text for part in risk.parts(ring_of(5, departed=4, fraud_here=2, rarity=2000), KINDS)}
    assert parts["departures"] == "4 of 5 members left their usual thing of the kind for a shared one"
    assert parts["confirmed"] == "2 of 5 members have confirmed fraud on a shared thing"
    assert parts["chance"] == "one device in 100 has as many users as theirs, 5 members on it"


def test_most_within_a_span() -> None:
    assert most_within([], 10) == 0
    assert most_within([0, 4, 9, 10, 30], 10) == 3


def built(events: list[Event]) -> Ring:
    keeper = RingKeeper(FeatureSchema())
    feed(keeper, events)
    keeper.advance(events[-1].at_us + DAY_US)
    (row,) = keeper.rings()
    ring = keeper.ring(row.tenant, row.ring_id)
    assert ring is not None
    return ring


def test_young_accounts_on_one_device() -> None:
    events = []
    for n in range(5):
        at_us = START_US + n * HOUR_US
        events += [
            Event(f"s{n}", "signup", at_us, {"user": f"u{n}", "device": "d", "email": f"m{n}"}),
            Event(f"p{n}", "payment", at_us + 60_000_000, {"user": f"u{n}", "device": "d", "card": f"c{n}"},
                  amount_minor=5000, outcome="approved" if n else "declined"),
        ]  # fmt: skip
    ring = built(events)
    assert all(m.young and not m.departed for m in ring.members)
    assert ring.summary.amount_minor == 20_000
    assert ring.summary.risk == pytest.approx(sum(part.value for part in ring.parts))
    assert ring.summary.risk > 0.7
    assert [(t.kind, t.entity, t.users) for t in ring.shared] == [("device", "d", 5)]
    assert [link.events for link in ring.links] == [2] * 5
    assert ring.founding_event == "s1"


def test_old_accounts_that_leave_their_devices() -> None:
    events = [Event(f"a{n}", "login", START_US, {"user": f"u{n}", "device": f"own{n}", "ip": "i"}) for n in range(5)]
    taken_us = START_US + 10 * DAY_US
    events += [
        Event(f"t{n}{kind}", "login", taken_us + n * 4 * HOUR_US, {"user": f"u{n}", kind: "thief"})
        for n in range(5)
        for kind in ("device", "card")
    ]
    ring = built(sorted(events, key=lambda e: e.at_us))
    assert all(m.departed and not m.young for m in ring.members)
    assert ring.summary.risk > 0.5

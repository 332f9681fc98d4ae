"""What came before an event (features/sequence.py) and the links that were departures or of takers of a gift: against plain
functions of the whole past, over random streams with ties and late events, and by hand at every edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.streams import START_US

from features.columns import BASKET_STEPS
from features.memory_state import MemoryState
from features.profile import haversine_km
from features.schema import SEQUENCE_BLOCK, FeatureSchema
from ringwatch.model import BUILTIN_KINDS, DAY_US, HOUR_US, MICROSECONDS, MINUTE_US, Event

SCHEMA = FeatureSchema()
FEW_KINDS = FeatureSchema(tuple(k for k in BUILTIN_KINDS if k.name not in ("session", "sku", "merchant", "ip")))
TWO_KINDS = FeatureSchema(tuple(k for k in BUILTIN_KINDS if k.name in ("user", "card")))
NAN = math.nan
BERLIN, POTSDAM, MADRID, ROME, OSLO = (52.5, 13.4), (52.4, 13.1), (40.4, -3.7), (41.9, 12.5), (59.9, 10.7)
FAILS = ("declined", "failed")
Past = Sequence[Event]  # everything up to an event, itself included, in order of arrival


def features(events: Sequence[Event], schema: FeatureSchema = SCHEMA) -> np.ndarray:
    return MemoryState(schema, max_entities=1000).apply(events)


def column(events: Sequence[Event], name: str) -> list[float]:
    return [float(x) for x in features(events)[:, SCHEMA.index[name]]]


def last(events: Sequence[Event], name: str) -> float:
    return column(events, name)[-1]


def at(minutes: float, type_: str, user: str | None = "u", **fields: Any) -> Event:
    """An event so many minutes after the start; entities by kind, other fields by name."""
    entities = {} if user is None else {"user": user}
    entities |= {k.name: fields.pop(k.name) for k in BUILTIN_KINDS if k.name in fields}
    if (place := fields.pop("place", None)) is not None:
        fields |= {"lat": place[0], "lon": place[1]}
    return Event("e", type_, START_US + round(minutes * MINUTE_US), entities, **fields)


def of(past: Past, kind: str) -> list[Event]:
    """Events of the last one's entity."""
    entity = past[-1].entities[kind]
    return [e for e in past if e.tenant == past[-1].tenant and e.entities.get(kind) == entity]


def recent(past: Past, kind: str) -> list[Event]:
    """Those that happened by then, in order of time, ties in order of arrival."""
    return sorted((e for e in of(past, kind) if e.at_us <= past[-1].at_us), key=lambda e: e.at_us)


def pay_run(past: Past, kind: str, window_us: int) -> float:
    mine = recent(past, kind)
    since = mine[max((n + 1 for n, e in enumerate(mine) if e.type == "order"), default=0) :]
    return sum(e.type == "payment" and e.outcome not in FAILS and past[-1].at_us - e.at_us < window_us for e in since)


def happened(past: Past, type_: str, window_us: int, *, failed: bool) -> float:
    return sum(
        e.type == type_ and (e.outcome in FAILS) == failed and past[-1].at_us - e.at_us < window_us
        for e in recent(past, "user")
    )


def hops(past: Past) -> float:
    """Late places change nothing; a way back begins anew, and so do six hours without a place."""
    been: list[Event] = []
    for e in of(past, "user"):
        been += [e] if e.lat is not None and (not been or e.at_us >= been[-1].at_us) else []
    places, run = list[tuple[float, float]](), 0
    for before, now in pairwise(been):
        here, there = (now.lat, now.lon), (before.lat, before.lon)
        took_us, km = now.at_us - before.at_us, haversine_km(*there, *here)
        run = run if took_us <= 6 * HOUR_US else 0
        if km > 250:
            back = bool(places) and haversine_km(*places[-1], *here) < 100
            run = 0 if back else run + (km * HOUR_US >= 350 * max(took_us, MINUTE_US))
            places.append(there)
    return run


def hold_run(past: Past, kind: str) -> float:
    run, latest = 0, None
    for e in of(past, kind):
        if e.type in ("order", "payment"):
            run = 0
        elif e.type == "cart_hold":
            run = run + 1 if latest is None or e.at_us - latest <= 6 * HOUR_US else 1
            latest = e.at_us if latest is None else max(latest, e.at_us)
    return run


def sku_run(past: Past, kind: str, schema: FeatureSchema) -> float:
    run, article, latest = 0, None, None
    for e in [e for e in of(past, kind) if e.type == "order"]:
        sku = e.entities.get("sku") if "sku" in schema.kind_index else None
        soon = latest is not None and e.at_us - latest <= 7 * DAY_US
        run = 0 if sku is None else run + 1 if sku == article and soon else 1
        article, latest = sku, e.at_us if latest is None else max(latest, e.at_us)
    return run


def agents(past: Past) -> float:
    return sum(a != b for a, b in pairwise([e.user_agent for e in of(past, "device") if e.user_agent is not None]))


def changed(past: Past, read: Callable[[Event], str | None]) -> float:
    seen = [value for e in of(past, "session") if (value := read(e)) is not None]
    return float(read(past[-1]) is not None and read(past[-1]) != seen[0])


def basket(past: Past) -> float:
    return float(any(e.step in BASKET_STEPS or e.type in ("order", "cart_hold") for e in of(past, "session")[:-1]))


def price(past: Past) -> tuple[float, float]:
    """(ratio, age): late changes count for nothing; before the first one orders tell the price."""
    prices, set_us = [], None
    for e in of(past, "sku"):
        if e.unit_price_minor is None:
            continue
        if e.type == "price_change" and (set_us is None or e.at_us >= set_us):
            prices.append(e.unit_price_minor)
            set_us = e.at_us
        elif e.type == "order" and set_us is None:
            prices = [e.unit_price_minor]
    if set_us is None:
        return NAN, NAN
    ratio = prices[-1] / prices[-2] if len(prices) > 1 and prices[-2] > 0 else NAN
    return ratio, max(past[-1].at_us - set_us, 0) / MICROSECONDS


def paired(past: Past) -> tuple[float, float]:
    """(share, of) over the merchant's payments before."""
    pays = []
    for n, e in enumerate(past[:-1]):
        if e.type == "payment" and e.entities.get("merchant") == past[-1].entities["merchant"]:
            orders = [o.at_us for o in past[:n] if e.user is not None and o.user == e.user and o.type == "order"]
            pays.append(bool(orders) and e.at_us - max(orders) <= HOUR_US)
    return (sum(pays) / len(pays) if pays else NAN), len(pays)


def refund_unknown(past: Past) -> float:
    event, mine = past[-1], of(past, "user")[:-1]
    if event.type != "refund" or event.order_id is None or not any(e.type == "signup" for e in mine):
        return NAN
    return float(all(e.order_id != event.order_id or e.type not in ("order", "payment") for e in mine))


def paid_share(e: Event) -> float:
    if e.type != "order" or not e.unit_price_minor or e.amount_minor is None:
        return NAN
    return e.amount_minor / (e.unit_price_minor * (e.quantity or 1))


def expected(past: Past, schema: FeatureSchema) -> dict[str, float]:
    """Every column of the block, by name."""
    event = past[-1]
    there = {k for k in event.entities if k in schema.kind_index}
    found: dict[str, float] = dict.fromkeys((f.name for f in SEQUENCE_BLOCK), NAN)
    for kind in there & {"user", "device", "card"}:
        for name, window_us in (("10m", 10 * MINUTE_US), ("1h", HOUR_US)):
            found[f"{kind}.pay_run_{name}"] = pay_run(past, kind, window_us)
    found |= {f"{kind}.hold_run": hold_run(past, kind) for kind in there & {"user", "device", "sku"}}
    found |= {f"{kind}.sku_run": sku_run(past, kind, schema) for kind in there & {"user", "device", "card", "address"}}
    if "user" in there:
        found["user.failed_logins_1h"] = happened(past, "login", HOUR_US, failed=True)
        found["user.profile_changes_24h"] = happened(past, "profile_change", DAY_US, failed=False)
        found["user.hops"] = hops(past)
        found["event.refund_unknown"] = refund_unknown(past)
    if "device" in there:
        found["device.agents"] = agents(past)
    if "session" in there:
        for kind in ("device", "ip"):
            known = kind in schema.kind_index
            found[f"session.{kind}_changed"] = changed(past, lambda e, k=kind: e.entities.get(k)) if known else 0.0
        found["session.agent_changed"] = changed(past, lambda e: e.user_agent)
        found["session.basket"] = basket(past)
    if "sku" in there:
        found["sku.price_ratio"], found["sku.price_age_s"] = price(past)
    if "merchant" in there:
        found["merchant.paired_share"], found["merchant.paired_of"] = paired(past)
    found["event.paid_share"] = paid_share(event)
    return found


GAPS_S = (0, 0, 1, 60, 599, 600, 3599, 3600, 3601, 6 * 3600, 6 * 3600 + 1, 86_399, 86_400, 7 * 86_400, 7 * 86_400 + 1)
_KINDS = ("user", "device", "card", "address", "ip", "merchant", "session", "sku")
ENTITIES = st.fixed_dictionaries({}, optional={k: st.sampled_from([f"{k}1", f"{k}2"]) for k in _KINDS})
_CHOICES: dict[str, tuple[Any, ...]] = {
    "outcome": (None, "approved", "success", "declined", "failed"), "user_agent": (None, "Firefox", "Safari"),
    "order_id": (None, "o-1", "o-2"), "step": (None, "cart", "checkout", "view"), "quantity": (None, 0, 1, 3),
    "place": (None, BERLIN, POTSDAM, MADRID, ROME, OSLO), "unit_price_minor": (None, 0, 500, 2000),
    "amount_minor": (None, 0, 700, 2000),
}  # fmt: skip
FIELDS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in _CHOICES.items()})
_OFTEN = ("payment", "payment", "order", "login", "profile_change", "cart_hold", "price_change", "refund", "signup")
STEPS = st.tuples(st.sampled_from(GAPS_S), st.sampled_from(_OFTEN), ENTITIES, FIELDS, st.sampled_from((0, 0, 30, 3600)))


def made(steps: Sequence[Any], *, late: bool) -> list[Event]:
    now_s, events = 0, []
    for gap_s, type_, entities, fields, behind_s in steps:
        now_s += gap_s
        events.append(at((now_s - late * behind_s) / 60, type_, **{"user": None, **entities}, **fields))
    return events


def check(events: list[Event], schema: FeatureSchema) -> None:
    """Every value; where over 10 events lie in a window, a lower bound."""
    got = features(events, schema)
    for n, event in enumerate(events):
        past = events[: n + 1]
        for name, value in expected(past, schema).items():
            x, kind = float(got[n, schema.index[name]]), name.split(".")[0]
            reach_us = DAY_US if name.endswith("_24h") else HOUR_US if name.endswith(("_1h", "_10m")) else 0
            kept = recent(past, kind) if reach_us and kind in event.entities else []
            many = sum(event.at_us - e.at_us < reach_us for e in kept) > 10
            assert x <= value if many else x == pytest.approx(value, rel=1e-6, nan_ok=True), (n, name)


SCHEMAS = st.sampled_from([SCHEMA, SCHEMA, FEW_KINDS, TWO_KINDS])


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=10), st.booleans(), SCHEMAS)
def test_every_column_is_what_the_whole_past_says(steps: list[Any], late: bool, schema: FeatureSchema) -> None:
    check(made(steps, late=late), schema)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=20, max_size=45))
def test_long_streams_too_where_ten_events_reach(steps: list[Any]) -> None:
    check(made(steps, late=False), SCHEMA)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=25), st.data(), SCHEMAS)
def test_looking_gives_the_answer_without_a_trace(steps: list[Any], data: st.DataObject, schema: FeatureSchema) -> None:
    events = made(steps, late=True)
    cut = data.draw(st.integers(0, len(events) - 1))
    state = MemoryState(schema, max_entities=1000)
    state.apply(events[:cut])
    before, looked = state.digest(), state.apply(events[cut:], commit=False)
    assert state.digest() == before
    assert np.array_equal(looked, state.apply(events[cut:]), equal_nan=True)


def test_a_payment_run_ends_with_an_order_a_decline_or_time() -> None:
    pays = [at(n, "payment", card="c", device="d", outcome="approved") for n in range(4)]
    assert column(pays, "user.pay_run_10m") == column(pays, "card.pay_run_1h") == [1, 2, 3, 4]
    assert last([*pays, at(4, "payment", card="c", outcome="declined")], "card.pay_run_10m") == 4
    assert last([*pays, at(4, "order"), at(5, "payment")], "user.pay_run_1h") == 1
    assert last([*pays, at(4, "order"), at(5, "payment", card="c")], "card.pay_run_1h") == 5
    assert last([*pays, at(10, "login")], "user.pay_run_10m") == 3
    assert last([*pays, at(62, "login")], "user.pay_run_1h") == 1
    assert math.isnan(last([*pays, at(5, "login", None, ip="i")], "user.pay_run_1h"))


def test_what_comes_over_a_day_late_is_not_held_against_windows() -> None:
    events = [at(0, "login"), at(2 * 1440, "login"), at(10, "login", outcome="failed"), at(11, "profile_change")]
    assert last(events[:3], "user.failed_logins_1h") == 0
    assert last(events, "user.profile_changes_24h") == 0


def test_places_before_the_first_and_late_places_are_no_hops() -> None:
    assert column([at(0, "login"), at(1, "login", place=OSLO)], "user.hops") == [0, 0]
    late = [at(60, "login", place=BERLIN), at(0, "login", place=MADRID), at(90, "login", place=ROME)]
    assert column(late, "user.hops") == [0, 0, 1]


@pytest.mark.parametrize(
    ("places", "run"),
    [
        ((BERLIN, MADRID, BERLIN, MADRID, BERLIN), 0), ((BERLIN, MADRID, ROME, OSLO), 3), ((BERLIN, POTSDAM, BERLIN), 0),
        ((BERLIN, MADRID, None, ROME), 2), ((BERLIN, BERLIN, MADRID), 1), ((BERLIN, MADRID, ROME, MADRID), 0),
        ((BERLIN, MADRID, ROME, MADRID, OSLO), 1), ((BERLIN, MADRID, BERLIN, ROME, OSLO), 2),
    ],
)  # fmt: skip
def test_hops_count_new_places_only(places: Sequence[tuple[float, float] | None], run: int) -> None:
    assert last([at(30 * n, "login", place=p) for n, p in enumerate(places)], "user.hops") == run
    slow = [at(540 * n, "login", place=p) for n, p in enumerate(places)]
    assert last(slow, "user.hops") == 0


def test_a_move_is_a_hop_where_a_traveller_is_slower() -> None:
    """Berlin to Madrid, 1,866 km: in 5.3 h it is one, in 5.4 h it is none; before and after others it ends nothing."""
    for hours, hop in ((0.0, 1), (5.3, 1), (5.4, 0)):
        there = [at(0, "login", place=BERLIN), at(60 * hours, "login", place=MADRID)]
        assert column(there, "user.hops") == [0, hop]
        on = [*there, at(60 * hours + 90, "login", place=ROME), at(60 * hours + 180, "login", place=MADRID)]
        assert column(on, "user.hops") == [0, hop, hop + 1, 0]


def test_refunds_of_what_was_never_ordered() -> None:
    signup, refund = at(0, "signup"), at(9, "refund", order_id="o-1")
    known = [at(1, "order", order_id="o-1"), at(1, "payment", order_id="o-1", outcome="declined")]
    assert math.isnan(last([refund], "event.refund_unknown")), "of an unknown user"
    assert math.isnan(last([at(0, "login"), refund], "event.refund_unknown")), "seen, but not from the sign-up on"
    assert math.isnan(last([signup, at(9, "refund")], "event.refund_unknown")), "of no order in particular"
    assert last([signup, refund], "event.refund_unknown") == 1
    assert last([signup, refund, refund], "event.refund_unknown") == 1, "a refund makes no order known"
    assert [last([signup, e, refund], "event.refund_unknown") for e in known] == [0, 0]
    assert last([signup, at(1, "order", "other", order_id="o-1"), refund], "event.refund_unknown") == 1


def test_counters_stop_at_255() -> None:
    names = ("user.hold_run", "device.hold_run", "sku.hold_run", "device.agents")
    holds = [at(n, "cart_hold", device="d", sku="s", user_agent=f"{n % 2}") for n in range(300)]
    assert [last(holds, name) for name in names] == [255] * 4
    orders = [at(n, "order", sku="s", card="c") for n in range(300)]
    assert [last(orders, name) for name in ("user.sku_run", "card.sku_run")] == [255] * 2
    places = (BERLIN, MADRID, ROME)
    assert last([at(n, "login", place=places[n % 3]) for n in range(300)], "user.hops") == 255


def test_a_price_of_nothing_has_no_ratio() -> None:
    free = [at(n, "price_change", None, sku="s", unit_price_minor=p) for n, p in enumerate((0, 500, 100))]
    assert column(free, "sku.price_ratio") == pytest.approx([NAN, NAN, 0.2], nan_ok=True)
    assert column(free, "sku.price_age_s") == [0, 0, 0]


def test_one_tenant_says_nothing_about_another() -> None:
    pays = [at(n, "payment", card="c", merchant="m", tenant=f"t{n % 2}") for n in range(4)]
    assert column(pays, "card.pay_run_1h") == [1, 1, 2, 2]
    assert column(pays, "merchant.paired_of") == [0, 0, 1, 1]


def test_a_held_article_is_a_basket() -> None:
    held = [at(n, type_, session="s") for n, type_ in enumerate(("login", "cart_hold", "payment"))]
    assert column(held, "session.basket") == [0, 0, 1]


def test_a_departure_needs_two_days_and_something_to_leave() -> None:
    days = 1440.0
    first = at(0, "login", device="own")
    assert column([first, at(2 * days, "login", device="new")], "device.link_departed") == [0, 0]
    moved = [first, at(2 * days + 1, "login", device="new", card="c", ip="i"), at(9 * days, "login", device="own")]
    assert column(moved, "device.link_departed") == [0, 1, 0]
    assert last(moved[:2], "card.link_departed") == 0, "there was no card to leave"
    assert last([*moved, at(9 * days, "login", device="new")], "device.link_departed") == 1, "it stays a departure"
    assert last(moved[:2], "user.departed_neighbours") == 1
    assert math.isnan(last([at(0, "login", None, device="own")], "device.link_departed"))
    assert math.isnan(last([at(0, "login", session="s", sku="k")], "session.link_departed")), "kinds that link nobody"


def test_departures_are_counted_on_the_thing() -> None:
    events = [at(n, "login", f"u{n}", card=f"own{n}") for n in range(4)]
    events += [at(4 * 1440 + n, "payment", f"u{n}", card="pool") for n in range(3)]
    events += [at(4 * 1440 + 3, "payment", "newcomer", card="pool")]
    assert column(events, "card.departed_neighbours") == [0, 0, 0, 0, 1, 2, 3, 3]
    late = at(60, "payment", "u3", card="pool")
    assert last([*events, late], "card.departed_neighbours") == 3, "it happened on its first day"


def test_an_earlier_first_event_makes_later_links_departures_not_the_made_ones() -> None:
    events = [at(1440, "login", device="a"), at(2 * 1440, "login", device="b"), at(600, "login", device="a")]
    assert column([*events, at(2 * 1440 + 601, "login", device="c")], "device.link_departed") == [0, 0, 0, 1]


def takers(n: int, *, redeem_after: float = 10.0, **things: str) -> list[Event]:
    events = [at(100 * k, "signup", f"u{k}", **things) for k in range(n)]
    events += [at(100 * k + redeem_after, "promo_redeem", f"u{k}", promo="gift", **things) for k in range(n)]
    return sorted(events, key=lambda e: e.at_us)


def test_takers_of_a_gift_are_counted_on_what_they_share() -> None:
    shared = takers(3, device="d", phone="p")
    assert [last(shared, f"{kind}.promo_neighbours") for kind in ("device", "phone", "user")] == [3, 3, 0]
    assert last(takers(3, device="d", redeem_after=1440.0), "device.promo_neighbours") == 0, "a day is over"
    assert last(takers(3, device="d", redeem_after=1439.9), "device.promo_neighbours") == 3
    later = [*takers(1, device="d"), at(50 * 1440, "login", "u0", device="new")]
    assert last(later, "device.promo_neighbours") == 1, "on a link made after the gift as well"
    without = [e for e in takers(3, device="d") if e.type != "signup"]
    assert last(without, "device.promo_neighbours") == 0, "nobody knows when they signed up"


def test_a_gift_is_marked_at_once_on_what_was_there_before_and_for_good() -> None:
    signup, gift, late = at(0, "signup", phone="p"), at(10, "promo_redeem"), at(3 * 1440, "promo_redeem")
    seen = [at(12, "signup", "v", phone="p"), at(4 * 1440, "login", phone="p", device="new")]
    assert column([signup, gift, seen[0]], "phone.promo_neighbours")[-1] == 1, "the gift was taken without the phone"
    for name in ("phone.promo_neighbours", "device.promo_neighbours"):
        assert last([signup, gift, late, seen[1]], name) == 1, "a later redemption takes nothing back"
        assert last([signup, late, seen[1]], name) == 0, "one on the third day is no newcomer's"
    assert last([signup, gift, at(11, "promo_redeem", "w"), seen[0]], "phone.promo_neighbours") == 1
    assert last([at(0, "login", phone="p"), gift, seen[0]], "phone.promo_neighbours") == 0, "no sign-up was seen"

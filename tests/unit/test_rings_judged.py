"""Sharing that people judged innocent: rings that lean on it are scored as if it were not shared, until that is taken back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from support.models import new_stream
from support.streams import START_US
from test_rings_keeper import RULES, SCHEMA, event, feed, look

from features.columns import ResolvedLabel
from rings.judged import Judged
from rings.keeper import RingKeeper
from rings.ring import Ring
from rings.rules import RingRules
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, Event, Label
from scorers.lists import load_lists

HOME = Judged("default", "address", "home", "anna", "a student hall")
PHONE = Judged("default", "device", "phone", "ben", "the porter's phone")


def newcomers(n: int, start: int, **shared: str) -> list[Event]:
    """Accounts opened one after the other, each using these things at once."""
    return [
        event(start + 2 * i + k, f"u{start + i}", START_US + (start + i) * 7 * MINUTE_US, type_=type_, **shared)
        for i in range(n)
        for k, type_ in enumerate(("signup", "login"))
    ]


def settled(*events: Event, rules: RingRules = RULES) -> RingKeeper:
    keeper = RingKeeper(SCHEMA, rules)
    feed(keeper, sorted(events, key=lambda e: e.at_us))
    keeper.advance(START_US + DAY_US)
    return keeper


def only(keeper: RingKeeper) -> Ring:
    (one,) = keeper.rings("default")
    found = keeper.ring("default", one.ring_id)
    assert found is not None
    return found


def test_the_risk_is_what_it_were_without_the_entity_and_the_parts_tell_who_said_so() -> None:
    keeper = settled(*newcomers(4, 0, device="phone", address="home"))
    apart = only(settled(*newcomers(4, 0, device="phone")))
    before = only(keeper)
    assert before.summary.risk > 0.5
    keeper.judge((HOME,))
    after = only(keeper)
    assert after.summary.risk == min(apart.summary.risk, before.summary.risk)
    assert after.members == before.members
    keeper.judge((HOME, PHONE))
    nothing = only(keeper)
    assert nothing.summary.risk == 0.0
    part = next(p for p in nothing.parts if p.code == "judged_innocent")
    assert part.value == -before.summary.risk
    assert "address home: a student hall (anna)" in part.text
    assert "device phone: the porter's phone (ben)" in part.text
    for ring in (before, after, nothing):
        assert round(sum(p.value for p in ring.parts), 9) == ring.summary.risk


def test_taken_back_all_is_as_before() -> None:
    keeper = settled(*newcomers(4, 0, device="phone", address="home"))
    before, told, digest = only(keeper), look(keeper, event(99, "u0", START_US + DAY_US)), keeper.digest()
    keeper.judge((PHONE, HOME))
    eased = look(keeper, event(99, "u0", START_US + DAY_US))
    assert (eased["risk"], eased["innocence"]) == (0.0, 1.0)
    assert keeper.registry.judged_anew == {before.summary.ring_id}
    keeper.judge(())
    assert only(keeper) == before
    assert look(keeper, event(99, "u0", START_US + DAY_US)) == told
    assert keeper.digest() == digest


def test_every_ring_that_leans_on_it_is_scored_anew_and_no_other() -> None:
    one = newcomers(6, 0, device="a", card="ca", phone="pa", address="home")
    two = newcomers(6, 100, device="b", card="cb", phone="pb", address="home")
    tenants = [event(300 + n, f"x{n}", START_US + n * MINUTE_US, address="home", device=f"x{n}") for n in range(12)]
    other = newcomers(3, 200, device="c", address="elsewhere")
    keeper = settled(*one, *two, *tenants, *other, rules=RingRules(mark_us=HOUR_US, community_above=6, hub_cap=50))
    before = {r.ring_id: r for r in keeper.rings("default")}
    assert sorted(r.users for r in before.values()) == [3, 6, 6, 12], "an address does not make one ring of them"
    keeper.judge((HOME, Judged("other", "address", "elsewhere", "eve", "of another tenant")))
    leaning = {ring_id for ring_id, r in before.items() if r.users > 3}
    assert keeper.registry.judged_anew == leaning
    for after in keeper.rings("default"):
        ring = keeper.ring("default", after.ring_id)
        assert ring is not None
        assert ("judged_innocent" in {p.code for p in ring.parts}) == (after.ring_id in leaning)
        assert after.risk <= before[after.ring_id].risk


def test_it_holds_at_marks_and_after_a_restart_and_until_it_expires() -> None:
    keeper = settled(*newcomers(4, 0, device="phone"))
    full = only(keeper).summary.risk
    until = msgspec.structs.replace(PHONE, until_us=START_US + 2 * DAY_US)
    keeper.judge((until,))
    feed(keeper, [event(50, "u9", START_US + DAY_US + MINUTE_US, device="phone")], start=50)
    keeper.advance(START_US + DAY_US + DAY_US // 2)
    assert only(keeper).summary.users == 5
    assert only(keeper).summary.risk == 0.0
    again = RingKeeper(SCHEMA, RULES)
    again.load(keeper.dump())
    assert only(again).summary.risk > 0.5, "verdicts are not in dumps"
    again.judge((until,))
    assert only(again) == only(keeper)
    keeper.advance(START_US + 2 * DAY_US + HOUR_US)
    assert 0.0 < only(keeper).summary.risk < full, "as of then, with the one who came later"
    assert not [p for p in only(keeper).parts if p.code == "judged_innocent"]


def test_a_verdict_never_makes_a_ring_riskier() -> None:
    """A family shares so much that it is innocent; less of it is not more of a suspicion."""
    family = [
        event(10 * n + k, f"f{n}", START_US + n * 3 * DAY_US + k * MINUTE_US, type_=type_, device="d", card="c", phone="p", address="home")
        for n in range(3)
        for k, type_ in enumerate(("signup", "login"))
    ]  # fmt: skip
    keeper = settled(*family)
    keeper.advance(START_US + 8 * DAY_US)
    before = only(keeper).summary.risk
    keeper.judge((HOME, Judged("default", "phone", "p", "anna", "theirs")))
    assert only(keeper).summary.risk <= before


CAMPUS = Judged("default", "ip", "10.0.0.1", "anna", "this ip is a campus", users=frozenset(f"u{n}" for n in range(4)))


def parts(keeper: RingKeeper) -> dict[str, float]:
    return {p.code: p.value for p in only(keeper).parts}


def test_a_place_explains_that_its_users_came_together_and_nothing_else() -> None:
    keeper = settled(*newcomers(4, 0, device="phone", address="home"))
    before = only(keeper)
    told = parts(keeper)
    keeper.judge((CAMPUS,))
    after = parts(keeper)
    explained = sum(told.get(code, 0.0) for code in ("chance", "synchrony", "young", "recent", "opened_together"))
    assert explained > 0.5
    assert {code: after[code] for code in told} == told
    assert only(keeper).summary.risk == round(max(0.0, before.summary.risk + after["judged_innocent"]), 4)
    assert only(keeper).summary.risk <= round(before.summary.risk - min(explained, before.summary.risk), 4) + 1e-4
    assert only(keeper).members == before.members
    assert keeper.registry.judged_anew == {before.summary.ring_id}
    keeper.judge(())
    assert only(keeper) == before


def test_a_place_counts_for_the_share_of_the_ring_that_was_there_and_from_two() -> None:
    keeper = settled(*newcomers(4, 0, device="phone", address="home"))
    full, risks = only(keeper).summary.risk, []
    for n in range(5):
        keeper.judge((msgspec.structs.replace(CAMPUS, users=frozenset(f"u{i}" for i in range(n))),))
        risks.append(only(keeper).summary.risk)
    assert risks[0] == risks[1] == full, "one member at a place explains nothing"
    assert full > risks[2] > risks[3] > risks[4]
    other = msgspec.structs.replace(CAMPUS, tenant="other")
    keeper.judge((other,))
    assert only(keeper).summary.risk == full


def test_what_is_confirmed_is_not_explained_by_a_place() -> None:
    events = newcomers(4, 0, device="phone", address="home")
    keeper = settled(*events)
    labels = [ResolvedLabel(Label("event", e.event_id, "fraud", START_US + DAY_US), e.entities) for e in events[:6]]
    for n, label in enumerate(labels):
        keeper.apply([(100 + n, label)], np.zeros((0, SCHEMA.size), np.float32))
    keeper.advance(START_US + DAY_US + DAY_US // 2)
    confirmed = parts(keeper)["confirmed"]
    assert confirmed > 0.2
    keeper.judge((CAMPUS,))
    assert only(keeper).summary.risk >= 0.4
    assert only(keeper).summary.risk < 1.0


def test_a_place_holds_at_marks_for_who_joins_later_once_they_are_known_there() -> None:
    keeper = settled(*newcomers(4, 0, device="phone", address="home"))
    keeper.judge((CAMPUS,))
    eased = only(keeper).summary.risk
    feed(
        keeper,
        [event(60, "u9", START_US + DAY_US + MINUTE_US, type_="signup", device="phone", address="home")],
        start=60,
    )
    keeper.advance(START_US + DAY_US + DAY_US // 2)
    assert only(keeper).summary.users == 5
    assert only(keeper).summary.risk > eased
    keeper.judge((msgspec.structs.replace(CAMPUS, users=CAMPUS.users | {"u9"}),))
    assert only(keeper).summary.risk <= eased + 0.05


def test_what_is_said_of_every_tenant_counts_in_each() -> None:
    keeper = settled(*newcomers(4, 0, device="phone"))
    full = only(keeper)
    keeper.judge((PHONE,))
    eased = only(keeper)
    keeper.judge((msgspec.structs.replace(PHONE, tenant=""),))
    assert (only(keeper).summary, eased.summary.risk < full.summary.risk) == (eased.summary, True)
    keeper.judge(())
    assert only(keeper) == full


def test_halls_and_shops_that_a_file_names_speak_for_their_rings_and_decide_no_event(tmp_path: Path) -> None:
    file = tmp_path / "lists.yaml"
    file.write_text("innocent:\n  - {kind: device, id: phone, owner: ops, reason: the porter's phone}\n")
    with_it, without = new_stream(lists=load_lists(file)), new_stream()
    events = sorted(newcomers(4, 0, device="phone"), key=lambda e: e.at_us)
    late = event(90, "u0", START_US + 3 * DAY_US, device="phone")
    rings, actions = [], []
    for stream in (with_it, without):
        made = stream.feed(list(enumerate([*events, late])))
        actions.append([*made.action.tolist()])
        assert stream.rings is not None
        rings.append(stream.rings.rings("default")[0])
    assert (rings[0].risk, rings[1].risk > 0.3) == (0.0, True)
    assert rings[0].ring_id == rings[1].ring_id
    assert actions[0][0] == actions[1][0]

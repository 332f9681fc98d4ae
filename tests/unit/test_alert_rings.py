"""One ring, one alert: where a pattern names something shared in a ring of three or more, the alert is the ring's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import stories
from support.expected import events_of, market
from support.stories import Story, in_time, new_stream, tell

from features.schema import FeatureSchema
from ledger.alerting import AlertGrouper
from ringwatch.model import DAY_US, HOUR_US, Alert, Event, Level, Reason, Versions
from scorers.decision import Decisions

SCHEMA = FeatureSchema()
USERS = SCHEMA.index["ring.users"]
START_US = stories.START_US
SHARED = Reason("farm.opened_together", "accounts on one phone", 0.7, "device", "phone-1")
OWN = Reason("takeover.changed", "changed from elsewhere", 0.7, "user", "u0")


def row(n: int, **fields: Any) -> dict[str, Any]:
    """One event of a decision, HIGH and named by default, in a ring of three."""
    given = {
        "at": n * 60_000_000, "user": f"u{n}", "tenant": "default", "score": 0.7, "level": 2, "users": 3, "ring": "rg1",
        "patterns": ("farm",), "reasons": (SHARED,), "accounts": (f"u{n}",), "amount": 100, **fields,
    }  # fmt: skip
    return {"id": f"e{n}", **given}


def decided(rows: Sequence[dict[str, Any]]) -> Decisions:
    n = len(rows)
    features = np.full((n, SCHEMA.size), np.nan, np.float32)
    features[:, USERS] = [r["users"] for r in rows]
    events = [
        Event(
            r["id"], "payment", START_US + r["at"], {"user": r["user"]} if r["user"] else {}, r["tenant"], r["amount"]
        )
        for r in rows
    ]
    level = np.array([r["level"] for r in rows], np.uint8)
    return Decisions(
        events, np.arange(n), features, SCHEMA, (), np.zeros((n, 0)), np.array([r["score"] for r in rows]), level, level,
        [r["reasons"] for r in rows], [Versions("", {}, "")] * n, {}, [()] * n, [r["patterns"] for r in rows],
        [r["ring"] for r in rows], [r["accounts"] for r in rows],
    )  # fmt: skip


def grouped(rows: Sequence[dict[str, Any]], window_us: int = DAY_US) -> list[Alert]:
    return AlertGrouper(window_us).add(decided(rows))[0]


def test_a_ring_has_one_alert_that_grows() -> None:
    other = Reason("pieces.phone", "accounts with one number", 0.6, "phone", "sim-1")
    rows = [
        row(0, accounts=("u0", "x")),
        row(1, patterns=("pieces", "farm"), reasons=(other, SHARED), accounts=("u1", "u0"), score=0.9, level=3),
        row(2, accounts=("u2", "x", "u1"), users=4),
    ]
    (alert,) = grouped(rows)
    assert (alert.kind, alert.entity, alert.reason, alert.ring) == ("ring", "rg1", "ring", "rg1")
    assert (alert.events, alert.amount_minor, alert.level, alert.score) == (3, 300, "CRITICAL", 0.9)
    assert alert.accounts == ("u0", "x", "u1", "u2"), "in order of coming, each once"
    assert alert.patterns == ("farm", "pieces")
    assert (alert.text, alert.top_event_id, alert.first_event_id) == ("accounts with one number", "e1", "e0")
    assert (alert.first_at_us, alert.last_at_us) == (START_US, START_US + 120_000_000)


def test_it_keeps_its_identity_while_it_grows() -> None:
    grouper = AlertGrouper(DAY_US)
    seen = [grouper.add(decided([row(n)])) for n in range(5)]
    assert len({a.alert_id for alerts, _ in seen for a in alerts}) == 1
    assert [alerts[0].events for alerts, _ in seen] == [1, 2, 3, 4, 5]
    assert [pairs for _, pairs in seen] == [[(seen[0][0][0].alert_id, f"e{n}")] for n in range(5)]


def test_a_pair_that_becomes_a_ring_is_the_same_alert() -> None:
    grouper = AlertGrouper(DAY_US, 30 * DAY_US)
    first = grouper.add(decided([row(0, users=1), row(1, users=2)]))[0][0]
    assert (first.kind, first.entity, first.events) == ("device", "phone-1", 2)
    (alert,) = grouper.add(decided([row(2), row(3)]))[0]
    assert (alert.alert_id, alert.kind, alert.entity, alert.events) == (first.alert_id, "ring", "rg1", 4)
    assert alert.accounts == ("u0", "u1", "u2", "u3")
    again = AlertGrouper(DAY_US, 30 * DAY_US)
    again.restore([alert], START_US + 4 * 60_000_000)
    later = row(9, at=9 * DAY_US, accounts=("u0",))
    assert grouper.add(decided([later]))[0] == again.add(decided([later]))[0]
    (apart,) = grouper.add(decided([row(20, at=9 * DAY_US, users=2, ring="rg7")]))[0]
    assert apart.alert_id != alert.alert_id, "what a pair shares elsewhere is another matter"


def test_a_ring_that_was_quiet_for_days_is_still_one_alert() -> None:
    days = [0, 5, 12, 45]
    rows = [row(n, at=day * DAY_US) for n, day in enumerate(days)]
    rows += [row(n + 10, at=day * DAY_US + 1, users=2) for n, day in enumerate(days)]
    rows.sort(key=lambda r: r["at"])
    alerts = AlertGrouper(DAY_US, 30 * DAY_US).add(decided(rows))[0]
    assert sorted((a.kind, a.events) for a in alerts) == [("device", 1)] * 4 + [("ring", 1), ("ring", 3)]


@pytest.mark.parametrize(
    ("fields", "kind", "entity"),
    [
        ({"users": 2}, "device", "phone-1"),
        ({"ring": None}, "device", "phone-1"),
        ({"users": float("nan")}, "device", "phone-1"),
        ({"patterns": ()}, "device", "phone-1"),
        ({"reasons": (OWN,), "patterns": ("takeover",)}, "user", "u0"),
        ({"reasons": (Reason("farm.vague", "something", 0.7),)}, "user", "u0"),
        ({"reasons": ()}, "user", "u0"),
        ({"reasons": (), "user": None}, "event", "e0"),
        ({"users": 3}, "ring", "rg1"),
        ({"users": 40, "reasons": (Reason("farm.chain", "a chain", 0.7, "ring", "rg1"),)}, "ring", "rg1"),
    ],
)
def test_it_takes_a_pattern_that_names_something_shared_in_a_ring_of_three(
    fields: dict[str, Any], kind: str, entity: str
) -> None:
    (alert,) = grouped([row(0, **fields)])
    assert (alert.kind, alert.entity) == (kind, entity)
    assert alert.ring == (fields.get("ring", "rg1") or ""), "which ring it is in is said all the same"


def test_the_strongest_pattern_decides_not_the_strongest_reason() -> None:
    loud = Reason("statistical.amount", "an unusual amount", 0.9, "user", "u0")
    assert grouped([row(0, reasons=(loud, SHARED))])[0].kind == "ring"
    weaker = row(0, reasons=(SHARED, OWN), patterns=("takeover", "farm"))
    assert grouped([weaker])[0].kind == "user"


def test_the_rest_of_the_reasons_is_never_the_one_that_is_told() -> None:
    """Together the weaker ones may weigh more than any other; only where there is nothing else they are told."""
    rest, loud = Reason("others", "9 weaker reasons", 0.95), Reason("statistical.amount", "unusual", 0.4, "user", "u7")
    for patterns, reasons, told in (
        (("farm",), (rest, SHARED), SHARED), (("farm",), (rest, loud, OWN), OWN), ((), (rest, loud), loud),
        ((), (rest, loud, OWN), OWN), ((), (rest,), rest),
    ):  # fmt: skip
        (alert,) = grouped([row(0, patterns=patterns, reasons=reasons)])
        assert alert.text == told.text
    (alert,) = grouped([row(0, patterns=(), reasons=(rest, loud))])
    assert (alert.kind, alert.entity, alert.reason) == ("user", "u7", "statistical.amount")


def test_rings_and_tenants_are_kept_apart() -> None:
    rows = [row(0), row(1, ring="rg2"), row(2, tenant="other"), row(3)]
    assert sorted((a.tenant, a.entity, a.events) for a in grouped(rows)) == [
        ("default", "rg1", 2), ("default", "rg2", 1), ("other", "rg1", 1)
    ]  # fmt: skip


def test_other_events_of_its_accounts_join_it_though_the_ring_has_another_id() -> None:
    own = row(1, user="y", patterns=("takeover",), reasons=(OWN,), accounts=("y",), ring="rg2", users=2)
    calm = row(2, user="y", patterns=(), reasons=(), accounts=(), ring=None)
    (alert,) = grouped([row(0, accounts=("x", "y")), own, calm, row(3, user="z", accounts=("z", "x"), ring="rg9")])
    assert (alert.entity, alert.ring, alert.events) == ("rg1", "rg9", 4)
    assert alert.accounts == ("x", "y", "z")
    assert alert.patterns == ("farm", "takeover")


@pytest.mark.parametrize(("accounts", "ring"), [(("a", "b", "c"), "rg2"), (("a", "b"), "rg1"), (("c", "a"), "rg1")])
def test_rings_that_merge_go_on_in_the_alert_with_most_of_them(accounts: tuple[str, ...], ring: str) -> None:
    """Ties: the older one."""
    before = [row(0, accounts=("a",)), row(1, ring="rg2", accounts=("b", "c"))]
    alerts = grouped([*before, row(2, ring="rg3", accounts=accounts)])
    assert {a.entity: a.events for a in alerts} == {"rg1": 1, "rg2": 1, ring: 2}


def test_it_ends_when_nothing_happens_for_a_window() -> None:
    first, within, after = (row(n, at=at) for n, at in enumerate((0, 2 * HOUR_US, 4 * HOUR_US + 1)))
    assert [a.events for a in grouped([first, within, after], 2 * HOUR_US)] == [2, 1]
    late = row(3, at=HOUR_US)
    assert [a.events for a in grouped([first, within, late], 2 * HOUR_US)] == [3]
    assert grouped([within, first], 2 * HOUR_US)[0].first_at_us == START_US


@pytest.mark.parametrize("at_once", [True, False])
def test_two_hundred_accounts_are_kept(at_once: bool) -> None:
    names = tuple(f"a{n}" for n in range(250))
    rows = [row(0, accounts=names)] if at_once else [row(n, accounts=names[10 * n : 10 * n + 10]) for n in range(25)]
    (alert,) = grouped(rows)
    assert alert.accounts == names[:200]
    assert alert.events == len(rows)


def test_without_accounts_its_user_is_the_one() -> None:
    assert grouped([row(0, accounts=()), row(1, accounts=())])[0].accounts == ("u0", "u1")


# -- however it is cut


def after(alerts: dict[str, Alert], changed: Sequence[Alert]) -> None:
    alerts.update((a.alert_id, a) for a in changed)


def in_pieces(
    pieces: Sequence[Decisions], window_us: int, restart_after: int = -1
) -> tuple[dict[str, Alert], list[tuple[str, str]]]:
    """All alerts as they are in the end, and the pairs; with a restart from what a ledger would give back."""
    grouper, alerts, pairs, now_us = AlertGrouper(window_us, 4 * DAY_US), dict[str, Alert](), list[tuple[str, str]](), 0
    for n, piece in enumerate(pieces):
        changed, more = grouper.add(piece)
        after(alerts, changed)
        pairs += more
        now_us = max([now_us, *(e.at_us for e in piece.events)])
        if n == restart_after:
            grouper = AlertGrouper(window_us, 4 * DAY_US)
            grouper.restore([a for a in alerts.values() if now_us - a.last_at_us <= grouper.memory_us], now_us)
    return alerts, pairs


STEPS = st.tuples(
    st.sampled_from([0, 1, HOUR_US, 5 * HOUR_US, DAY_US, 3 * DAY_US]),
    st.sampled_from([0, 0, 0, HOUR_US, 2 * DAY_US]),
    st.fixed_dictionaries(
        {
            "user": st.sampled_from(["u0", "u1", None]),
            "ring": st.sampled_from(["rg1", "rg2", None]),
            "users": st.sampled_from([float("nan"), 2, 3, 9]),
            "patterns": st.sampled_from([(), ("farm",), ("takeover", "farm")]),
            "reasons": st.sampled_from([(), (SHARED,), (OWN, SHARED)]),
            "accounts": st.sampled_from([(), ("u0",), ("u1", "x", "y"), ("z", "u0")]),
            "score": st.sampled_from([0.1, 0.5, 0.7, 0.7, 0.95]),
            "level": st.sampled_from([0, 1, 2, 3]),
        }
    ),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=40), st.sampled_from([1, 7, 500]), st.integers(0, 39))
def test_alerts_are_the_same_for_any_cut_and_after_a_restart(steps: list[Any], cut: int, restart_after: int) -> None:
    now_us, rows = 0, []
    for n, (gap_us, behind_us, fields) in enumerate(steps):
        now_us += gap_us
        rows.append(row(n, at=max(now_us - behind_us, 0), **fields))
    whole, pairs = in_pieces([decided(rows)], DAY_US)
    pieces = [decided(rows[i : i + cut]) for i in range(0, len(rows), cut)]
    assert in_pieces(pieces, DAY_US, restart_after) == (whole, pairs)
    assert sum(a.events for a in whole.values()) == len(pairs) == sum(r["level"] >= int(Level.MEDIUM) for r in rows)


def everything() -> Story:
    """Several of the stories at once, on one market."""
    told = Story().market()
    for story in (
        stories.farm(),
        stories.card_pool(),
        stories.serial_takeover(),
        stories.campus(),
        stories.cloned_card(),
    ):
        begun = len(told.events)
        for n, e in enumerate(story.events):
            if not (e.user or "").startswith("market"):
                told.events.append(
                    Event(**{**{f: getattr(e, f) for f in e.__struct_fields__}, "event_id": f"t{begun + n}"})
                )
    return told


@cache
def scored() -> Decisions:
    return tell(everything()).decisions


def alerts_by(restart_after: int, cut: int) -> tuple[dict[str, Alert], list[tuple[str, str]]]:
    stream, items = new_stream(), in_time(everything().events)
    return in_pieces([stream.feed(items[i : i + cut]) for i in range(0, len(items), cut)], DAY_US, restart_after)


@pytest.mark.parametrize("cut", [1, 7, 500])
@pytest.mark.parametrize("restart", [-1.0, 0.9, 0.95])
def test_scored_and_grouped_in_pieces_of_any_size(cut: int, restart: float) -> None:
    """With a restart in the middle of the stories, which come at the end."""
    assert alerts_by(int(restart * len(scored()) / cut), cut) == in_pieces([scored()], DAY_US)


@pytest.mark.parametrize(
    ("story", "kind", "members", "pattern"),
    [
        (stories.farm, "farm", 5, "coordinated_accounts"),
        (stories.card_pool, "mule", 5, "coordinated_accounts"),
        (stories.serial_takeover, "victim", 4, "account_takeover"),
    ],
)
def test_a_story_becomes_one_alert_of_its_ring(
    story: Callable[[], Story], kind: str, members: int, pattern: str
) -> None:
    """The first two accounts are an alert of what they share; from the third on it is the ring's."""
    alerts = AlertGrouper(7 * DAY_US).add(tell(story()).decisions)[0]
    rings = [a for a in alerts if a.kind == "ring"]
    assert len(rings) == 1
    assert set(rings[0].accounts) == {f"{kind}{n}" for n in range(members)}
    assert rings[0].accounts[-1] == f"{kind}{members - 1}", "the last to come"
    assert pattern in rings[0].patterns
    assert rings[0].entity == rings[0].ring
    assert rings[0].delivery == "now"
    named = [a for a in alerts if a.patterns and a.kind != "ring"]
    assert all(len(a.accounts) <= 2 for a in named)


def test_rings_hear_of_those_whose_own_events_were_alerted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert names others for what they share with its user, which the rings know by themselves."""
    stream, told = new_stream(), []
    assert stream.rings is not None
    monkeypatch.setattr(stream.rings, "learn", told.extend)
    made = stream.feed(list(enumerate(events_of(market(tmp_path / "market", 4000), "default"))))
    rows = [row for row, patterns in enumerate(made.patterns) if patterns]
    assert [(t, u) for t, u, _ in told] == [("default", made.events[row].user) for row in rows if made.events[row].user]
    assert any(len(made.accounts[row]) > 1 for row in rows)

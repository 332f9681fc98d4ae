"""Clues: one sentence and the conditions that must hold together. The compiled loop does what the definitions say; nothing is made
of what is missing; a clue is tried on the kinds there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rule_files import batch, event

from features.schema import FeatureSchema
from ringwatch.errors import BadInput
from ringwatch.model import BUILTIN_KINDS, Event, Kind, Reason, Strength, type_names
from scorers.assess import Assessor, _fold
from scorers.clues import Clue, Condition, PatternScorer, least, most, named, place, shown_as, unlike_household
from scorers.policy import Policy
from scorers.registry import build_scorers
from scorers.scorer import Batch
from scorers.signals import is_personal

SCHEMA = FeatureSchema()
WALLET = FeatureSchema((*BUILTIN_KINDS, Kind("loyalty_wallet", Strength.STRONG)))
USERS_ONLY = FeatureSchema(tuple(k for k in BUILTIN_KINDS if k.name in ("user", "card")))
NAN, INF = math.nan, math.inf
PATTERNS = tuple(s for s in build_scorers() if isinstance(s, PatternScorer))
SOME = ("user.count_24h", "user.since_order_s", "user.amount_z", "event.amount_minor", "ring.users", "ring.young_share")
OF_KIND = ("{kind}.neighbours_all", "{kind}.young_neighbours", "{kind}.top_share", "{kind}.amount_1h_minor")

VALUES = st.one_of(
    st.sampled_from([NAN, NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3600.0, 1e-30, 3e38]),
    st.floats(-10, 10, width=32),
    st.floats(0, 1e9, width=32),
)
BOUNDS = st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 3600.0, 1e9])


@st.composite
def conditions(draw: st.DrawFn, features: Sequence[str]) -> Condition:
    low = draw(BOUNDS)
    high = draw(st.one_of(st.just(low), BOUNDS))
    of = draw(st.sampled_from(["", "", *features]))
    return Condition(draw(st.sampled_from(features)), low, high, of, draw(st.sampled_from([0.0, 0.0, 0.4, 1.0])))


@st.composite
def clues(draw: st.DrawFn) -> Clue:
    kinds = draw(st.sampled_from([None, named("device", "card"), is_personal]))
    parts = draw(st.lists(conditions(SOME if kinds is None else (*SOME, *OF_KIND)), min_size=1, max_size=4))
    text = "".join(f"{{{n}}} " for n in range(len(parts)))
    types = tuple(draw(st.lists(st.sampled_from(type_names), max_size=2, unique=True)))
    about = draw(st.sampled_from(["user", "ring", "merchant"])) if kinds is None else "{kind}"
    return Clue(
        f"c{draw(st.integers(0, 99))}", draw(st.sampled_from([0.2, 0.75, 1.0])), text, tuple(parts), about, types, kinds,
        draw(st.sampled_from(["", "", "one", "two"])),
    )  # fmt: skip


@st.composite
def batches(draw: st.DrawFn, schema: FeatureSchema, columns: Sequence[str], most_rows: int = 20) -> Batch:
    """Rows around the number from which columns are quicker; whatever values, infinities too."""
    n = draw(st.integers(1, most_rows))
    features = np.full((n, schema.size), NAN, np.float32)
    at = [schema.index[c] for c in columns]
    pool = np.array(draw(st.lists(VALUES, min_size=2, max_size=12)), np.float64).astype(np.float32)
    features[:, at] = np.random.default_rng(draw(st.integers(0, 999))).choice(pool, (n, len(at)))
    codes = draw(st.lists(st.integers(0, len(type_names) - 1), min_size=n, max_size=n))
    features[:, schema.index["event.type"]] = codes
    who = draw(st.sampled_from([{}, {"user": "u"}, {"user": "u", "device": "d", "card": "c"}]))
    events = [event(i, type_names[code], entities=who) for i, code in enumerate(codes)]
    return Batch(events, features, schema, draw(st.sampled_from([(), ["rg1"] * n])))


def row(whole: Batch, i: int) -> Batch:
    return replace(
        whole, events=whole.events[i : i + 1], features=whole.features[i : i + 1], ring_ids=whole.ring_ids[i : i + 1]
    )


def check(scorer: PatternScorer, whole: Batch) -> None:
    with np.errstate(all="ignore"):
        values = scorer.score(whole)
        ones = np.concatenate([scorer.score(row(whole, i)) for i in range(len(whole))])
    assert values.tobytes() == ones.tobytes() or np.array_equal(values, ones, equal_nan=True)
    assert values.dtype == np.float64
    assert np.all(np.isnan(values) | ((values >= 0.0) & (values <= 1.0)))
    said = [by_the_words(scorer, whole, i) for i in range(len(whole))]
    assert np.array_equal(values, said, equal_nan=True), "the compiled loop does what the definitions say"
    for i in range(len(whole)):
        found = scorer.explain(whole, i)
        assert len(found) <= len({p.group for p in scorer._plan(whole.schema).placed})
        assert found or not values[i] > 0.0
        assert not found or not np.isnan(values[i])
        assert math.prod(1.0 - f.weight for f in found) == pytest.approx(1.0 - np.nan_to_num(values[i]))
        for f in found:
            assert f.text
            assert "{" not in f.text
            assert 0.0 < f.weight <= 1.0
            assert (f.kind is None) == (f.entity is None)


OWN_COLUMNS = (*SOME, *(f.format(kind=k) for f in OF_KIND for k in ("device", "card", "email")))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(clues(), min_size=1, max_size=4), st.data())
def test_a_batch_is_its_rows_to_the_bit_and_every_value_is_explained(own: list[Clue], data: st.DataObject) -> None:
    check(PatternScorer(own, 0.6), data.draw(batches(SCHEMA, OWN_COLUMNS)))


def read_by(scorer: PatternScorer) -> list[str]:
    """All features a pattern looks at."""
    columns = {c for p in scorer._plan(SCHEMA).placed for c in (*p.columns, *p.over) if c >= 0}
    return [SCHEMA.names[c] for c in sorted(columns)]


@settings(max_examples=15, deadline=None)
@given(st.data())
@pytest.mark.parametrize("scorer", PATTERNS, ids=lambda s: s.name)
def test_so_it_is_for_the_ten(scorer: PatternScorer, data: st.DataObject) -> None:
    check(scorer, data.draw(batches(SCHEMA, read_by(scorer), 14)))


@settings(max_examples=20, deadline=None)
@given(st.data())
@pytest.mark.parametrize("scorer", PATTERNS, ids=lambda s: s.name)
def test_where_all_conditions_may_hold_too(scorer: PatternScorer, data: st.DataObject) -> None:
    """Values taken from the bounds of the conditions themselves, so that clues really fire."""
    placed = scorer._plan(SCHEMA).placed
    chosen = data.draw(st.lists(st.sampled_from(placed), min_size=10, max_size=10))
    whole = data.draw(batches(SCHEMA, ("event.quantity",), 10))
    for i in range(len(whole)):
        for condition, column in zip(chosen[i].clue.conditions, chosen[i].columns, strict=True):
            full = condition.high if condition.high >= condition.low or condition.high else condition.low / 2
            whole.features[i, column] = data.draw(st.sampled_from([full, full, full, (full + condition.low) / 2, 1e6]))
        types = chosen[i].types or (4,)
        whole.features[i, SCHEMA.index["event.type"]] = types[0]
    check(scorer, whole)


def rises(x: float, low: float, high: float, missing: float) -> float:
    """What a condition says, in plain words."""
    if x != x:
        return missing
    if low == high:
        return 1.0 if x >= low else 0.0
    return min(max((x - low) / (high - low), 0.0), 1.0)


def by_the_words(scorer: PatternScorer, whole: Batch, row: int) -> float:
    """The score of a row from the definitions, without the compiled loop."""
    values = whole.features[row].tolist()
    strongest: dict[str, float] = {}
    for p in scorer._plan(whole.schema).placed:
        first = p.clue.conditions[0]
        if (p.types and values[whole.schema.index["event.type"]] not in p.types) or (
            math.isnan(values[p.columns[0]]) and not first.missing > 0.0
        ):
            continue
        value = p.clue.top
        for c, column, of in zip(p.clue.conditions, p.columns, p.over, strict=True):
            x = values[column]
            if of >= 0:
                x = math.nan if math.isnan(values[of]) else x / max(values[of], 1.0)
            value *= rises(x, c.low, c.high, c.missing)
            if value <= 0.0:
                break
        strongest[p.group] = max(strongest.get(p.group, 0.0), value, 0.0)
    return 1.0 - math.prod(1.0 - s for s in strongest.values()) if strongest else math.nan


@given(VALUES, BOUNDS, BOUNDS, st.sampled_from([0.0, 0.4, 1.0]))
def test_a_condition_rises_as_it_says(x: float, low: float, high: float, missing: float) -> None:
    condition = Condition("event.amount_minor", low, high, missing=missing)
    assert condition.at(x) == rises(x, low, high, missing)
    assert 0.0 <= condition.at(x) <= 1.0


def test_conditions_at_their_edges() -> None:
    rising, falling = Condition("x", 1, 3), Condition("x", 3, 1)
    assert [rising.at(x) for x in (0, 1, 2, 3, 9, INF, -INF)] == [0, 0, 0.5, 1, 1, 1, 0]
    assert [falling.at(x) for x in (0, 1, 2, 3, 9, INF, -INF)] == [1, 1, 0.5, 0, 0, 0, 1]
    assert [least("x", 2).at(x) for x in (1.999, 2, 3)] == [0, 1, 1]
    assert [most("x", 0).at(x) for x in (0, 0.001, 1)] == [1, 0, 0]
    assert [most("x", 3600).at(x) for x in (3600, 3604, -5)] == [1, 0, 1]
    assert [unlike_household("x").at(x) for x in (0.7, 1.4, NAN)] == [0, 1, 1], "without a ring it says nothing against"


def one(scorer: PatternScorer, schema: FeatureSchema = SCHEMA, type_: str = "payment", **features: float) -> float:
    values = {name.replace("__", "."): value for name, value in features.items()}
    values["event.type"] = float(type_names.index(type_))
    found = [scorer.score(batch([event(i, type_) for i in range(n)], [values] * n, schema))[0] for n in (1, 12)]
    assert found[0] == found[1] or found[0] != found[0]
    return float(found[0])


def test_what_is_missing_fulfils_nothing_unless_the_condition_says_so() -> None:
    amount, users = least("event.amount_minor", 100), least("ring.users", 3)
    two = PatternScorer([Clue("c", 0.8, "{0} {1}", (amount, users))], 0.6)
    assert one(two, event__amount_minor=100, ring__users=3) == pytest.approx(0.8)
    assert one(two, event__amount_minor=100) == 0.0
    assert math.isnan(one(two, ring__users=3)), "its first feature is missing: not about this event"
    kind = PatternScorer([Clue("c", 0.8, "{0} {1}", (amount, replace(users, missing=0.5)))], 0.6)
    assert one(kind, event__amount_minor=100) == pytest.approx(0.4)
    absent = PatternScorer([Clue("c", 0.8, "{0}", (replace(users, missing=1.0),))], 0.6)
    assert one(absent) == pytest.approx(0.8)
    ratio = PatternScorer([Clue("c", 0.8, "{0}", (least("event.amount_minor", 2, of="ring.users"),))], 0.6)
    assert one(ratio, event__amount_minor=100) == 0.0, "nothing to divide by"
    assert one(ratio, event__amount_minor=2, ring__users=0) == pytest.approx(0.8), "divided by one at least"


def test_a_clue_is_silent_on_other_types_of_events() -> None:
    scorer = PatternScorer([Clue("c", 0.8, "{0}", (least("event.amount_minor", 1),), types=("order", "refund"))], 0.6)
    assert one(scorer, type_="refund", event__amount_minor=5) == pytest.approx(0.8)
    assert math.isnan(one(scorer, type_="payment", event__amount_minor=5))


def test_clues_join_as_noisy_or() -> None:
    parts = [Clue(str(n), top, "{0}", (least("event.amount_minor", 1),)) for n, top in enumerate((0.5, 0.4, 0.2))]
    assert one(PatternScorer(parts, 0.6), event__amount_minor=5) == pytest.approx(1 - 0.5 * 0.6 * 0.8)


def test_clues_of_one_group_count_once_by_the_strongest() -> None:
    amount, users = least("event.amount_minor", 1), least("ring.users", 3)
    parts = [Clue("a", 0.3, "a {0}", (amount,), group="g"), Clue("b", 0.5, "b {0}", (amount, users), group="g"),
             Clue("c", 0.4, "c {0}", (amount,)), Clue("d", 0.45, "d {0}", (amount,), types=("order",), group="g")]  # fmt: skip
    scorer = PatternScorer(parts, 0.6)
    assert one(scorer, event__amount_minor=5, ring__users=3) == pytest.approx(1 - 0.5 * 0.6)
    assert one(scorer, event__amount_minor=5) == pytest.approx(1 - 0.7 * 0.6)
    assert one(scorer, type_="order", event__amount_minor=5) == pytest.approx(1 - 0.55 * 0.6)
    for values, codes in (({"ring.users": 3.0}, ["b", "c"]), ({"ring.users": 2.0}, ["c", "a"])):
        whole = batch([event(0)], [{"event.type": 4.0, "event.amount_minor": 5.0, **values}])
        assert [f.code for f in scorer.explain(whole, 0)] == codes, "one finding a group, the strongest first"


def test_a_clue_over_several_kinds_counts_once() -> None:
    ramp = replace(SHARED, conditions=(Condition("{kind}.neighbours_all", 1.0, 3.0),))
    counts = {"device.neighbours_all": 2.0, "card.neighbours_all": 3.0, "phone.neighbours_all": 3.0}
    about = Event("e", "payment", 1, {"user": "u", "device": "d", "card": "c", "phone": "p"})
    for n in (1, 50):
        whole = batch([about] * n, [{"event.type": 4.0, **counts}] * n)
        assert PatternScorer([ramp], 0.6).score(whole).tolist() == [0.9] * n
        (found,) = PatternScorer([ramp], 0.6).explain(whole, 0)
        assert (found.code, found.entity, found.weight) == ("shared_card", "c", 0.9)


SHARED = Clue(
    "shared", 0.9, "{0} accounts on this {kind}", (least("{kind}.neighbours_all", 2),), "{kind}", kinds=is_personal
)


def test_a_clue_is_tried_on_every_kind_there_is() -> None:
    strong = ["device", "card", "address", "email", "phone", "bank_account"]
    assert [p.code for p in place(SHARED, SCHEMA)] == [f"shared_{k}" for k in strong]
    assert [p.code for p in place(SHARED, WALLET)] == [f"shared_{k}" for k in (*strong, "loyalty_wallet")]
    assert [p.code for p in place(SHARED, USERS_ONLY)] == ["shared_card"]
    assert [p.code for p in place(replace(SHARED, kinds=named("phone", "ip", "nonsense")), SCHEMA)] == [
        "shared_phone",
        "shared_ip",
    ]


def test_a_kind_of_ones_own_is_named_in_words_and_by_its_entity() -> None:
    scorer = PatternScorer([SHARED], 0.6)
    about = Event("e", "payment", 1, {"user": "u", "loyalty_wallet": "w-7"})
    whole = batch([about], [{"event.type": 4, "loyalty_wallet.neighbours_all": 3}], WALLET)
    assert scorer.score(whole).tolist() == [0.9]
    (found,) = scorer.explain(whole, 0)
    assert (found.code, found.text) == ("shared_loyalty_wallet", "3 accounts on this loyalty wallet")
    assert (found.kind, found.entity) == ("loyalty_wallet", "w-7")


def test_what_a_schema_does_not_have_is_left_out() -> None:
    absent = Clue("absent", 0.9, "{0} {1}", (least("user.count_all", 1), least("merchant.paired_of", 1)))
    assert place(absent, SCHEMA)
    missing_kind = replace(absent, conditions=(least("user.count_all", 1), least("device.agents_of_old", 1)))
    assert place(missing_kind, SCHEMA) == []
    divided = replace(absent, conditions=(least("user.count_all", 1, of="phone.neighbours_all"),), text="{0}")
    assert place(divided, SCHEMA)
    assert place(divided, USERS_ONLY) == []
    assert math.isnan(one(PatternScorer([divided], 0.6), USERS_ONLY, user__count_all=4))


@pytest.mark.parametrize("schema", [USERS_ONLY, WALLET], ids=["few", "more"])
@pytest.mark.parametrize("scorer", PATTERNS, ids=lambda s: s.name)
def test_the_ten_score_under_any_schema(scorer: PatternScorer, schema: FeatureSchema) -> None:
    whole = Batch([event(i) for i in range(12)], np.full((12, schema.size), 4.0, np.float32), schema)
    check(scorer, whole)


@pytest.mark.parametrize(
    ("unit", "value", "words"),
    [
        ("s", 0, "0 s"), ("s", 90, "1.5 min"), ("s", 7200, "2.0 h"), ("s", 2 * 86_400, "2.0 d"), ("s", INF, "inf d"),
        ("minor units", 123_456, "1,234.56"), ("share", 0.625, "62%"), ("events", 3, "3"), ("ratio", 0.25, "0.25"),
        ("events", INF, "inf"), ("km", 12_345.6, "12,346"),
        *((unit, NAN, "unknown") for unit in ("s", "minor units", "share", "events")),
    ],
)  # fmt: skip
def test_values_are_written_in_their_unit(unit: str, value: float, words: str) -> None:
    assert shown_as(unit)(value) == words


@pytest.mark.parametrize("name", [s.name for s in PATTERNS])
def test_the_alert_threshold_is_a_setting_and_others_are_refused(name: str) -> None:
    built = {s.name: s for s in build_scorers(overrides={name: {"alert_at": 0.9}})}
    assert [s.alert_at for s in built.values() if isinstance(s, PatternScorer) and s.name == name] == [0.9]
    assert {s.alert_at for s in built.values() if isinstance(s, PatternScorer) and s.name != name} == {0.6}
    with pytest.raises(BadInput, match="alert_att") as caught:
        build_scorers(overrides={name: {"alert_att": 0.9}})
    assert "alert_at" in (caught.value.hint or "")
    for wrong in ("0.9", True, NAN, -1):
        with pytest.raises(BadInput, match="alert_at"):
            build_scorers(overrides={name: {"alert_at": wrong}})


@pytest.mark.parametrize("name", [s.name for s in PATTERNS])
@pytest.mark.parametrize("wrong", [0, 0.0, 1.001, 2])
def test_a_threshold_that_names_everything_or_nothing_is_refused(name: str, wrong: float) -> None:
    with pytest.raises(BadInput, match=rf"{name}\.alert_at is {float(wrong)}") as caught:
        build_scorers(overrides={name: {"alert_at": wrong}})
    assert caught.value.hint == "above 0, up to 1"
    assert build_scorers(overrides={name: {"alert_at": 1}})


@pytest.mark.parametrize(
    ("name", "start", "wrong"),
    [
        ("inventory_price", "drop", {"drop_from": 0.3}), ("inventory_price", "drop", {"drop_from": 0.2}),
        ("inventory_price", "drop", {"drop_full": 0.5}), ("logic_bypass", "underpaid", {"underpaid_full": 0.9}),
        ("logic_bypass", "underpaid", {"underpaid_from": 0.1, "underpaid_full": 0.2}),
    ],
)  # fmt: skip
def test_what_begins_above_is_full_below(name: str, start: str, wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=rf"{name}\.{start}_from is .*, {start}_full is ") as caught:
        build_scorers(overrides={name: wrong})
    assert caught.value.hint == "it begins above and is full below"
    assert build_scorers(overrides={name: {f"{start}_from": 0.31, f"{start}_full": 0.3}})


def test_a_pattern_is_named_from_its_own_threshold_on() -> None:
    refund = [{"event.type": 6.0, "event.refund_unknown": 1.0}]
    whole = batch([event(0, "refund", entities={"user": "u"})], refund)
    for alert_at, patterns in ((0.75, ("logic_bypass",)), (0.76, ())):
        scorers = build_scorers(overrides={"logic_bypass": {"alert_at": alert_at}})
        decisions = Assessor(scorers, Policy(), SCHEMA).assess(whole.events, whole.features, np.zeros(1, np.int64))
        assert decisions.patterns[0] == patterns


def test_of_many_reasons_the_strongest_of_each_named_pattern_is_kept() -> None:
    loud = [Reason(f"statistical.s{n}", "", 0.5 - n / 100) for n in range(9)]
    weak = [
        Reason(code, "", c) for code, c in (("calm.a", 0.09), ("calm.b", 0.08), ("calm_too.c", 0.07), ("low.d", 0.01))
    ]
    for patterns, named_too in (((), []), (("calm",), ["calm.a"]), (("low", "calm", "gone"), ["calm.a", "low.d"])):
        folded = _fold([*loud, *weak], patterns)
        codes = [r.code for r in loud[: 7 - len(named_too)]] + named_too
        assert [r.code for r in folded] == [*codes, "others"], "in order of their strength"
        assert folded[-1].text.startswith("6 weaker reasons: ")
        assert sum(r.contribution for r in folded) == pytest.approx(sum(r.contribution for r in (*loud, *weak)))
    assert _fold(loud[:8], ("calm",)) == tuple(loud[:8]), "eight are few enough"

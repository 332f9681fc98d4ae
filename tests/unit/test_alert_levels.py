"""Levels learned on the stream: budgets and precisions held while it changes, floods told, the same whatever the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.streams import START_US, stream

from features.columns import ResolvedLabel
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.stream import ScoringStream
from rings.keeper import RingKeeper
from ringwatch.model import DAY_US, HOUR_US, Event, Label, Level, Versions
from scorers.alert_levels import OVER_BUDGET, AlertLevels, thresholds_of
from scorers.alerting import parse_alerting
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy, TenantPolicy
from scorers.registry import build_scorers
from scorers.workload import Seen, Workload

SCHEMA = FeatureSchema()
LEVELS = TenantPolicy().levels
MIDNIGHT_US = START_US // DAY_US * DAY_US
Row = tuple[int, str, float]
"""at_us, user, score."""


def tenant_policy(**alerting: object) -> TenantPolicy:
    return TenantPolicy(alerting=parse_alerting("alerting", alerting, LEVELS))


def new_levels(**alerting: object) -> AlertLevels:
    return AlertLevels(Policy(tenant_policy(**alerting)))


def decided(levels: AlertLevels, rows: Sequence[Row], number: int, patterns: tuple[str, ...] = ()) -> Decisions:
    n = len(rows)
    events = [Event(f"e{number + i}", "payment", at, {"user": user}) for i, (at, user, _) in enumerate(rows)]
    score = np.array([s for _, _, s in rows])
    now = levels.in_force("default")
    level = np.searchsorted(now.policy.thresholds(), score, side="right").astype(np.uint8)
    if patterns:
        level = np.maximum(level, np.uint8(Level.HIGH))
    return Decisions(
        events, np.arange(n), np.zeros((n, SCHEMA.size), np.float32), SCHEMA, (), np.zeros((n, 0)), score, level,
        np.zeros(n, np.uint8), [()] * n, [Versions("", {}, now.version)] * n, {}, [()] * n, [patterns] * n, (),
    )  # fmt: skip


def run(levels: AlertLevels, rows: Sequence[Row], patterns: tuple[str, ...] = ()) -> dict[int, int]:
    """day since the start -> accounts alerted, of rows in order."""
    alerted: dict[int, set[str]] = {}
    hours: dict[int, list[Row]] = {}
    for row in rows:
        hours.setdefault(row[0] // HOUR_US, []).append(row)
    for hour in sorted(hours):
        levels.advance(hour * HOUR_US)
        made = decided(levels, hours[hour], hour * 100_000, patterns)
        levels.learn([(0, e) for e in made.events], made)
        day = (hour * HOUR_US - MIDNIGHT_US) // DAY_US
        alerted.setdefault(day, set()).update(e.user or "" for e, x in zip(made.events, made.level, strict=True) if x)
    return {day: len(users) for day, users in alerted.items()}


def market(first_day: int, days: int, a_day: int, *, seed: int = 1, low: float = 0.2, high: float = 0.8) -> list[Row]:
    """Every account once, scores even between low and high."""
    rng = np.random.default_rng([seed, first_day])
    rows = [
        (MIDNIGHT_US + int((day + at) * DAY_US), f"u{day}-{i}", float(score))
        for day in range(first_day, first_day + days)
        for i, (at, score) in enumerate(zip(rng.random(a_day), rng.uniform(low, high, a_day), strict=True))
    ]
    return sorted(rows)


def test_a_budget_is_held_when_traffic_triples() -> None:
    levels = new_levels(budget={"alerts_per_day": 20})
    got = run(levels, market(0, 10, 200) + market(10, 12, 600))
    assert all(abs(got[day] - 20) <= 8 for day in range(3, 10)), got
    assert got[10] > 25
    assert np.mean([got[day] for day in range(14, 22)]) == pytest.approx(20, abs=4)


def test_a_budget_is_held_when_scores_rise() -> None:
    levels = new_levels(budget={"alerts_per_day": 20})
    got = run(levels, market(0, 8, 200) + market(8, 12, 200, low=0.5, high=0.84))
    assert np.mean([got[day] for day in range(12, 20)]) == pytest.approx(20, abs=4)


def test_minutes_are_counted_by_level() -> None:
    levels = new_levels(budget={"analyst_minutes_per_day": 120, "minutes_per_alert": {"HIGH": 12, "CRITICAL": 6}})
    rows = sorted(market(0, 12, 200) + [(at, f"c{user}", 0.9) for at, user, _ in market(0, 12, 10)])
    run(levels, rows)
    (status,) = levels.status()
    assert (status.level, status.learned) == ("HIGH", True)
    assert 80 <= status.expected <= 120
    assert 60 <= status.last_day <= 180
    assert levels.of("default").levels["MEDIUM"] == 0.5


def test_a_flood_is_never_swallowed_and_is_told() -> None:
    levels = new_levels(budget={"alerts_per_day": 20})
    run(levels, market(0, 8, 200))
    before = levels.of("default").levels["MEDIUM"]
    flood = sorted(market(8, 2, 200) + [(at, f"c{user}", 0.9) for at, user, _ in market(8, 2, 300, seed=2)])
    got = run(levels, flood)
    assert min(got.values()) >= 300
    (status,) = levels.status()
    assert status.threshold == 0.85
    assert status.over_by > 200  # of today's, and of yesterday's as much as is carried over
    assert status.trouble == f"alert budget exceeded by {status.over_by:.0f} alerts"
    assert levels.held_back("default", 0.7, 0)
    assert not levels.held_back("default", 0.3, 0)
    run(levels, market(10, 40, 200))
    assert levels.of("default").levels["MEDIUM"] == pytest.approx(before, abs=0.03)
    assert levels.status()[0].trouble == ""


def test_a_named_pattern_counts_and_cannot_be_outpriced() -> None:
    levels = new_levels(budget={"alerts_per_day": 20})
    rows = market(0, 6, 30, low=0.3, high=0.5)
    got = run(levels, rows, patterns=("velocity",))
    assert set(got.values()) == {30}
    assert levels.of("default").levels["MEDIUM"] == 0.85


def test_a_week_without_events_changes_no_threshold_but_works_off_what_lies_about() -> None:
    levels = new_levels(budget={"alerts_per_day": 20})
    run(levels, market(0, 8, 200))
    before = levels.of("default").levels["MEDIUM"]
    levels.advance(MIDNIGHT_US + 15 * DAY_US)
    levels.advance(MIDNIGHT_US + 15 * DAY_US + HOUR_US)
    assert levels.of("default").levels["MEDIUM"] == pytest.approx(before, abs=0.03)
    assert levels.status()[0].over_by == 0.0


def test_until_enough_was_seen_the_fixed_levels_count() -> None:
    levels = new_levels(budget={"alerts_per_day": 2})
    run(levels, market(0, 1, 100))
    assert levels.of("default").levels == LEVELS
    assert not levels.status()[0].learned


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1), st.booleans(), st.integers(0, 20)), min_size=1, max_size=40),
    st.integers(0, 12),
)
def test_pieces_of_work_are_counted_exactly_for_every_threshold(
    rows: list[tuple[int, float, bool, int]], budget: int
) -> None:
    """Within a day, where every piece stays open: the lowest threshold whose pieces stay within the budget."""
    alerting = parse_alerting("a", {"budget": {"alerts_per_day": budget + 0.5}}, LEVELS)
    work = Workload(alerting, LEVELS)
    work.pass_by(MIDNIGHT_US)
    top: dict[int, float] = {}
    for piece, score, always, minute in rows:
        at_us = MIDNIGHT_US + minute
        work.see(Seen(piece, at_us, at_us + DAY_US, score, always, 0))
        top[piece] = max(top.get(piece, 0.0), max(score, 0.85) if always else score)
    found = work.threshold(MIDNIGHT_US + DAY_US)
    edges = work.scale.edges[work.scale.edges <= 0.85]
    within = [t for t in edges.tolist() if sum(s >= t for s in top.values()) <= budget + 0.5]
    assert found == (min(within) if within else 0.85)


def label(user: str, verdict: str, at_us: int, number: int) -> ResolvedLabel:
    return ResolvedLabel(Label("event", f"e{number}", verdict, at_us), {"user": user})  # type: ignore[arg-type]


def feed_labelled(levels: AlertLevels, rows: Sequence[Row], fraud_from: float) -> None:
    """Each event is labelled a minute later: fraud from a score on."""
    hours: dict[int, list[Row]] = {}
    for row in rows:
        hours.setdefault(row[0] // HOUR_US, []).append(row)
    for hour in sorted(hours):
        levels.advance(hour * HOUR_US)
        some = hours[hour]
        made = decided(levels, some, hour * 100_000)
        labels = [
            (0, label(user, "fraud" if score >= fraud_from else "good", at, hour * 100_000 + i))
            for i, (at, user, score) in enumerate(some)
        ]
        levels.learn([*((0, e) for e in made.events), *labels], made)


def test_a_precision_follows_the_labels() -> None:
    levels = new_levels(precision=0.8, floor=0.2)
    feed_labelled(levels, market(0, 5, 100), 0.6)
    first = levels.of("default").levels["MEDIUM"]
    assert 0.5 < first < 0.62  # from 0.6 on all are frauds, and four in five are enough
    feed_labelled(levels, market(5, 200, 100), 0.4)
    assert 0.27 < levels.of("default").levels["MEDIUM"] < 0.42
    assert levels.status()[0].trouble == ""


def test_a_precision_that_cannot_be_shown_says_so() -> None:
    levels = new_levels(precision=0.95)
    feed_labelled(levels, [(at, u, 0.3 if i % 2 else 0.7) for i, (at, u, _) in enumerate(market(0, 4, 100))], 2.0)
    (status,) = levels.status()
    assert "precision 0.95 is not shown by the labels" in status.trouble
    assert levels.of("default").levels["MEDIUM"] <= 0.85


def test_costs_follow_the_labels() -> None:
    cheap, dear = (new_levels(costs={"missed_fraud_minor": missed, "false_alert_minor": 100}) for missed in (20, 5000))
    for levels in (cheap, dear):
        rng = np.random.default_rng(3)
        rows = [(at, u, s if rng.random() < s else s * 0.999) for at, u, s in market(0, 5, 100)]
        feed_labelled(levels, rows, 0.5)
    assert cheap.of("default").levels["MEDIUM"] == pytest.approx(0.5, abs=0.02)
    assert dear.of("default").levels["MEDIUM"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("days", "threshold"), [(None, 0.5), (2.0, 0.8)])
def test_without_a_label_an_event_is_good_only_where_the_policy_says_so(days: float | None, threshold: float) -> None:
    more = {} if days is None else {"good_after_days": days}
    levels = new_levels(precision=0.8, **more)
    run(levels, market(0, 6, 100))
    assert levels.of("default").levels["MEDIUM"] == pytest.approx(threshold, abs=0.02)
    assert levels.status()[0].learned is (days is not None)


def test_arrays_of_another_policy_are_left() -> None:
    levels = new_levels(budget={"alerts_per_day": 20})
    run(levels, market(0, 8, 200))
    stored = levels.dump()
    for other in (
        new_levels(precision=0.8),
        AlertLevels(Policy()),
        new_levels(budget={"alerts_per_day": 20}, floor=0.7),
    ):
        other.load(stored)
        assert other.of("default").levels["MEDIUM"] >= 0.5
    more = new_levels(budget={"alerts_per_day": 40})
    more.load(stored)
    assert more.in_force("default").policy.levels == levels.in_force("default").policy.levels


def test_nothing_is_learned_without_alerting() -> None:
    levels = AlertLevels(Policy())
    assert not levels.active
    assert levels.in_force("x").version == Policy().version
    assert (levels.status(), levels.model()) == ([], {})


# -- on the real stream

BUDGETED = Policy(
    msgspec.structs.replace(tenant_policy(budget={"alerts_per_day": 3}, floor=0.02), other_weight=0.9),
    {"exact": msgspec.structs.replace(tenant_policy(precision=0.3, floor=0.02), other_weight=0.9)},
)


def scoring(policy: Policy = BUDGETED, *, learns: bool = True) -> ScoringStream:
    scorers = [s for s in build_scorers() if s.name != "behaviour_isolation"]
    return ScoringStream(
        MemoryState(SCHEMA, max_entities=5000), Assessor(scorers, policy, SCHEMA), RingKeeper(SCHEMA), learns=learns
    )


def items(n: int) -> list[tuple[int, Event | ResolvedLabel]]:
    """Two tenants; the second with many labels."""
    made: list[Event | ResolvedLabel] = []
    for i, item in enumerate(stream(11, n)):
        if isinstance(item, Event):
            item = msgspec.structs.replace(item, tenant="exact" if i % 2 else "default")
            made.append(item)
            if item.tenant == "exact" and i % 3:
                verdict = "fraud" if i % 4 == 1 else "good"
                kind, id_ = ("user", item.user) if i % 5 == 0 and item.user else ("event", item.event_id)
                made.append(ResolvedLabel(Label(kind, id_, verdict, item.at_us, "exact"), item.entities))  # type: ignore[arg-type]
    return list(enumerate(made))


@pytest.fixture(scope="module")
def whole() -> tuple[Decisions, dict[str, np.ndarray]]:
    one = scoring()
    made = one.feed(items(1600))
    return made, one.assessor.levels.dump()


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_how_it_is_cut_changes_nothing(whole: tuple[Decisions, dict[str, np.ndarray]], cut: int) -> None:
    other, fed = scoring(), items(1600)
    pieces = [other.feed(fed[i : i + cut]) for i in range(0, len(fed), cut)]
    made, dumped = Decisions.concatenate(pieces), other.assessor.levels.dump()
    assert np.array_equal(made.level, whole[0].level)
    assert made.versions == whole[0].versions
    assert list(made.degraded) == list(whole[0].degraded)
    assert dumped.keys() == whole[1].keys()
    assert all(np.array_equal(dumped[k].view(np.uint8), whole[1][k].view(np.uint8)) for k in dumped)


def test_a_decision_says_which_thresholds_made_its_level(whole: tuple[Decisions, dict[str, np.ndarray]]) -> None:
    made = whole[0]
    seen = {v.policy for v in made.versions}
    assert len(seen) > 5
    assert {v.partition("@")[0] for v in seen} == {BUDGETED.version}
    for row, version in enumerate(made.versions):
        thresholds = thresholds_of(version.policy)
        assert thresholds is not None
        level = int(np.searchsorted(thresholds, made.score[row], side="right"))
        assert int(made.level[row]) == (max(level, 2) if made.patterns[row] else level)
        held = made.score[row] >= 0.5 and made.level[row] == 0 and made.events[row].tenant == "default"
        assert (OVER_BUDGET in made.degraded[row]) == held
    assert thresholds_of(Policy().version) is None


def test_a_restart_goes_on_with_the_same_thresholds(whole: tuple[Decisions, dict[str, np.ndarray]]) -> None:
    first, fed = scoring(), items(1600)
    half = len(fed) // 2
    before = first.feed(fed[:half])
    levels = AlertLevels(BUDGETED)
    levels.load({k: v.copy() for k, v in first.assessor.levels.dump().items()})
    first.assessor.levels = levels
    first.assessor.load(first.assessor.dump())
    after = first.feed(fed[half:])
    assert Decisions.concatenate([before, after]).versions == whole[0].versions
    assert all(np.array_equal(v.view(np.uint8), whole[1][k].view(np.uint8)) for k, v in levels.dump().items())


def test_another_process_switches_at_the_same_event(whole: tuple[Decisions, dict[str, np.ndarray]]) -> None:
    """One that does not learn, told in time what the one that does has set."""
    learner, other = scoring(), scoring(learns=False)
    found = []
    for piece in ([item] for item in items(1600)):
        learner.feed(piece)
        found.append(other.feed(piece))
        if told := learner.assessor.models():
            other.assessor.use(told)
    made = Decisions.concatenate(found)
    assert made.versions == whole[0].versions
    assert np.array_equal(made.level, whole[0].level)


def test_following_what_was_decided_learns_the_same(whole: tuple[Decisions, dict[str, np.ndarray]]) -> None:
    made, follower = whole[0], scoring()
    fed = items(1600)
    for start in range(0, len(fed), 50):
        some = fed[start : start + 50]
        before = sum(isinstance(i, Event) for _, i in fed[:start])
        here = made.select(before, before + sum(isinstance(i, Event) for _, i in some))
        follower.follow(some, replace(here, versions=list(here.versions)))
    dumped = follower.assessor.levels.dump()
    assert all(np.array_equal(dumped[k].view(np.uint8), whole[1][k].view(np.uint8)) for k in whole[1])

"""The scorer: what the modes do to values, reasons, scores and actions."""

from __future__ import annotations

import numpy as np
import pytest
from support.rule_files import AT_US, SCHEMA, batch, event, rule, rules
from support.streams import stream

from features.memory_state import MemoryState
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, Action, Event
from scorers.combine import combine
from scorers.detectors.rules import Rules, build
from scorers.policy import Policy, TenantPolicy
from scorers.rules.book import RuleBook
from scorers.rules.load import parse_rules
from scorers.rules.starter_sets import starter_names, starter_text
from scorers.scorer import Batch


def scorer_of(*each: str) -> Rules:
    scorer = Rules()
    scorer.use(RuleBook(parse_rules(rules(*each))))
    return scorer


def test_modes() -> None:
    each = [rule("lat > 0", id=mode, mode=mode, score=0.5) for mode in ("off", "shadow", "advise", "act")]
    scorer = scorer_of(*each)
    one = batch([event(lat=1.0)], [{}])
    assert scorer.score(one).tolist() == [0.75]
    assert [f.code for f in scorer.explain(one, 0)] == ["act", "advise"]
    assert [r.code for r in scorer.shadow(one)[0]] == ["rules.shadow.shadow"]
    assert scorer.shadow(one)[0][0].contribution == 0.0
    assert scorer.fired_by_rule == {"act": 1, "advise": 1, "shadow": 1}
    assert scorer.version == scorer.book.version != "none"


def test_reasons_name_what_they_are_about() -> None:
    scorer = scorer_of(rule("lat > 0", about="device", reason="at {lat}"))
    both = batch([event(lat=1.0, entities={"device": "d1"}), event(1, lat=2.5)], [{}, {}])
    scorer.score(both)
    (finding,), (other,) = scorer.explain(both, 0), scorer.explain(both, 1)
    assert (finding.text, finding.kind, finding.entity) == ("at 1", "device", "d1")
    assert (other.text, other.kind, other.entity) == ("at 2.5", None, None)


def test_it_abstains_where_no_rule_looks() -> None:
    scorer = scorer_of(rule("lat > 0", when="[login]"), rule("lat > 0", id="two", mode="shadow"))
    values = scorer.score(batch([event(lat=1.0), event(1, "login", lat=1.0), event(2, "login")], [{}, {}, {}]))
    assert np.isnan(values[0])
    assert values[1:].tolist() == [0.5, 0.0]
    assert np.isnan(scorer_of(rule("lat > 0", mode="shadow")).score(batch([event(lat=1.0)], [{}]))).all()
    assert np.isnan(Rules().score(batch([event(lat=1.0)], [{}]))).all()


def test_rules_end_in_event_time() -> None:
    scorer = scorer_of(rule("lat > 0", expires="2026-05-02"))
    for n in (2, 100):
        events = [event(i, lat=1.0, at_us=AT_US + i % 2 * DAY_US) for i in range(n)]
        values = scorer.score(batch(events, [{}] * len(events)))
        assert values[:2].tolist() == [0.5, 0.0]


def bounded(scorer: Rules, others: float, policy: Policy) -> tuple[float, int]:
    """Score and least action of an event on which everything fires, with one other scorer's value."""
    one = batch([event(lat=1.0)], [{}])
    scores = np.array([[others, scorer.score(one)[0]]])
    weights = np.ones((1, 2))
    score, least = scorer.bound(one, combine(scores, weights), scores, weights, policy, 1)
    return float(score[0]), int(least[0])


POLICY = Policy(TenantPolicy())


def test_advice_alone_asks_for_a_review_at_most() -> None:
    advising = scorer_of(rule("lat > 0", mode="advise", score=0.95))
    score, floor = bounded(advising, np.nan, POLICY)
    assert 0.5 <= score < 0.6
    assert floor == Action.ALLOW
    assert bounded(advising, 0.49, POLICY)[0] < 0.6, "what others see is no case for review"
    assert bounded(advising, 0.5, POLICY)[0] == pytest.approx(0.975), "not alone"
    low = scorer_of(rule("lat > 0", mode="advise", score=0.2))
    assert bounded(low, np.nan, POLICY)[0] == pytest.approx(0.2)


def test_advice_beside_an_acting_rule() -> None:
    both = scorer_of(rule("lat > 0", mode="act", score=0.1), rule("lat > 0", id="two", mode="advise", score=0.95))
    assert 0.5 <= bounded(both, np.nan, POLICY)[0] < 0.6
    strong = scorer_of(rule("lat > 0", mode="act", score=0.7), rule("lat > 0", id="two", mode="advise", score=0.9))
    assert bounded(strong, np.nan, POLICY)[0] == pytest.approx(0.97)


@pytest.mark.parametrize(("action", "least"), [("review", 0.5), ("challenge", 0.6), ("block", 0.85)])
def test_an_acting_rule_lifts_to_its_action(action: str, least: float) -> None:
    scorer = scorer_of(rule("lat > 0", action=action, score=0.01))
    score, floor = bounded(scorer, np.nan, POLICY)
    assert score == least
    assert Action(floor).name.lower() == action
    assert bounded(scorer, 0.99, POLICY)[0] > 0.98


def test_a_shadow_rule_with_an_action_does_nothing() -> None:
    assert bounded(scorer_of(rule("lat > 0", mode="shadow", action="block")), 0.1, POLICY) == (pytest.approx(0.1), 0)


def test_a_policy_without_that_action() -> None:
    mild = Policy(TenantPolicy(actions={"LOW": "allow", "MEDIUM": "review", "HIGH": "review", "CRITICAL": "review"}))
    assert bounded(scorer_of(rule("lat > 0", action="block", score=0.1)), np.nan, mild) == (0.85, 3)
    assert bounded(scorer_of(rule("lat > 0", mode="advise", score=0.95)), np.nan, mild)[0] == pytest.approx(0.95)


def test_a_tenant_that_gives_rules_no_weight() -> None:
    scorer = scorer_of(rule("lat > 0", action="block"))
    one = batch([event(lat=1.0)], [{}])
    scores = scorer.score(one)[:, None]
    score, least = scorer.bound(one, np.array([0.1]), scores, np.zeros((1, 1)), POLICY, 0)
    assert (score[0], least[0]) == (0.1, 0)


def test_no_thresholds() -> None:
    with pytest.raises(BadInput, match="its rules are a file"):
        build({"x": 1})


@pytest.fixture(scope="module")
def market() -> Batch:
    items = stream(9, 1500)
    features = MemoryState(SCHEMA, max_entities=5000).apply(items)
    return Batch([i for i in items if isinstance(i, Event)], features, SCHEMA)


def least_of(scorer: Rules, some: Batch, values: np.ndarray) -> np.ndarray:
    least = scorer.bound(some, np.zeros(len(some)), values[:, None], np.ones((len(some), 1)), POLICY, 0)[1]
    return np.zeros(len(some), np.uint8) if least is None else least


@pytest.mark.parametrize("name", starter_names())
def test_any_cut_into_batches_gives_the_same(name: str, market: Batch) -> None:
    text = starter_text(name).replace("mode: shadow", "mode: act")
    text += rule("lat / lon * 3.3 > 0.1 or amount_minor / 7 - 2.1 > 3 and country in ('DE', 'FR')", id="more")
    scorer = Rules()
    scorer.use(RuleBook(parse_rules(text)))
    whole = scorer.score(market)
    floors = least_of(scorer, market, whole)
    assert (whole > 0).any()
    for size in (1, 7, 1000):
        cuts = [slice(i, i + size) for i in range(0, len(market), size)]
        parts = [Batch(market.events[c], market.features[c], SCHEMA) for c in cuts]
        found = [(values := scorer.score(p), least_of(scorer, p, values)) for p in parts]
        assert np.array_equal(np.concatenate([v for v, _ in found]), whole, equal_nan=True)
        assert np.array_equal(np.concatenate([f for _, f in found]), floors)
    for row in np.flatnonzero(whole > 0)[:30].tolist():
        assert all(f.text and f.weight > 0 for f in scorer.explain(market, row))

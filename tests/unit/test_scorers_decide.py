"""Combination, policy, lists, the forest, and the assessor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.streams import START_US, payment, stream

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.stream import ScoringStream
from rings.keeper import RingKeeper
from ringwatch.errors import BadInput
from ringwatch.model import Event
from scorers.assess import Assessor
from scorers.combine import combine, contributions
from scorers.forest import fit
from scorers.learned.inputs import NETWORKS
from scorers.lists import ListBook, Lists, load_lists
from scorers.policy import Policy, TenantPolicy, load_policy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()


def new_stream(lists: ListBook | None = None, policy: Policy | None = None) -> ScoringStream:
    assessor = Assessor(build_scorers(lists=Lists(lists)), policy or Policy(), SCHEMA)
    return ScoringStream(MemoryState(SCHEMA, max_entities=5000), assessor, RingKeeper(SCHEMA))


def test_combination_is_noisy_or_and_ignores_abstainers() -> None:
    scores = np.array([[0.5, np.nan], [0.5, 0.5], [np.nan, np.nan], [1.0, 0.2]])
    assert combine(scores, np.array([1.0, 1.0])).tolist() == pytest.approx([0.5, 0.75, 0.0, 1.0])
    assert combine(scores, np.array([0.5, 0.0])).tolist() == pytest.approx([0.25, 0.25, 0.0, 0.5])


def test_contributions_add_up() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        scores, weights = rng.random(5), rng.random(5)
        score = float(combine(scores[None, :], weights)[0])
        assert sum(contributions(scores.tolist(), weights.tolist(), score)) == pytest.approx(score, abs=1e-9)


def test_every_explained_decision_adds_up_and_names_its_versions() -> None:
    items = stream(2, 1500)
    decisions = new_stream().feed(list(enumerate(items)))
    explained = [i for i in range(len(decisions)) if decisions.level[i] >= 1]
    assert explained
    for row in explained:
        a = decisions.assessment(row)
        assert sum(r.contribution for r in a.reasons) == pytest.approx(a.score, abs=1e-6)
        assert a.versions.schema == SCHEMA.hash
        assert set(a.scores) == {*a.versions.scorers, *NETWORKS}, "a network is a part of its model's file"
    assert "state" in decisions.timing_us


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_scores_do_not_depend_on_batch_size(cut: int) -> None:
    items = list(enumerate(stream(6, 1200, late=False)))
    whole = new_stream().feed(items)
    other = new_stream()
    score = np.concatenate([other.feed(items[i : i + cut]).score for i in range(0, len(items), cut)])
    assert np.array_equal(whole.score, score)
    assert np.isfinite(whole.scores[:, whole.scorer_names.index("behaviour_isolation")]).any() or cut


@pytest.mark.slow
def test_learned_arrays_survive_a_dump() -> None:
    items = list(enumerate(stream(6, 3000, late=False, labels=False)))
    a, b = new_stream(), new_stream()
    a.feed(items[:2500])
    b.state.apply([item for _, item in items[:2500]])
    b.assessor.load(a.assessor.dump())
    assert a.rings is not None
    assert b.rings is not None
    b.rings.load(a.rings.dump())
    b.resume(a.watermark_us, [])
    assert np.array_equal(a.feed(items[2500:]).score, b.feed(items[2500:]).score)


def test_looking_does_not_learn() -> None:
    items = list(enumerate(stream(6, 500, labels=False)))
    a = new_stream()
    a.feed(items[:400])
    before = {k: v.copy() for k, v in a.assessor.dump().items()}
    a.look([item for _, item in items[400:] if isinstance(item, Event)])
    after = a.assessor.dump()
    assert all(np.array_equal(before[k], after[k], equal_nan=True) for k in before)


def test_forest_equals_scikit_learn() -> None:
    from sklearn.ensemble import IsolationForest

    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 6)).astype(np.float32)
    x[:, 2] = 1.0
    forest = fit(x, seed=4)
    assert forest is not None
    used = x[:, [0, 1, 3, 4, 5]]
    model = IsolationForest(n_estimators=100, max_samples=256, random_state=4).fit(used)
    assert np.allclose(forest.anomaly(x), -model.score_samples(used), atol=1e-9)
    assert fit(np.ones((50, 3), np.float32), seed=1) is None


def test_lists_decide_whatever_the_scores_say(tmp_path: Path) -> None:
    path = tmp_path / "lists.yaml"
    path.write_text(
        "block:\n- {kind: user, id: bad, owner: anna, reason: chargebacks}\n"
        "- {kind: user, id: past, owner: anna, reason: old, expires: 2020-01-01}\n"
        "allow:\n- {kind: user, id: tester, owner: ben, reason: our tester}\n"
    )
    events = [payment(i, START_US + i, entities={"user": u}) for i, u in enumerate(["bad", "past", "tester"])]
    decisions = new_stream(load_lists(path)).feed(list(enumerate(events)))
    assert decisions.score[0] == 1.0
    assert decisions.assessment(0).action == "block"
    assert "chargebacks (anna)" in decisions.reasons[0][0].text
    assert decisions.level[1] == 0
    assert decisions.score[2] < 0.4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("block: [3]", "entry 1"),
        ("deny: []", "top level"),
        ("block: [{kind: user, id: x}]", "missing: owner, reason"),
        ("block: [{kind: user, id: x, owner: a, reason: b, expires: soon}]", "expires"),
        ("block: [", "not YAML"),
    ],
)
def test_broken_lists_say_what_to_mend(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "lists.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_lists(path)
    assert words in str(caught.value)


def test_policy_per_tenant(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("default: {levels: {MEDIUM: 0.3}}\ntenants: {acme: {actions: {CRITICAL: review}}}\n")
    policy = load_policy(path)
    assert policy.of("x").levels["MEDIUM"] == 0.3
    assert policy.of("acme").actions["CRITICAL"] == "review"
    assert policy.of("acme").levels["MEDIUM"] == 0.3
    assert policy.version != Policy().version
    assert Policy().version == load_policy(None).version


@pytest.mark.parametrize(
    "text",
    [
        "default: {levels: {MEDIUM: 0.9}}",
        "default: {weights: {neighbourhood: 3}}",
        "default: {actions: {HIGH: hang}}",
        "default: {level: {}}",
        "other: 1",
        "default: {levels: {MEDIUM: a}}",
        "default: [",
    ],
)
def test_broken_policies_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"policy\.yaml"):
        load_policy(path)


@pytest.mark.slow
def test_levels_and_actions_follow_the_tenants_policy() -> None:
    lenient = TenantPolicy(levels={"MEDIUM": 0.97, "HIGH": 0.98, "CRITICAL": 0.99}, other_weight=0.0)
    policy = Policy(tenants={"lenient": lenient})
    items = [(i, e) for i, e in enumerate(stream(2, 1500, labels=False))]
    strict_levels = new_stream(policy=policy).feed(items).level
    moved = [(i, payment(i, e.at_us, tenant="lenient", entities=e.entities)) for i, e in items if isinstance(e, Event)]
    assert new_stream(policy=policy).feed(moved).level.sum() < strict_levels.sum()

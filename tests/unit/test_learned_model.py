"""What learned models look at, and how one is made of labelled rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ringwatch.errors import BadInput, Corrupt, NotFound
from ringwatch.model import HOUR_US, Event, Label
from scorers.learned.inputs import Inputs, of_labels, of_neighbours
from scorers.learned.model import Evaluator, probability
from scorers.learned.model_file import load, save
from scorers.learned.silence import Silence
from tests.support.gnn import history, network
from tests.support.learned import sample
from training.blending import blend, joined
from training.boosting import Settings, fit, flat, margins
from training.fit import learn
from training.labelled import LEAST_OF_EACH, TooFewLabels
from training.table import Table

SCHEMA = FeatureSchema()
START_US = 1_700_000_000_000_000


# -- inputs


def test_candidates_are_features_scores_shares_and_means_but_no_sums() -> None:
    names = Inputs.candidates(SCHEMA.names, ["velocity", "listed"]).names
    assert {"user.gap_s", "scorer.velocity", "user/device.count_24h", "card.mean_7d"} <= set(names)
    assert "user.amount_24h_minor" not in names
    assert "scorer.listed" not in names, "what people decided goes on top"
    assert len(set(names)) == len(names)


def test_values_are_what_their_names_say() -> None:
    names = ["user.count_24h", "user.amount_24h_minor", "device.count_24h", "ring.risk"]
    features = np.array([[3, 600, 8, np.nan], [0, 0, 1, 0.5], [np.nan, np.nan, 2, 1]], np.float32)
    scores = np.array([[0.25], [np.nan], [1.0]])
    inputs = Inputs.of(["ring.risk", "scorer.x", "user/device.count_24h", "user.mean_24h"], names, ["x"])
    with np.errstate(invalid="ignore"):
        wanted = [
            features[:, 3], scores[:, 0], np.log1p(features[:, 0]) - np.log1p(features[:, 2]),
            np.log1p(features[:, 1] / features[:, 0]),
        ]  # fmt: skip
    found = inputs.values(features, scores)
    assert found.dtype == np.float32
    assert np.allclose(found, np.column_stack(wanted), rtol=1e-6, equal_nan=True)
    one_by_one = [inputs.values(features[i : i + 1], scores[i : i + 1])[0] for i in range(3)]
    assert np.array_equal(found, one_by_one, equal_nan=True)
    assert np.array_equal(inputs.select([2]).values(features, scores)[:, 0], found[:, 2], equal_nan=True)


@pytest.mark.parametrize("name", ["user.no_such", "scorer.none", "user/elsewhere.count_24h", "user.mean_1y", "nothing"])
def test_an_input_that_cannot_be_made_is_named(name: str) -> None:
    with pytest.raises(Corrupt, match=name.replace("/", ".")):
        Inputs.of([name], SCHEMA.names, ["velocity"])


def test_what_depends_on_labels_and_on_neighbours() -> None:
    assert all(map(of_labels, ("device.fraud_rate", "ring.risk", "scorer.neighbourhood", "event.fraud_neighbours")))
    assert not any(map(of_labels, ("device.count_24h", "ring.users", "scorer.velocity", "user/device.count_all")))
    assert all(
        map(
            of_neighbours,
            ("device.gap_s", "user.neighbours_24h", "ring.users", "user/card.count_1h", "user.fraud_rate"),
        )
    )
    assert not any(map(of_neighbours, ("user.gap_s", "event.amount_log", "scorer.velocity", "user.amount_z")))


# -- silence


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_silence_is_the_time_since_the_newest_fraud_anybody_knew_of(cut: int) -> None:
    from features.columns import ResolvedLabel

    state, silence, found = MemoryState(SCHEMA, max_entities=1000), Silence(SCHEMA), []
    items: list[Event | ResolvedLabel] = []
    for n in range(40):
        at_us = START_US + n * HOUR_US
        entities = {"user": f"u{n % 3}", "device": f"d{n % 5}"}
        items.append(Event(f"{n}", "payment", at_us, entities))
        if n in (10, 12):
            items.append(ResolvedLabel(Label("event", f"{n}", "fraud", at_us), entities))
    rows = [(item, row) for item in items for row in state.apply([item]) if isinstance(item, Event)]
    for at in range(0, len(rows), cut):
        part = rows[at : at + cut]
        found += silence.take(np.array([e.at_us for e, _ in part]), np.array([f for _, f in part])).tolist()
    assert found[:11] == [np.inf] * 11
    hours = np.array(found[15:]) / 3600
    assert hours.tolist() == pytest.approx([n - 12 for n in range(15, 40)], abs=1e-3)


# -- blending


def members(n: int = 600) -> tuple[NDArray[np.float32], NDArray[np.int8], list[object]]:
    x, y = sample(n)
    label = y.astype(np.int8)
    families = [Settings("boosted", 40, 7, 10), Settings("forest", 30, 31, 3, penalty=0.0)]
    return x, label, [fit(x, label, s, 1) for s in families]


def test_the_blend_as_trees_is_the_blend_of_margins() -> None:
    x, y, boosters = members()
    columns = range(x.shape[1])
    of = np.column_stack([margins(b, x) for b in boosters])
    for booster, margin in zip(boosters, of.T, strict=True):
        assert flat(booster, columns).margin(x) == pytest.approx(margin, abs=1e-6)
        assert booster.predict(x) == pytest.approx(probability(margin), abs=1e-9)  # type: ignore[attr-defined]
    b = blend(of, y)
    assert (b.weights >= 0.0).all()
    trees = joined([flat(booster, columns) for booster in boosters], b)
    assert trees.margin(x) == pytest.approx(b.of(of), abs=1e-6)
    assert trees.contributions(x[:20]).sum(axis=1) == pytest.approx(trees.margin(x[:20]), abs=1e-9)


def test_a_blend_is_calibrated_and_leaves_out_what_says_nothing() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(-2.0, 2.0, 20_000)
    y = (rng.random(20_000) < probability(truth)).astype(np.int8)
    b = blend(np.column_stack([truth / 3 + 1, rng.normal(size=20_000), -truth]), y)
    assert b.weights == pytest.approx([3.0, 0.0, 0.0], abs=0.2)
    assert b.of(np.array([[1.0, 0.0, 0.0]]))[0] == pytest.approx(0.0, abs=0.15)


# -- learning


def table(n: int, seed: int = 0, frauds: float = 0.1) -> Table:
    """A user's own amount tells half of the frauds, what labels said of the device the other half."""
    rng = np.random.default_rng(seed)
    names = ("user.amount_z", "device.fraud_rate", "user.gap_s", "event.hour")
    features = rng.normal(size=(n, 4)).astype(np.float32)
    label = (rng.random(n) < frauds).astype(np.int8)
    which = rng.random(n) < 0.5
    features[:, 0] += 4 * (label == 1) * which
    features[:, 1] += 4 * (label == 1) * ~which
    features[rng.random(n) < 0.1, 2] = np.nan
    at_us = START_US + np.arange(n) * HOUR_US
    return Table(
        names, ("velocity",), features, np.full((n, 1), np.nan, np.float32), label, at_us, at_us, np.full(n, 3600.0, np.float32), np.arange(n)
    )  # fmt: skip


def score(trained: Table, tested: Table, silence_s: float, seed: int = 1) -> NDArray[np.float64]:
    evaluator = Evaluator(learn(trained, seed=seed).model, tested.feature_names, tested.scorer_names)
    silence = np.full(len(tested), silence_s)
    return evaluator.margin(tested.features, tested.scores.astype(np.float64), silence)


def test_a_model_learns_and_does_without_labels_where_they_have_stopped() -> None:
    trained, tested = table(4000), table(2000, seed=5)
    fresh, stale = (score(trained, tested, s) for s in (3 * 3600.0, 3 * 3600.0 + 1))
    assert roc_auc_score(tested.label, fresh) > 0.95
    assert 0.7 < roc_auc_score(tested.label, stale) < 0.9
    frozen = replace(tested, features=tested.features.copy())
    frozen.features[:, 1] = 9.0
    assert np.array_equal(score(trained, frozen, 3 * 3600.0 + 1), stale), "labels that have stopped are looked at"


def test_few_rows_have_a_second_forest_and_weights_nearer_to_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    few = learn(table(1500), seed=1).told
    assert [s.family for s in few.settings] == ["boosted", "forest", "forest"]
    assert few.settings[2].least_rows == 1
    monkeypatch.setattr("training.fit._PULL", (2.0, 2.0))
    free = learn(table(1500), seed=1).told
    assert np.abs(few.blend.weights - 1 / 3).max() < np.abs(free.blend.weights - 1 / 3).max()
    assert [s.family for s in learn(table(10_000), seed=1).told.settings] == ["boosted", "forest"]


def test_scores_are_probabilities_out_of_sample() -> None:
    tested = table(20_000, seed=7)
    p = probability(score(table(8000), tested, 3600.0))
    for low, high in ((0.0, 0.05), (0.05, 0.5), (0.5, 1.0)):
        some = (p >= low) & (p < high)
        assert p[some].mean() == pytest.approx(tested.label[some].mean(), abs=0.06)


def test_one_seed_gives_one_model_and_the_order_of_rows_does_not_count() -> None:
    trained, tested = table(1500), table(300, seed=5)
    shuffled = trained.where(np.random.default_rng(1).permutation(len(trained)))
    first = score(trained, tested, 3600.0)
    assert np.array_equal(first, score(shuffled, tested, 3600.0))
    assert not np.array_equal(first, score(trained, tested, 3600.0, seed=2))


def test_unlabelled_rows_do_not_train() -> None:
    trained = table(1500)
    more = replace(trained, label=np.where(np.arange(1500) % 3 == 0, -1, trained.label).astype(np.int8))
    only = trained.where(np.arange(1500) % 3 != 0)
    tested = table(300, seed=5)
    assert np.array_equal(score(more, tested, 3600.0), score(only, tested, 3600.0))


def test_of_very_many_good_rows_some_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities stay those of all rows, not of the few that are looked at."""
    trained, tested = table(6000, seed=1), table(3000, seed=2)
    whole = score(trained, tested, 0.0)
    monkeypatch.setattr("training.fit._MOST_GOOD", 1000)
    learned = learn(trained, seed=1)
    some = score(trained, tested, 0.0)
    assert len(learned.told.y) == pytest.approx(3000, rel=0.1), "the later half, each counted for what it stands for"
    assert some.mean() == pytest.approx(whole.mean(), rel=0.25)
    assert roc_auc_score(tested.label, some) > roc_auc_score(tested.label, whole) - 0.05


def test_too_few_labels_teach_nothing() -> None:
    few = table(1000)
    few.label[np.flatnonzero(few.label)[LEAST_OF_EACH - 1 :]] = 0
    with pytest.raises(BadInput, match=f"{LEAST_OF_EACH - 1} frauds and"):
        learn(few, seed=0)


def test_a_blend_that_saw_its_own_rows_would_believe_noise() -> None:
    """The planted leak: labels without any signal. Trees know the rows they grew on by heart; a blend fitted on such margins believes
    them, and scores new rows far from the base rate."""
    noise, tested = table(3000), table(3000, seed=5)
    noise.label[:] = np.random.default_rng(9).random(3000) < 0.1
    booster = fit(noise.features, noise.label, Settings("boosted", 400, 31, 5), 1)
    leaky = blend(margins(booster, noise.features)[:, None], noise.label)
    assert probability(leaky.of(margins(booster, tested.features)[:, None])).std() > 0.05
    learned = learn(noise, seed=1)
    evaluator = Evaluator(learned.model, tested.feature_names, tested.scorer_names)
    p = probability(evaluator.margin(tested.features, tested.scores.astype(np.float64), np.zeros(3000)))
    assert p.std() < 0.03
    assert p.mean() == pytest.approx(0.1, abs=0.02)


# -- the file


def test_a_model_comes_back_from_its_file_to_the_bit(tmp_path: Path) -> None:
    tested = table(300, seed=5)
    model = learn(table(1500), seed=1).model
    save(model, tmp_path / "model.safetensors", schema="abc", card={"rows": 1500, "seed": 1})
    back, card = load(tmp_path / "model.safetensors", schema="abc")
    assert card == {"rows": 1500, "seed": 1}
    assert back.patience_s == model.patience_s
    for silence_s in (0.0, 1e9):
        one, other = (
            Evaluator(m, tested.feature_names, tested.scorer_names).margin(
                tested.features, tested.scores.astype(np.float64), np.full(300, silence_s)
            )
            for m in (model, back)
        )
        assert np.array_equal(one, other)


def test_a_file_that_is_not_for_here_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(NotFound, match="no model at"):
        load(path, schema="abc")
    save(learn(table(1500), seed=1).model, path, schema="abc", card={})
    with pytest.raises(BadInput, match="feature schema abc, this process has xyz"):
        load(path, schema="xyz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Corrupt, match="no learned model"):
        load(path, schema="abc")
    path.write_bytes(whole.replace(b'"patience_s', b'"patienze_s').replace(b'\\"patience_s', b'\\"patienze_s'))
    with pytest.raises(Corrupt, match="patience_s"):
        load(path, schema="abc")


def test_the_graph_network_is_in_the_file_and_one_on_other_inputs_is_refused(tmp_path: Path) -> None:
    path, tested = tmp_path / "model.safetensors", table(300, seed=5)
    alone, gnn = learn(table(1500), seed=1).model, network("hgt")
    model = replace(alone, told=replace(alone.told, network=0.5, alone=alone.told.trees), network=gnn)
    save(model, path, schema="abc", card={})
    back, _ = load(path, schema="abc")
    assert back.network is not None
    assert (back.told.network, back.untold.network) == (0.5, 0.0)
    assert (back.network.schema, back.network.shape, back.network.card) == (gnn.schema, gnn.shape, gnn.card)
    h = history()
    added = gnn.margins(h, np.arange(300))
    assert (back.network.margins(h, np.arange(300)) == added).all()
    scores, silence = tested.scores.astype(np.float64), np.zeros(300)
    both, trees = (
        Evaluator(m, tested.feature_names, tested.scorer_names).margin(tested.features, scores, silence, added)
        for m in (back, alone)
    )
    assert both == pytest.approx(trees + 0.5 * added, abs=1e-12)
    assert np.array_equal(
        Evaluator(back, tested.feature_names, tested.scorer_names).margin(tested.features, scores, silence, added * np.nan), trees
    )  # fmt: skip
    whole = path.read_bytes()
    path.write_bytes(whole.replace(gnn.schema.hash.encode(), b"0" * 16))
    with pytest.raises(BadInput, match="trained on inputs 0000"):
        load(path, schema="abc")
    save(replace(model, told=replace(model.told, alone=None)), path, schema="abc", card={})
    with pytest.raises(Corrupt, match="nothing answers where its network is not asked"):
        load(path, schema="abc")
    save(replace(model, network=None), path, schema="abc", card={})
    with pytest.raises(Corrupt, match="weights of a network without"):
        load(path, schema="abc")


def test_trees_that_look_beyond_their_inputs_are_refused(tmp_path: Path) -> None:
    model = learn(table(1500), seed=1).model
    cut = replace(model, told=replace(model.told, names=model.told.names[:1]))
    save(cut, tmp_path / "m", schema="abc", card={})
    with pytest.raises(Corrupt, match="told: trees look at input"):
        load(tmp_path / "m", schema="abc")


@pytest.mark.parametrize(("start", "half"), [(0, "later"), (960, "earlier")], ids=["of long ago", "of lately"])
def test_frauds_of_one_half_alone_teach_nothing(start: int, half: str) -> None:
    one_sided = table(1000)
    one_sided.label[:] = np.isin(np.arange(1000), np.arange(start, start + 40))
    with pytest.raises(TooFewLabels, match=f"{half} half"):
        learn(one_sided, seed=0)


@pytest.mark.parametrize("rule", [(True, False), (False, True)])
def test_whether_the_rule_stays_can_be_decided_before(rule: tuple[bool, bool]) -> None:
    model = learn(table(1500), seed=1, rule=rule).model
    assert (model.told.rule, model.untold.rule) == rule

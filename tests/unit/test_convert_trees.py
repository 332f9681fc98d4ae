"""Converted models answer as the trained ones do, and what cannot be represented is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from ringwatch.errors import BadInput
from tests.support.learned import COLUMNS, TINY, probability, sample, strange
from training.convert import from_hist_gradient_boosting, from_lightgbm


@pytest.mark.parametrize(
    "how",
    [
        {"max_iter": 1, "max_leaf_nodes": 2},
        {"max_iter": 1, "max_leaf_nodes": None, "max_depth": 12, "min_samples_leaf": 1},
        {"max_iter": 20, "max_depth": 1},
        {"max_iter": 41, "max_leaf_nodes": 31, "min_samples_leaf": 2},
        {"max_iter": 60, "early_stopping": True, "class_weight": "balanced"},
        {"max_iter": 3, "min_samples_leaf": 1000},
    ],
    ids=["stump", "one tree", "depth 1", "many", "stopped early", "leaves only"],
)
def test_margins_and_probabilities_are_those_of_scikit_learn(how: dict[str, Any]) -> None:
    x, y = sample(1500)
    model = HistGradientBoostingClassifier(random_state=0, **how).fit(x[:, COLUMNS], y)
    trees = from_hist_gradient_boosting(model, COLUMNS)
    for rows in (x[:200], strange()):
        margin = trees.margin(rows)
        np.testing.assert_allclose(margin, model.decision_function(rows[:, COLUMNS]), rtol=0, atol=1e-9)
        np.testing.assert_allclose(probability(margin), model.predict_proba(rows[:, COLUMNS])[:, 1], rtol=0, atol=1e-12)


def test_a_cell_at_the_threshold_goes_left_and_the_next_one_right() -> None:
    x = np.repeat(np.arange(4, dtype=np.float32), 50)[:, None]
    model = HistGradientBoostingClassifier(max_iter=1).fit(x, (x[:, 0] > 1).astype(int))
    trees = from_hist_gradient_boosting(model, [0])
    assert trees.threshold[0] == 1.5
    cells = np.array([1.5, np.nextafter(np.float32(1.5), np.float32(2))], np.float32)[:, None]
    low, high = trees.margin(cells)
    assert low < 0 < high
    np.testing.assert_array_equal([low, high], model.decision_function(cells))


def test_scikit_models_that_cannot_be_represented_are_refused() -> None:
    x, y = sample(300)
    x, make = x[:, COLUMNS], HistGradientBoostingClassifier
    kinds = np.where(np.isnan(x), 0, x * 2).round().clip(0, 5)
    for model, said in (
        (HistGradientBoostingRegressor(max_iter=2).fit(x, y), "no trained"),
        (make(), "no trained"),
        (make(max_iter=2).fit(x, y + 2 * (np.arange(300) % 2)), "4 classes"),
        (make(max_iter=2, categorical_features=[0]).fit(kinds, y), "categorical"),
    ):
        with pytest.raises(BadInput, match=said):
            from_hist_gradient_boosting(model, COLUMNS)
    model = make(max_iter=2).fit(x, y)
    for columns in (COLUMNS[:-1], [*COLUMNS[:-1], -1], COLUMNS.astype(float)):
        with pytest.raises(BadInput, match="12 features"):
            from_hist_gradient_boosting(model, columns)


class Dumped:
    """A LightGBM booster of one split, as `dump_model` tells it."""

    def __init__(self, model: dict[str, Any] | None = None, leaf: dict[str, Any] | None = None, **split: Any) -> None:
        of = {
            "split_feature": 0,
            "threshold": 0.5,
            "decision_type": "<=",
            "default_left": True,
            "missing_type": "None",
        } | split
        left, right = ({"leaf_value": v, "leaf_count": 10} | (leaf or {}) for v in (-1.0, 1.0))
        structure = of | {"left_child": left, "right_child": right}
        self._model = {"objective": "binary sigmoid:1", "average_output": False, "max_feature_idx": 0,
                       "tree_info": [{"tree_structure": structure}]} | (model or {})  # fmt: skip

    def dump_model(self) -> dict[str, Any]:
        return self._model


@pytest.mark.parametrize(
    ("split", "left", "right"),
    [
        ({}, [0.5, np.nan, 0.0, -np.inf], [0.6, np.inf]),
        ({"threshold": -0.5}, [-0.5], [0.0, np.nan]),
        ({"threshold": -0.5, "missing_type": "NaN"}, [-0.5, np.nan], [0.0]),
        ({"missing_type": "NaN", "default_left": False}, [0.0], [np.nan, 1.0]),
        ({"missing_type": "Zero"}, [0.5, np.nan, 0.0], [0.6]),
        ({"missing_type": "Zero", "default_left": False, "threshold": -0.5}, [-0.5], [np.nan, 0.0]),
        ({"threshold": TINY}, [0.0, TINY, -TINY], [2 * TINY]),
        ({"threshold": 0.0}, [0.0, TINY, -TINY], [2 * TINY]),
        ({"threshold": -TINY}, [-2 * TINY], [-TINY, 0.0, TINY]),
        ({"threshold": 1e300, "missing_type": "NaN", "default_left": False}, [1.0, np.inf], [np.nan]),
        ({"threshold": 0.5, "missing_type": "None", "default_left": False}, [np.nan], [0.6]),
    ],
)
def test_a_lightgbm_split_sends_each_cell_as_lightgbm_does(
    split: dict[str, Any], left: list[float], right: list[float]
) -> None:
    trees = from_lightgbm(Dumped(**split), [3])
    x = np.zeros((len(left) + len(right), 4), np.float32)
    x[:, 3] = [*left, *right]
    assert trees.margin(x).tolist() == [-1.0] * len(left) + [1.0] * len(right)


@pytest.mark.parametrize(
    ("booster", "said"),
    [
        (object(), "no LightGBM booster"),
        (Dumped({"objective": "regression"}), "'regression'"),
        (Dumped({"objective": "binary sigmoid:2"}), "sigmoid:2"),
        (Dumped({"tree_info": []}), "no trees"),
        (Dumped({"max_feature_idx": 1}), "model of 2 features"),
        (Dumped(decision_type="=="), "tree 0 splits feature 0 by category"),
        (Dumped(missing_type="Zero", default_left=False), "zeros on the far side of 0.5"),
        (Dumped(missing_type="Zero", threshold=-0.5), "zeros on the far side of -0.5"),
        (Dumped(missing_type="Inf"), "'Inf'"),
        (Dumped(leaf={"leaf_const": 1.0, "leaf_coeff": [2.0]}), "linear leaves"),
    ],
)
def test_boosters_that_cannot_be_represented_are_refused(booster: Any, said: str) -> None:
    with pytest.raises(BadInput) as refusal:
        from_lightgbm(booster, [3])
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "how",
    [{}, {"num_leaves": 2}, {"use_missing": False}, {"max_depth": 3, "bagging_freq": 1, "bagging_fraction": 0.5}, {"lambda_l2": 1e9}],
    ids=["usual", "stumps", "missing as zero", "bagged", "flat"],
)  # fmt: skip
def test_margins_and_contributions_are_those_of_lightgbm(how: dict[str, Any]) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    x, y = sample(1500)
    x[:, COLUMNS[7]] = np.where(np.isnan(x[:, COLUMNS[7]]), 0.0, x[:, COLUMNS[7]])
    settled = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 0, "deterministic": True, **how}
    booster = lightgbm.train(settled, lightgbm.Dataset(x[:, COLUMNS], y), 25)
    trees = from_lightgbm(booster, COLUMNS)
    for rows in (x[:100], strange()):
        cells = rows[:, COLUMNS]
        margin = trees.margin(rows)
        np.testing.assert_allclose(margin, booster.predict(cells, raw_score=True), rtol=0, atol=1e-9)
        np.testing.assert_allclose(probability(margin), booster.predict(cells), rtol=0, atol=1e-12)
        shares = booster.predict(cells, pred_contrib=True)
        np.testing.assert_allclose(trees.contributions(rows), shares, rtol=0, atol=1e-9)


def test_a_booster_that_stopped_early_is_taken_up_to_its_best_iteration() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    x, y = sample(800)
    data, held = lightgbm.Dataset(x[:500, COLUMNS], y[:500]), lightgbm.Dataset(x[500:, COLUMNS], y[500:])
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "learning_rate": 0.5}, data, 60,
                             valid_sets=[held], callbacks=[lightgbm.early_stopping(3, verbose=False)])  # fmt: skip
    trees = from_lightgbm(booster, COLUMNS)
    assert len(trees.roots) == booster.best_iteration < 60
    raw = booster.predict(x[:, COLUMNS], raw_score=True)
    np.testing.assert_allclose(trees.margin(x), raw, rtol=0, atol=1e-9)

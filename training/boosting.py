"""The two families of trees that are fitted: boosted ones, and a random forest (Breiman, 2001). LightGBM fits both.

Boosted trees find what interacts; the deep trees of a forest know rare corners, and many of them err less where there are few rows. Margins are
log-odds; the forest's is the mean of its leaves' (a logarithmic opinion pool), so that it adds up like any other's. Equal rows, settings and
seed give equal trees on any number of cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput
from ringwatch.settings import let_threads_sleep
from scorers.learned.trees import Trees
from training.convert import from_lightgbm

_PRIOR = 5.0
"""Rows that a forest's leaf is taken to have had beside its own."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How trees are grown. `rounds` trees of at most `leaves` leaves with at least `least_rows` rows each."""

    family: str
    """"boosted" or "forest"."""
    rounds: int
    leaves: int
    least_rows: int
    rate: float = 0.05
    columns: float = 0.3
    """Share of the inputs that a boosted tree sees, and that each split of a forest does."""
    rows: float = 0.7
    penalty: float = 5.0
    bins: int = 4095
    """Thresholds to choose from. Where few rows are frauds they are in the tails, which the usual 255 do not tell apart."""


def fit(
    x: NDArray[np.float32], y: NDArray[np.int8], s: Settings, seed: int, weight: NDArray[np.int64] | None = None
) -> Any:
    """A LightGBM booster on inputs (n, m), labels (n,) of 0 and 1, and for how many rows each stands (n,)."""
    lightgbm = _lightgbm()
    forest = s.family == "forest"
    parameters = {
        "objective": "binary",
        "boosting": "rf" if forest else "gbdt",
        "learning_rate": s.rate,
        "num_leaves": s.leaves,
        "min_data_in_leaf": s.least_rows,
        "feature_fraction_bynode" if forest else "feature_fraction": s.columns,
        "bagging_fraction": s.rows,
        "bagging_freq": 1,
        "lambda_l2": s.penalty,
        "max_bin": s.bins,
        "min_data_in_bin": 1,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    many = None if weight is None or (weight == 1).all() else weight.astype(np.float32)
    data = lightgbm.Dataset(x, y.astype(np.float32), weight=many, free_raw_data=True)
    booster = lightgbm.train(parameters, data, s.rounds)
    if forest:
        share = float(y.mean() if many is None else np.average(y, weights=many))
        _tell_odds(booster, share)
    return booster


def _tell_odds(booster: Any, share: float) -> None:
    """Leaves of a forest, which tell by how much the share of frauds among their rows is off the mean's, tell its log-odds instead, as if
    `_PRIOR` more rows with the mean share had been there."""
    slope = share * (1.0 - share)
    for tree, info in enumerate(booster.dump_model()["tree_info"]):
        todo = [info["tree_structure"]]
        while todo:
            node = todo.pop()
            if "split_feature" in node:
                todo += [node["left_child"], node["right_child"]]
                continue
            of_leaf = share + (node["leaf_value"] - np.log(share / (1.0 - share))) * slope
            rows = max(node.get("leaf_count", 1), 1)
            frauds = rows * min(max(of_leaf, 0.0), 1.0) + _PRIOR * share
            booster.set_leaf_output(tree, node.get("leaf_index", 0), float(np.log(frauds / (rows + _PRIOR - frauds))))


def margins(booster: Any, x: NDArray[np.float32], rounds: int | None = None) -> NDArray[np.float64]:
    """Log-odds float64 (n,) of the first `rounds` trees, of all if none are given."""
    found: NDArray[np.float64] = booster.predict(x, raw_score=True, num_iteration=rounds)
    return found / (rounds or booster.num_trees()) if booster.params["boosting"] == "rf" else found


def flat(booster: Any, columns: Sequence[int]) -> Trees:
    return from_lightgbm(booster, columns)


def _lightgbm() -> Any:
    let_threads_sleep()
    try:
        import lightgbm
    except OSError as error:
        raise BadInput(
            f"LightGBM cannot be loaded: {error}", hint="it needs OpenMP: install libgomp1 (Debian) or libomp (macOS)"
        ) from None
    return lightgbm

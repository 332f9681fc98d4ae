"""The two families of trees that are fitted: boosted ones, and a forest of extremely randomised ones. LightGBM fits both.

Boosted trees find what interacts; a forest of trees whose thresholds are drawn at random (Geurts, Ernst and Wehenkel: Extremely randomized
trees, 2006) moves less when the data drift. Margins are log-odds. Equal rows, settings and seed give equal trees on any number of cores.
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
    """Share of the inputs that a tree sees."""
    rows: float = 0.7
    penalty: float = 5.0


def fit(
    x: NDArray[np.float32], y: NDArray[np.int8], s: Settings, seed: int, weight: NDArray[np.int64] | None = None
) -> Any:
    """A LightGBM booster on inputs (n, m), labels (n,) of 0 and 1, and for how many rows each stands (n,)."""
    lightgbm = _lightgbm()
    forest = s.family == "forest"
    parameters = {
        "objective": "binary",
        "boosting": "rf" if forest else "gbdt",
        "extra_trees": forest,
        "learning_rate": s.rate,
        "num_leaves": s.leaves,
        "min_data_in_leaf": s.least_rows,
        "feature_fraction": s.columns,
        "bagging_fraction": s.rows,
        "bagging_freq": 1,
        "lambda_l2": s.penalty,
        "max_bin": 255,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    many = None if weight is None or (weight == 1).all() else weight.astype(np.float32)
    data = lightgbm.Dataset(x, y.astype(np.float32), weight=many, free_raw_data=True)
    return lightgbm.train(parameters, data, s.rounds)


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

"""Rows for trained models to be fitted on and compared on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 40
TINY = float(np.float32(1e-35))
COLUMNS = np.random.default_rng(5).permutation(WIDTH)[:12]


def sample(rows: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Full vectors with missing cells, a constant one, one that is 3 or missing, and a coarse one, and what is to be learned from `COLUMNS`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, COLUMNS[2]] = 3.0
    x[~np.isnan(x[:, COLUMNS[3]]), COLUMNS[3]] = 3.0
    x[:, COLUMNS[4]] = rng.integers(0, 4, rows)
    known = np.nan_to_num(x[:, COLUMNS])
    signal = known[:, 0] + known[:, 1] * known[:, 5] + (known[:, 4] == 1) + np.isnan(x[:, COLUMNS[6]])
    return x, (signal + rng.normal(size=rows) * 0.5 > 0.7).astype(np.int64)


def strange(rows: int = 160) -> NDArray[np.float32]:
    """Rows the models were not trained on, with cells at thresholds, beyond all of them, and next to zero."""
    x, _ = sample(rows, seed=1)
    rng = np.random.default_rng(2)
    odd = np.array(
        [0.0, -0.0, 0.5, 1.5, 2.5, np.inf, -np.inf, np.nan, TINY, -TINY, 2 * TINY, -2 * TINY, 1e-40], np.float32
    )
    return np.where(rng.random(x.shape) < 0.4, rng.choice(odd, x.shape), x)


def probability(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-margin))

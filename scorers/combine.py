"""One score from many: weighted noisy-or, and its parts.

score = 1 - prod(1 - w_i * s_i) over the scorers that did not abstain. Each scorer is taken as independent evidence whose
weight is the most it may contribute alone. It needs no labels, is monotone, never exceeds 1, and an abstaining scorer
changes nothing. Contributions share the score in proportion to -log(1 - w_i * s_i), so they add up to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scorers.kernel import join

_LEAST_CALM = 1e-12


def combine(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """`scores` (n, scorers) in [0, 1] or NaN, `weights` (n, scorers), (1, scorers) or (scorers,) in [0, 1]; (n,) in [0, 1]."""
    found: NDArray[np.float64] = join(scores, np.ascontiguousarray(np.atleast_2d(weights)))
    return found


def contributions(scores: Sequence[float], weights: Sequence[float], score: float) -> list[float]:
    """Each scorer's part of one event's score; they add up to it."""
    parts = [
        0.0 if math.isnan(s) else -math.log(max(1.0 - w * s, _LEAST_CALM)) for s, w in zip(scores, weights, strict=True)
    ]
    total = sum(parts)
    return [score * p / total if total > 0.0 else 0.0 for p in parts]

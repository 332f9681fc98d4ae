"""One model from several: a logistic regression over their margins, with weights that are not negative.

It is fitted on margins of rows that none of the models was trained on, so it stacks and calibrates at once (Platt: Probabilistic
outputs for support vector machines, 1999; weights as Breiman: Stacked regressions, 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from scorers.learned.trees import Trees


@dataclass(frozen=True, slots=True)
class Blend:
    """log-odds = bias + margins @ weights."""

    weights: NDArray[np.float64]
    bias: float

    def of(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, members) to (n,)."""
        return self.bias + margins @ self.weights


def blend(
    margins: NDArray[np.float64], y: NDArray[np.int8], weight: NDArray[np.int64] | None = None, pull: float = 2.0
) -> Blend:
    """Of margins (n, members) and labels (n,) of 0 and 1, both of which there are, and for how many rows each stands (n,). `pull`: towards
    equal weights that sum to 1, in rows; decides where there are few, and where margins say the same."""
    n, members = margins.shape
    share = np.full(n, 1.0 / n) if weight is None else weight / weight.sum()
    even = np.full(members, 1.0 / members)
    pull /= n

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = w[0] + margins @ w[1:]
        off = w[1:] - even
        p = 1.0 / (1.0 + np.exp(-z))
        off_by = (p - y) * share
        slope = np.concatenate([[off_by.sum()], margins.T @ off_by + 2 * pull * off])
        return float(share @ (np.logaddexp(0.0, z) - y * z) + pull * off @ off), slope

    start = np.concatenate([[0.0], even])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None)] + [(0.0, None)] * members)
    return Blend(found.x[1:], float(found.x[0]))


def joined(members: Sequence[Trees], b: Blend) -> Trees:
    """The blend as one set of trees: its margin is the blend of theirs. They look at the same columns."""
    roots, nodes, weighed = [], 0, []
    for trees, weight in zip(members, b.weights.tolist(), strict=True):
        weighed.append(replace(trees, value=trees.value * weight, children=trees.children + nodes))
        roots.append(trees.roots + nodes)
        nodes += len(trees.feature)
    base = b.bias + sum(t.base * w for t, w in zip(members, b.weights.tolist(), strict=True))

    def all_of(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(trees, name) for trees in weighed])

    return Trees.of(
        {
            "columns": members[0].columns, "roots": np.concatenate(roots), "base": np.asarray(base).reshape(1),
            **{name: all_of(name) for name in ("depth", "feature", "threshold", "missing_left", "children", "value", "cover")},
        }
    )  # fmt: skip

"""A fitted isolation forest as flat arrays, evaluated by a compiled loop: the same bits for any batch size.

Liu, Ting, Zhou: Isolation Forest (2008). Equal to scikit-learn's `-score_samples` within rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Forest:
    """`columns` (m,): feature columns used; `fill` (m,): what stands in for a missing one; nodes of all trees in one
    row of arrays, `roots` (trees,) where each begins; `value`: depth at a leaf, adjusted for the samples there;
    `cuts` (2,): scores
    at the 95 % and 99.9 % quantile of the sample it was fitted on."""

    columns: NDArray[np.int64]
    fill: NDArray[np.float32]
    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float64]
    scale: NDArray[np.float64]
    cuts: NDArray[np.float64]

    def anomaly(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """2^(-mean depth / expected depth) for rows of full feature vectors, shape (n,), in (0, 1)."""
        score: NDArray[np.float64] = _evaluate(
            features, self.columns, self.fill, self.roots, self.feature, self.threshold, self.left, self.right, self.value,
            self.scale,
        )  # fmt: skip
        return score

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _average_path(n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean depth of an unsuccessful search in a binary tree of n (Liu et al., equation 1)."""
    x = np.maximum(n.astype(np.float64), 2.0)
    path = 2.0 * (np.log(x - 1.0) + np.euler_gamma) - 2.0 * (x - 1.0) / x
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, path))


def fit(sample: NDArray[np.float32], *, seed: int, trees: int = 100) -> Forest | None:
    """Fit on rows of full feature vectors; None when no column varies."""
    from sklearn.ensemble import IsolationForest

    known = ~np.isnan(sample)
    enough = known.sum(axis=0) >= len(sample) // 2
    fill_all = np.zeros(sample.shape[1], np.float32)
    fill_all[enough] = np.nanmedian(sample[:, enough], axis=0)
    filled = np.where(known, sample, fill_all)
    columns = np.flatnonzero(enough & (filled.max(axis=0) > filled.min(axis=0)))
    if not len(columns):
        return None
    x = np.ascontiguousarray(filled[:, columns])
    model = IsolationForest(n_estimators=trees, max_samples=min(256, len(x)), random_state=seed).fit(x)
    parts: dict[str, list[NDArray[Any]]] = {k: [] for k in ("feature", "threshold", "left", "right", "value")}
    roots, base = [], 0
    for tree in (e.tree_ for e in model.estimators_):
        roots.append(base)
        leaf = tree.children_left < 0
        depth = _depths(tree.children_left, tree.children_right)
        parts["feature"].append(np.where(leaf, -1, tree.feature).astype(np.int64))
        parts["threshold"].append(tree.threshold.astype(np.float64))
        parts["left"].append(tree.children_left.astype(np.int64) + base)
        parts["right"].append(tree.children_right.astype(np.int64) + base)
        parts["value"].append(depth + _average_path(tree.n_node_samples))
        base += tree.node_count
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    scale = np.array([trees * _average_path(np.array([model.max_samples_]))[0]])
    fill = fill_all[columns]
    draft = Forest(columns, fill, np.array(roots), **joined, scale=scale, cuts=np.zeros(2))
    cuts = np.quantile(draft.anomaly(sample), [0.95, 0.999])
    return Forest(columns, fill, np.array(roots), **joined, scale=scale, cuts=cuts)


def _depths(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Depth of every node of a tree whose root is node 0, level by level."""
    depth, level = np.zeros(len(left)), np.zeros(1, np.int64)
    while len(level := level[left[level] >= 0]):
        deeper = depth[level[0]] + 1.0
        level = np.concatenate([left[level], right[level]])
        depth[level] = deeper
    return depth


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(
    features: Any, columns: Any, fill: Any, roots: Any, feature: Any, threshold: Any, left: Any, right: Any, value: Any,
    scale: Any,
) -> Any:  # fmt: skip
    """Tree by tree over a block of rows, so that a tree stays in the fastest cache; the sum of a row is in tree order."""
    n, m = features.shape[0], columns.shape[0]
    out = np.zeros(n)
    x = np.empty((_BLOCK, m), np.float32)
    for start in range(0, n, _BLOCK):
        rows = min(_BLOCK, n - start)
        for i in range(rows):
            for j in range(m):
                cell = features[start + i, columns[j]]
                x[i, j] = fill[j] if np.isnan(cell) else cell
        for root in roots:
            for i in range(rows):
                node = root
                while feature[node] >= 0:
                    node = left[node] if x[i, feature[node]] <= threshold[node] else right[node]
                out[start + i] += value[node]
    for i in range(n):
        out[i] = 2.0 ** (-out[i] / scale[0])
    return out

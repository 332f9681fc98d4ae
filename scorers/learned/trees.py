"""A trained ensemble of boosted trees as flat arrays: its margin, and what each feature adds to it, by compiled loops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput, Corrupt
from scorers.learned.shapley import Ancestry, ancestry, contributions
from scorers.learned.splits import compiled, right, u64

_BLOCK = 64
_ABREAST = 8
_LEAST_COVER = 1e-15


@dataclass(frozen=True, slots=True)
class Trees:
    """Nodes of all trees in one row of arrays: those of a tree together, its root first, children after their parent.

    A row goes left where `x <= threshold`, compared in float64; NaN goes where `missing_left` says. For a library that goes
    left where `x < t`, with t a float32 as x is, the same split is `threshold = nextafter(t, -inf)`, the float32 below t.
    """

    columns: NDArray[np.int64]
    """(m,): columns of the full feature vector, in the order the model was trained on."""
    roots: NDArray[np.int64]
    """(trees,): where each begins."""
    depth: NDArray[np.int64]
    """(trees,): splits on the longest way to a leaf."""
    feature: NDArray[np.int64]
    """(nodes,): index into `columns`; -1 at a leaf."""
    threshold: NDArray[np.float64]
    """(nodes,): may be infinite (all but NaN goes left); not looked at in a leaf."""
    missing_left: NDArray[np.bool_]
    """(nodes,)."""
    children: NDArray[np.int64]
    """(nodes, 2): left and right; of a leaf the leaf itself, where a step too many does no harm."""
    value: NDArray[np.float64]
    """(nodes,): what a leaf adds to the margin, in log-odds; 0 elsewhere."""
    cover: NDArray[np.float64]
    """(nodes,): training rows that reached the node, above 0; as many as reached its children together."""
    base: NDArray[np.float64]
    """(1,): the margin before the first tree, in log-odds."""

    def margin(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-odds for rows of full feature vectors, shape (n, size) to (n,): summed in the order of the trees, the same bits
        for any batch size."""
        self._check_width(features)
        margin: NDArray[np.float64] = _margin(
            features, self.columns, self.base, self.roots, self.depth, self.feature, self.threshold, self.missing_left,
            self.children, self.value,
        )  # fmt: skip
        return margin

    def contributions(self, features: NDArray[np.float32], ancestry: Ancestry | None = None) -> NDArray[np.float64]:
        """What each of `columns` adds to the margin, in log-odds, shape (n, size) to (n, m + 1): exact path-dependent TreeSHAP.
        Last is the expected margin, of a row that goes each way as often as the training rows did; a row of these sums to its
        margin within rounding. The same bits for any batch size. `ancestry`: of these trees, where it is at hand."""
        self._check_width(features)
        shares: NDArray[np.float64] = contributions(features, self.columns, ancestry or self.ancestry())
        return shares

    def ancestry(self) -> Ancestry:
        return ancestry(
            float(self.base[0]), self.roots, self.feature, self.threshold, self.missing_left, self.children, self.value,
            self.cover,
        )  # fmt: skip

    def _check_width(self, features: NDArray[np.float32]) -> None:
        if features.shape[1] <= (last := self.columns.max()):
            raise BadInput(
                f"the trees read column {last} of rows of {features.shape[1]}",
                hint="they are of another feature vector",
            )

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Trees:
        """From what `arrays` gave, copied; Corrupt with what is wrong if the loops could not run over it safely."""
        names = [f.name for f in fields(cls)]
        hint = "restore them, or convert the trained model anew"
        if unlike := sorted(set(names) ^ set(arrays)):
            raise Corrupt(f"the saved trees: {', '.join(unlike)} missing or unknown", hint=hint)
        trees = cls(**{name: np.array(arrays[name], order="C") for name in names})
        if trouble := trees.trouble():
            raise Corrupt(f"the saved trees: {trouble}", hint=hint)
        return trees

    def trouble(self) -> str:
        """What is wrong with the arrays, in words; empty when they can be evaluated."""
        return _shape_trouble(self) or _link_trouble(self) or _number_trouble(self)


def depths(roots: NDArray[np.int64], feature: NDArray[np.int64], children: NDArray[np.int64]) -> NDArray[np.int64]:
    """Splits on the longest way to a leaf, (trees,): level by level, all trees at once."""
    depth = np.zeros(len(roots), np.int64)
    tree, level = np.arange(len(roots)), roots
    while len(inner := np.flatnonzero(feature[level] >= 0)):
        tree, level = np.repeat(tree[inner], 2), children[level[inner]].ravel()
        depth[tree] += 1
    return depth


def _shape_trouble(t: Trees) -> str:
    kinds: dict[str, tuple[Any, int]] = dict.fromkeys(("columns", "roots", "depth", "feature"), (np.int64, 1))
    kinds |= dict.fromkeys(("threshold", "value", "cover", "base"), (np.float64, 1))
    kinds |= {"missing_left": (np.bool_, 1), "children": (np.int64, 2)}
    for name, (dtype, dimensions) in kinds.items():
        array = getattr(t, name)
        if array.dtype != dtype or array.ndim != dimensions:
            return f"{name} is {array.dtype} of shape {array.shape}, not {np.dtype(dtype)} in {dimensions} dimension(s)"
    nodes = len(t.feature)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("threshold", "missing_left", "value", "cover"), (nodes,))
    shapes |= {"depth": t.roots.shape, "children": (nodes, 2), "base": (1,)}
    for name, shape in shapes.items():
        if getattr(t, name).shape != shape:
            return f"{name} has shape {getattr(t, name).shape}, not {shape}"
    if empty := [name for name in ("columns", "roots", "feature") if not len(getattr(t, name))]:
        return f"{empty[0]} is empty"
    return f"columns has {t.columns.min()}" if t.columns.min() < 0 else ""


def _link_trouble(t: Trees) -> str:
    """Each node but a root must be the child of one node before it in its own tree: then every way down ends in a leaf."""
    nodes, m = len(t.feature), len(t.columns)
    if t.roots[0] != 0 or (np.diff(t.roots) <= 0).any() or t.roots[-1] >= nodes:
        return f"roots do not rise from 0 to at most {nodes - 1}"
    if t.feature.min() < -1 or t.feature.max() >= m:
        return f"feature is {t.feature.min()} to {t.feature.max()}, not -1 to {m - 1}"
    leaf, at = t.feature < 0, np.arange(nodes)[:, None]
    end = np.repeat(np.append(t.roots[1:], nodes), np.diff(t.roots, append=nodes))[:, None]
    right = np.where(leaf[:, None], t.children == at, (t.children > at) & (t.children < end)).all(axis=1)
    if not right.all():
        node = int(right.argmin())
        return f"node {node} has children {t.children[node].tolist()}, not after it in its own tree (itself at a leaf)"
    parents = np.bincount(t.children[~leaf].ravel(), minlength=nodes)
    parents[t.roots] += 1
    if (parents != 1).any():
        return f"node {int((parents != 1).argmax())} is not the child of one node"
    if (differ := depths(t.roots, t.feature, t.children) != t.depth).any():
        return f"tree {int(differ.argmax())} is not of depth {t.depth[differ.argmax()]}"
    return ""


def _number_trouble(t: Trees) -> str:
    for name in ("value", "cover", "base"):
        if not (finite := np.isfinite(array := getattr(t, name))).all():
            return f"{name} has {array[~finite][0]}"
    inner = t.feature >= 0
    whole = np.repeat(t.cover[t.roots], np.diff(t.roots, append=len(inner)))
    below = t.cover[t.children].sum(axis=1)
    rules = {
        "threshold {}": np.isnan(t.threshold),
        "value {} where it is no leaf": inner & (t.value != 0.0),
        "cover {}, not above 1e-15 of its tree's": ~(t.cover > _LEAST_COVER * whole) | (t.cover <= 0.0),
        "cover {}, unlike its children": inner & (np.abs(t.cover - below) > 1e-9 * t.cover),
    }
    for rule, broken in rules.items():
        if broken.any():
            node = int(broken.argmax())
            return f"node {node} has {rule.format(getattr(t, rule.split()[0])[node])}"
    return ""


@compiled
def _margin(
    features: Any, columns: Any, base: Any, roots: Any, depth: Any, feature: Any, threshold: Any, missing_left: Any,
    children: Any, value: Any,
) -> Any:  # fmt: skip
    """Eight trees abreast over a block of rows, as many steps as the deepest of them has: while one waits for memory, others
    go on. Leaves look at column 0 of `x`, which is nobody's. Indexes are unsigned so that none is checked for being negative.
    """
    n, m, trees = features.shape[0], columns.shape[0], roots.shape[0]
    out = np.full(n, base[0])
    x = np.zeros((_BLOCK, m + 1), np.float32)
    at = np.zeros(_ABREAST, np.uint64)
    for start in range(0, n, _BLOCK):
        rows = min(_BLOCK, n - start)
        for i in range(rows):
            for j in range(m):
                x[i, j + 1] = features[start + i, columns[j]]
        for first in range(0, trees, _ABREAST):
            some = min(_ABREAST, trees - first)
            steps = depth[first : first + some].max()
            for i in range(rows):
                for k in range(some):
                    at[k] = roots[first + k]
                for _ in range(steps):
                    for k in range(_ABREAST):
                        node = at[k]
                        cell = x[i, u64(feature[node] + 1)]
                        at[k] = children[node, right(cell, threshold[node], missing_left[node])]
                for k in range(some):
                    out[start + i] += value[at[k]]
    return out

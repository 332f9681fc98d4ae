"""A trained ensemble of boosted trees as flat arrays: its margin, and what each feature adds to it, by compiled loops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput, Corrupt

_BLOCK = 64
_ABREAST = 8
_LEAST_COVER = 1e-15
_u64: Any = np.uint64

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What contributions need to know of nodes that is the same for all rows."""

    above: NDArray[np.int64]
    """(nodes,): the node above; -1 at a root."""
    alike: NDArray[np.int64]
    """(nodes,): the nearest node above that a split on the same feature leads to, or the root; -1 at a root."""
    points: NDArray[np.int64]
    """(trees,): how many are enough for the most distinct features on a way to a leaf."""


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
        of = ancestry or self.ancestry()
        points, weights = _rules(int(of.points.max()))
        shares: NDArray[np.float64] = _contributions(
            features, self.columns, self.base, self.roots, self.feature, self.threshold, self.missing_left, self.children,
            self.value, self.cover, of.above, of.alike, of.points, points, weights,
        )  # fmt: skip
        return shares

    def ancestry(self) -> Ancestry:
        return Ancestry(*_ancestry(self.roots, self.feature, self.children))

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


@cache
def _rules(most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss and Legendre's points and weights on [0, 1], (most + 1, most) each: row q has q of them, exact for polynomials up to degree 2 q - 1,
    which is those of ways with 2 q distinct features."""
    points, weights = np.zeros((most + 1, most)), np.zeros((most + 1, most))
    for q in range(1, most + 1):
        x, w = np.polynomial.legendre.leggauss(q)
        points[q, :q], weights[q, :q] = 0.5 * (x + 1.0), 0.5 * w
    return points, weights


@compiled
def _right(cell: Any, threshold: Any, missing_left: Any) -> Any:
    """1 where the cell goes right, else 0; without a branch, which the processor could not foretell."""
    return _u64((not (cell <= threshold)) & (not (missing_left & (cell != cell))))


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
                        cell = x[i, _u64(feature[node] + 1)]
                        at[k] = children[node, _right(cell, threshold[node], missing_left[node])]
                for k in range(some):
                    out[start + i] += value[at[k]]
    return out


@compiled
def _ancestry(roots: Any, feature: Any, children: Any) -> Any:
    """As of `Ancestry`."""
    nodes = feature.shape[0]
    above, alike, distinct = np.full(nodes, -1), np.full(nodes, -1), np.zeros(nodes, np.int64)
    ends = np.append(roots[1:], nodes)
    enough = np.ones(roots.shape[0], np.int64)
    for tree in range(roots.shape[0]):
        for node in range(roots[tree], ends[tree]):
            if feature[node] < 0:
                enough[tree] = max(enough[tree], (distinct[node] + 1) // 2)
                continue
            same = node
            while above[same] >= 0 and feature[above[same]] != feature[node]:
                same = above[same]
            for child in children[node]:
                above[child], alike[child] = node, same
                distinct[child] = distinct[node] + (above[same] < 0)
    return above, alike, enough


@compiled
def _expected(base: Any, roots: Any, ends: Any, value: Any, cover: Any) -> Any:
    expected = base[0]
    for tree in range(roots.shape[0]):
        for node in range(roots[tree], ends[tree]):
            expected += value[node] * (cover[node] / cover[roots[tree]])
    return expected


@compiled
def _contributions(
    features: Any, columns: Any, base: Any, roots: Any, feature: Any, threshold: Any, missing_left: Any, children: Any,
    value: Any, cover: Any, above: Any, alike: Any, enough: Any, rule_points: Any, rule_weights: Any,
) -> Any:  # fmt: skip
    """TreeSHAP: the Shapley values that Lundberg et al. define (Consistent Individualized Feature Attribution for Tree
    Ensembles, 2018, algorithm 2; From local explanations to global understanding, 2020), computed in another way.

    Of the training rows `z` go the way to a node by what the splits on one feature decide, and of this row `o`, 1 or 0. A leaf
    adds to that feature its value times (o - z) times the integral over t from 0 to 1 of the product of z (1 - t) + o t over
    the other features on the way (Owen: Multilinear Extensions of Games, 1972): a polynomial, which the sum over `points` gives
    exactly. Factors are positive and nothing is unwound, so deep trees lose no digits (unwinding was seen to leave five of them at
    60 features); and leaves below a node share a sum (Yu, Xu, Bifet, Read: Linear TreeShap, 2022), so a tree costs nodes times
    points. `path` is the product down to a node, `below` the sum of the leaves under it. Where a feature is split on again, its
    part so far is taken back: that of the node `alike`, which is nothing at the root.
    """
    n, m, most = features.shape[0], columns.shape[0], rule_points.shape[1]
    ends = np.append(roots[1:], feature.shape[0])
    largest = (ends - roots).max()
    z, o = np.ones(largest), np.ones(largest)
    path, inverse, below = np.ones((largest, most)), np.ones((largest, most)), np.ones((largest, most))
    expected = _expected(base, roots, ends, value, cover)
    out = np.zeros((n, m + 1))
    x = np.zeros(m, np.float32)
    for row in range(n):
        for j in range(m):
            x[j] = features[row, columns[j]]
        out[row, m] = expected
        for tree in range(roots.shape[0]):
            root, end, q = roots[tree], ends[tree], enough[tree]
            points = rule_points[q]
            path[0] = rule_weights[q]
            for node in range(root, end):
                f, at = feature[node], _u64(node - root)
                for k in range(q):
                    below[at, k] = path[at, k] * value[node]
                if f < 0:
                    continue
                hot = _right(x[f], threshold[node], missing_left[node])
                for side in range(2):
                    child, same = _u64(children[node, side] - root), _u64(alike[children[node, side]] - root)
                    z_child = cover[children[node, side]] / cover[node] * z[same]
                    o_child = o[same] if side == hot else 0.0
                    z[child], o[child] = z_child, o_child
                    for k in range(q):
                        factor = z_child * (1.0 - points[k]) + o_child * points[k]
                        inverse[child, k] = 1.0 / factor
                        path[child, k] = path[at, k] * (factor * inverse[same, k])
            for node in range(end - 1, root, -1):
                at, up, same = _u64(node - root), _u64(above[node] - root), _u64(alike[node] - root)
                now, before, share = o[at] - z[at], o[same] - z[same], 0.0
                for k in range(q):
                    share += below[at, k] * (now * inverse[at, k] - before * inverse[same, k])
                    below[up, k] += below[at, k]
                out[row, feature[above[node]]] += share
    return out

"""What each feature adds to the margin of a row: exact path-dependent TreeSHAP by quadrature, in time nodes times points.

TreeSHAP are the Shapley values that Lundberg et al. define (Consistent Individualized Feature Attribution for Tree Ensembles, 2018, algorithm 2;
From local explanations to global understanding, 2020), computed here in another way.

Of the training rows `z` go the way to a node by what the splits on one feature decide, and of this row `o`, 1 or 0. A leaf adds to that feature its
value times (o - z) times the integral over t from 0 to 1 of the product of z (1 - t) + o t over the other features on the way (Owen: Multilinear
Extensions of Games, 1972): a polynomial, which the sum over Gauss and Legendre's points gives exactly. Nothing is unwound, so deep trees lose no
digits (unwinding was seen to leave five of them at 60 features); and leaves below a node share a sum (Yu, Xu, Bifet, Read: Linear TreeShap, 2022).

**At one split.** A row that is known with probability t goes the way that it does not take ("cold") with probability c = z (1 - t) / F and the other
with 1 - c: z of the cold child, F = z' (1 - t) + t of the splits on the same feature above (1 where there are none). So with `way`, the
product of these down to the node, and `below`, the sum of the leaves under it with what leads there,

    way(cold) = way c           below = below(hot) - c (below(hot) - below(cold))
    way(hot) = way - way(cold)  the split adds to its feature the integral of way (below(hot) - below(cold)) z / F^2

which is what its children's (o - z) / (o t + z (1 - t)), less the same of splits on that feature above, come to. Where such a split above has
already gone another way than the row, neither child is hot: training rows' shares stand for c and 1 - c, and the split adds nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorers.learned.lanes import WIDTH, eight, load, store
from scorers.learned.splits import compiled, right, u64


class Ancestry(NamedTuple):
    """What contributions need to know of trees that is the same for all rows. Slots are the nodes of a tree: 0 its root, 2 i + 1 and 2 i + 2
    left and right of its split i; a split is after those above it. Rows of eight points: as many as `turns` says, one after the other."""

    splits: NDArray[np.int64]
    """(trees + 1,): where each begins among splits."""
    leaves: NDArray[np.int64]
    """(trees + 1,): where each begins among leaves."""
    turns: NDArray[np.int64]
    """(trees,): how many rows its points fill."""
    rule: NDArray[np.int64]
    """(trees,): its first row of `weights`."""
    feature: NDArray[np.int32]
    """(splits,): index into the columns."""
    threshold: NDArray[np.float64]
    missing_left: NDArray[np.bool_]
    slot: NDArray[np.int32]
    """(splits,): where it is."""
    alike: NDArray[np.int32]
    """(splits,): the nearest slot at or above that a split on the same feature leads to, or the root."""
    cold: NDArray[np.float64]
    """(splits, 3): z of the cold child where the row goes left, where it goes right; its share where the row has left the way."""
    factor: NDArray[np.int32]
    """(splits,): its first row of the two that follow, whose first rows are of splits where the row has left the way."""
    leaving: NDArray[np.float64]
    """(rows, 8): (1 - t) / F."""
    adding: NDArray[np.float64]
    """(rows, 8): 1 / F^2, or 0."""
    weights: NDArray[np.float64]
    """(rows, 8): of the points; 0 of those that only fill the row."""
    leaf: NDArray[np.int32]
    """(leaves,): its slot."""
    value: NDArray[np.float64]
    """(leaves,)."""
    expected: float
    """The margin of a row that goes each way as often as the training rows did."""


def ancestry(
    base: float, roots: NDArray[np.int64], feature: NDArray[np.int64], threshold: NDArray[np.float64],
    missing_left: NDArray[np.bool_], children: NDArray[np.int64], value: NDArray[np.float64], cover: NDArray[np.float64],
) -> Ancestry:  # fmt: skip
    """Of arrays as `Trees` has them."""
    slot, alike, z, points = _paths(roots, feature, children, cover)
    inner, leaf = np.flatnonzero(feature >= 0), np.flatnonzero(feature < 0)
    before, after = z[alike[inner]], z[children[inner]]
    rules, t, weights = _rules(int(points.max()))
    turns = -(-points // WIDTH)
    tree = np.searchsorted(roots, inner, side="right") - 1
    again = np.flatnonzero(alike[inner] != roots[tree])
    many = turns[tree[again]]
    begins = np.cumsum(many) - many
    of = np.repeat(rules[points[tree[again]]] - begins, many) + np.arange(many.sum())
    known = np.repeat(before[again], many)[:, None] * (1.0 - t[of]) + t[of]
    left_already = int(turns.max())
    factor = left_already + rules[points[tree]]
    factor[again] = left_already + len(t) + begins
    return Ancestry(
        splits=np.searchsorted(inner, np.append(roots, len(feature))),
        leaves=np.searchsorted(leaf, np.append(roots, len(feature))),
        turns=turns, rule=rules[points], feature=feature[inner].astype(np.int32), threshold=threshold[inner],
        missing_left=missing_left[inner], slot=slot[inner], alike=slot[alike[inner]],
        cold=np.column_stack([after[:, 1], after[:, 0], after[:, 1] / before]), factor=factor.astype(np.int32),
        leaving=np.concatenate([np.ones((left_already, WIDTH)), 1.0 - t, (1.0 - t[of]) / known]),
        adding=np.concatenate([np.zeros((left_already, WIDTH)), np.ones_like(t), 1.0 / known**2]), weights=weights,
        leaf=slot[leaf], value=value[leaf],
        expected=base + float((value * (cover / np.repeat(cover[roots], np.diff(roots, append=len(cover))))).sum()),
    )  # fmt: skip


@compiled
def _paths(roots: Any, feature: Any, children: Any, cover: Any) -> Any:
    """Of nodes: the slot, `alike` as a node, z. Of trees: how many points are enough for the most distinct features on a way to a leaf (of q points
    the sum is exact up to degree 2 q - 1)."""
    nodes, trees = feature.shape[0], roots.shape[0]
    slot, alike, z = np.zeros(nodes, np.int32), np.arange(nodes), np.ones(nodes)
    above, distinct = np.full(nodes, -1), np.zeros(nodes, np.int64)
    ends, enough = np.append(roots[1:], nodes), np.ones(trees, np.int64)
    for tree in range(trees):
        splits = 0
        for node in range(roots[tree], ends[tree]):
            if feature[node] < 0:
                enough[tree] = max(enough[tree], (distinct[node] + 1) // 2)
                continue
            same = node
            while above[same] >= 0 and feature[above[same]] != feature[node]:
                same = above[same]
            alike[node] = same
            for side in range(2):
                child = children[node, side]
                above[child], slot[child] = node, 2 * splits + 1 + side
                z[child] = cover[child] / cover[node] * z[same]
                distinct[child] = distinct[node] + (above[same] < 0)
            splits += 1
    return slot, alike, z, enough


def _rules(most: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Gauss and Legendre's points and weights on [0, 1] in rows of eight, and by how many points they are of their first row."""
    first, points, weights = [0], list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for q in range(1, most + 1):
        x, w = np.polynomial.legendre.leggauss(q)
        first.append(sum(map(len, points)))
        filled = np.full((2, -(-q // WIDTH) * WIDTH), 0.5)
        filled[0, :q], filled[1] = 0.5 * (x + 1.0), 0.0
        filled[1, :q] = 0.5 * w
        points.append(filled[0].reshape(-1, WIDTH))
        weights.append(filled[1].reshape(-1, WIDTH))
    return np.array(first), np.concatenate(points), np.concatenate(weights)


@compiled
def contributions(features: Any, columns: Any, of: Any) -> Any:
    """Shape (n, size) to (n, m + 1), the last the expected margin; row by row, so the same bits for any batch size."""
    n, m, most = features.shape[0], columns.shape[0], np.diff(of.splits).max()
    out = np.zeros((n, m + 1))
    x = np.zeros(m, np.float32)
    added = np.zeros((m, WIDTH))
    slots = np.zeros((2 * most + 1, WIDTH))
    going = np.ones(2 * most + 1, np.uint64)
    hot, factor, cold = np.zeros(most, np.uint64), np.zeros(most, np.uint64), np.zeros(most)
    for row in range(n):
        for j in range(m):
            x[j] = features[row, columns[j]]
        added[:] = 0.0
        for tree in range(of.turns.shape[0]):
            first, splits = of.splits[tree], of.splits[tree + 1] - of.splits[tree]
            for i in range(splits):
                at, child = u64(first + i), u64(2 * i + 1)
                on = going[u64(of.alike[at])]
                side = on & right(x[u64(of.feature[at])], of.threshold[at], of.missing_left[at])
                going[child], going[child + u64(1)] = on & (side ^ u64(1)), side
                hot[i], factor[i] = child + side, u64(of.factor[at]) * on
                cold[i] = of.cold[at, side + u64(2) * (on ^ u64(1))]
            for turn in range(of.turns[tree]):
                store(slots, u64(0), load(of.weights, u64(of.rule[tree] + turn)))
                for i in range(splits):
                    ui = u64(i)
                    way = load(slots, u64(of.slot[u64(first + i)]))
                    leaves = way * (eight(cold[ui]) * load(of.leaving, factor[ui] + u64(turn)))
                    store(slots, u64(4) * ui + u64(3) - hot[ui], leaves)
                    store(slots, hot[ui], way - leaves)
                for leaf in range(of.leaves[tree], of.leaves[tree + 1]):
                    store(slots, u64(of.leaf[leaf]), eight(of.value[leaf]))
                for i in range(splits - 1, -1, -1):
                    ui, at = u64(i), u64(first + i)
                    slot, f, a = u64(of.slot[at]), u64(of.feature[at]), factor[ui] + u64(turn)
                    way, z, below = load(slots, slot), eight(cold[ui]), load(slots, hot[ui])
                    more = below - load(slots, u64(4) * ui + u64(3) - hot[ui])
                    store(added, f, load(added, f) + way * more * (z * load(of.adding, a)))
                    store(slots, slot, below - z * load(of.leaving, a) * more)
        for j in range(m):
            out[row, j] = added[j].sum()
        out[row, m] = of.expected
    return out

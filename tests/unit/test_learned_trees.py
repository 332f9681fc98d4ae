"""Flat trees against a plain walk and against Shapley values by their definition; damaged ones are refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from itertools import combinations
from math import comb, factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from ringwatch.errors import BadInput, Corrupt
from scorers.learned.trees import Trees, depths
from tests.support.learned import COLUMNS, sample, strange
from training.convert import from_hist_gradient_boosting


def grown(seed: int, trees: int, splits: int, m: int, *, deep: bool = False) -> dict[str, NDArray[Any]]:
    """Arrays of random trees: a random leaf is split, so that nodes are not in the order of a depth first walk; `deep`: one of the newest two."""
    rng = np.random.default_rng(seed)
    feature, children, cover, roots = [], [], [], []
    for _ in range(trees):
        roots.append(len(feature))
        leaves = [len(feature)]
        feature.append(-1), children.append([roots[-1]] * 2), cover.append(1000.0)
        for _ in range(rng.integers(0, splits + 1)):
            node = leaves.pop(rng.integers(-2, 0) if deep and len(leaves) > 1 else rng.integers(len(leaves)))
            feature[node] = int(rng.integers(m))
            part = rng.uniform(0.33, 0.67) * cover[node]
            for side, rows in enumerate((part, cover[node] - part)):
                children[node][side] = len(feature)
                leaves.append(len(feature))
                feature.append(-1), children.append([len(feature) - 1] * 2), cover.append(rows)
    kind, to = np.array(feature), np.array(children)
    leaf = kind < 0
    return {
        "columns": rng.permutation(m + 2)[:m], "roots": np.array(roots), "depth": depths(np.array(roots), kind, to),
        "feature": kind, "threshold": np.where(leaf, 0.0, rng.choice([-0.5, 0.0, 0.5, np.inf], len(kind))),
        "missing_left": ~leaf & (rng.random(len(kind)) < 0.5), "children": to,
        "value": np.where(leaf, rng.normal(size=len(kind)), 0.0), "cover": np.array(cover), "base": rng.normal(size=1),
    }  # fmt: skip


def rows_for(trees: Trees, rows: int, seed: int = 3) -> NDArray[np.float32]:
    cells = np.array([-1.0, -0.5, -0.25, 0.0, 0.5, 2.0, np.nan, np.inf], np.float32)
    return np.random.default_rng(seed).choice(cells, (rows, int(trees.columns.max()) + 1))


def goes(t: Trees, node: int, x: NDArray[np.float32]) -> int:
    """0 for left, 1 for right."""
    cell = float(x[t.columns[t.feature[node]]])
    return int(not (t.missing_left[node] if np.isnan(cell) else cell <= t.threshold[node]))


def walk(t: Trees, x: NDArray[np.float32]) -> float:
    """The margin of one row, as plainly as it can be said."""
    total = float(t.base[0])
    for node in t.roots:
        while t.feature[node] >= 0:
            node = t.children[node, goes(t, node, x)]
        total += t.value[node]
    return total


def known_only(t: Trees, node: int, x: NDArray[np.float32], known: frozenset[int]) -> float:
    """The expectation of a tree where only `known` features are known: the others go as the training rows went."""
    if t.feature[node] < 0:
        return float(t.value[node])
    if t.feature[node] in known:
        return known_only(t, t.children[node, goes(t, node, x)], x, known)
    below = [t.cover[c] / t.cover[node] * known_only(t, c, x, known) for c in t.children[node]]
    return float(sum(below))


def shapley(t: Trees, x: NDArray[np.float32]) -> NDArray[np.float64]:
    m = len(t.columns)
    sets = [frozenset(s) for size in range(m + 1) for s in combinations(range(m), size)]
    worth = {s: t.base[0] + sum(known_only(t, root, x, s) for root in t.roots) for s in sets}
    shares = [
        sum(
            factorial(len(s)) * factorial(m - 1 - len(s)) / factorial(m) * (worth[s | {i}] - worth[s])
            for s in sets
            if i not in s
        )
        for i in range(m)
    ]
    return np.array([*shares, worth[frozenset()]])


@pytest.fixture(scope="module")
def larger() -> Trees:
    x, y = sample(1500)
    return from_hist_gradient_boosting(HistGradientBoostingClassifier(max_iter=30).fit(x[:, COLUMNS], y), COLUMNS)


def test_any_batch_size_gives_the_same_bits(larger: Trees) -> None:
    x = strange()
    for whole, of in ((larger.margin(x), larger.margin), (larger.contributions(x), larger.contributions)):
        for size in (1, 7):
            parts = [of(x[i : i + size]) for i in range(0, len(x), size)]
            assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert larger.margin(x[:0]).shape == (0,)
    assert larger.contributions(x[:0]).shape == (0, 13)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(0, 30), st.integers(1, 6))
def test_margins_are_those_of_a_plain_walk(seed: int, trees: int, splits: int, m: int) -> None:
    flat = Trees.of(grown(seed, trees, splits, m))
    x = rows_for(flat, 70, seed)
    assert flat.margin(x).tolist() == [walk(flat, row) for row in x]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 14), st.integers(1, 6))
def test_contributions_are_shapley_values_by_their_definition(seed: int, trees: int, splits: int, m: int) -> None:
    flat = Trees.of(grown(seed, trees, splits, m))
    for row in rows_for(flat, 2, seed):
        np.testing.assert_allclose(flat.contributions(row[None])[0], shapley(flat, row), rtol=0, atol=1e-12)


def by_ways(t: Trees, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shapley values, too, for more features than sets of them could be gone through: the integral of each leaf's polynomial."""
    shares = np.zeros(len(t.columns))

    def down(node: int, way: dict[int, Polynomial]) -> None:
        """`way`: what the splits on a feature let pass: a share z of rows where it is not known, o where it is."""
        if (f := int(t.feature[node])) >= 0:
            before = way.get(f, Polynomial([1.0, 0.0]))
            for side, child in enumerate(t.children[node].tolist()):
                z = before(0.0) * t.cover[child] / t.cover[node]
                o = before(1.0) * (goes(t, node, x) == side)
                down(child, way | {f: Polynomial([z, o - z])})
            return
        for f, own in way.items():
            others = [p for other, p in way.items() if other != f]
            integral = reduce(Polynomial.__mul__, others, Polynomial([1.0])).integ()(1.0)
            shares[f] += t.value[node] * (own(1.0) - own(0.0)) * integral

    for root in t.roots:
        down(root, {})
    return shares


@pytest.mark.parametrize("m", [2, 12, 40, 300])
def test_contributions_of_deep_trees_are_shapley_values(m: int) -> None:
    """Up to 40 splits on a way, on features met before or not: by one row of eight points up to three."""
    flat = Trees.of(grown(m, 4, 40, m, deep=True))
    for row in rows_for(flat, 4, m):
        np.testing.assert_allclose(flat.contributions(row[None])[0, :-1], by_ways(flat, row), rtol=0, atol=1e-12)


def test_contributions_add_up_to_the_margin(larger: Trees) -> None:
    x = strange()
    shares = larger.contributions(x)
    np.testing.assert_allclose(shares.sum(axis=1), larger.margin(x), rtol=0, atol=1e-9)
    assert len(set(shares[:, -1])) == 1
    np.testing.assert_array_equal(shares[:, 2], 0.0)
    assert np.abs(shares[:, 0]).max() > 0.5


def test_the_expected_margin_is_the_mean_over_the_training_rows(larger: Trees) -> None:
    """Each tree was grown on all of them."""
    x, _ = sample(1500)
    assert larger.contributions(x[:1])[0, -1] == pytest.approx(larger.margin(x).mean(), abs=1e-9)


def test_deep_trees_lose_no_digits() -> None:
    """60 features in a row, nine rows in ten going on at each; the row explained goes on at every other one. The value is at
    the end, so features of a kind have the same share, told here in exact numbers."""
    depth, z = 60, Fraction(9, 10)
    at = np.arange(2 * depth + 1)
    going = (at % 2 == 0) & (at < 2 * depth)
    cover = np.array([float(z ** (k // 2)) if k % 2 == 0 else float(z ** (k // 2) * (1 - z)) for k in at.tolist()])
    flat = Trees.of({
        "columns": np.arange(depth), "roots": np.array([0]), "depth": np.array([depth]),
        "feature": np.where(going, at // 2, -1), "threshold": np.zeros(len(at)), "missing_left": np.zeros(len(at), bool),
        "children": np.column_stack([np.where(going, at + 1, at), np.where(going, at + 2, at)]),
        "value": (at == 2 * depth).astype(float), "cover": cover, "base": np.zeros(1),
    })  # fmt: skip
    x = np.where(np.arange(depth) % 2 == 0, 1.0, -1.0).astype(np.float32)[None]
    ways = [
        Fraction(factorial(k) * factorial(depth - 1 - k), factorial(depth)) * z ** (depth - 1 - k) for k in range(31)
    ]
    on = (1 - z) * sum(comb(29, k) * way for k, way in enumerate(ways[:30]))
    off = -z * sum(comb(30, k) * way for k, way in enumerate(ways))
    shares = flat.contributions(x)[0]
    np.testing.assert_allclose(shares[:-1:2], float(on), rtol=1e-11, atol=0)
    np.testing.assert_allclose(shares[1:-1:2], float(off), rtol=1e-11, atol=0)


def test_kept_arrays_come_back_without_pickles(larger: Trees) -> None:
    file = io.BytesIO()
    np.savez(file, **larger.arrays())
    file.seek(0)
    again = Trees.of(dict(np.load(file, allow_pickle=False)))
    x = strange()
    assert again.margin(x).tobytes() == larger.margin(x).tobytes()
    assert again.contributions(x[:3]).tobytes() == larger.contributions(x[:3]).tobytes()


def put(name: str, at: Any, value: float) -> Callable[[dict[str, NDArray[Any]]], None]:
    def damage(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[name][at] = value

    return damage


def instead(name: str, make: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[dict[str, NDArray[Any]]], None]:
    def damage(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[name] = make(arrays[name])

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda arrays: arrays.pop("cover"), "cover missing or unknown"),
        (lambda arrays: arrays.update(color=np.zeros(1)), "color missing or unknown"),
        (instead("threshold", lambda a: a.astype(np.float32)), "threshold is float32"),
        (instead("missing_left", lambda a: a.astype(np.int64)), "missing_left is int64"),
        (instead("value", lambda a: a.astype(object)), "value is object"),
        (instead("children", lambda a: a.ravel()), "children is int64 of shape"),
        (instead("children", lambda a: np.column_stack([a, a])), "children has shape"),
        (instead("cover", lambda a: a[:-1]), "cover has shape"),
        (instead("depth", lambda a: a[:-1]), "depth has shape"),
        (instead("base", lambda a: np.zeros(2)), "base has shape"),
        (instead("columns", lambda a: a[:0]), "columns is empty"),
        (put("columns", 1, -1), "columns has -1"),
        (put("roots", 0, 1), "roots do not rise"),
        (put("roots", 1, 0), "roots do not rise"),
        (put("roots", -1, 10**6), "roots do not rise"),
        (put("feature", 0, 3), "feature is -1 to 3"),
        (put("feature", 0, -2), "feature is -2"),
        (put("feature", 0, -1), "node 0 has children"),
        (put("children", (0, 0), 0), "node 0 has children"),
        (put("children", (0, 1), -1), "node 0 has children"),
        (put("children", (0, 1), 7), "node 0 has children"),
        (put("children", (1, 1), 10**6), "node 1 has children"),
        (put("children", (6, 0), 0), "node 6 has children"),
        (put("children", (0, 1), 1), "node 1 is not the child of one node"),
        (put("depth", 0, 2), "tree 0 is not of depth 2"),
        (put("value", 6, np.nan), "value has nan"),
        (put("value", 0, 1.0), "node 0 has value 1.0 where it is no leaf"),
        (put("cover", 3, np.inf), "cover has inf"),
        (put("cover", 6, 0.0), "node 6 has cover 0.0, not above"),
        (put("cover", 6, -4.0), "node 6 has cover -4.0, not above"),
        (put("cover", 0, 99.0), "node 0 has cover 99.0, unlike its children"),
        (put("base", 0, -np.inf), "base has -inf"),
        (put("threshold", 0, np.nan), "node 0 has threshold nan"),
    ],
)  # fmt: skip
def test_damaged_arrays_are_refused(damage: Callable[[dict[str, NDArray[Any]]], None], said: str) -> None:
    """Two trees: 0 to (1, 2), 1 to (3, 4), 3 to (5, 6); and 7 to (8, 9)."""
    to = {0: (1, 2), 1: (3, 4), 3: (5, 6), 7: (8, 9)}
    arrays: dict[str, NDArray[Any]] = {
        "columns": np.array([4, 0, 9]), "roots": np.array([0, 7]), "depth": np.array([3, 1]),
        "feature": np.array([k % 3 if k in to else -1 for k in range(10)]), "threshold": np.zeros(10),
        "missing_left": np.zeros(10, bool), "children": np.array([to.get(k, (k, k)) for k in range(10)]),
        "value": np.array([0.0 if k in to else 0.1 * k for k in range(10)]),
        "cover": np.array([16.0, 8, 8, 4, 4, 2, 2, 16, 4, 12]), "base": np.zeros(1),
    }  # fmt: skip
    Trees.of(arrays)
    damage(arrays)
    with pytest.raises(Corrupt) as refusal:
        Trees.of(arrays)
    assert said in str(refusal.value)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_not_refused_ends_in_leaves(data: st.DataObject) -> None:
    arrays = grown(data.draw(st.integers(0, 50)), trees=3, splits=8, m=3)
    array = arrays[data.draw(st.sampled_from(["roots", "feature", "children", "depth", "columns"]))]
    array.flat[data.draw(st.integers(0, array.size - 1))] = data.draw(st.integers(-3, len(arrays["feature"]) + 2))
    try:
        flat = Trees.of(arrays)
    except Corrupt:
        return
    x = rows_for(flat, 5)
    assert flat.margin(x).tolist() == [walk(flat, row) for row in x]
    np.testing.assert_allclose(flat.contributions(x).sum(axis=1), flat.margin(x), rtol=0, atol=1e-9)


def test_rows_too_narrow_are_refused(larger: Trees) -> None:
    narrow = np.zeros((1, int(COLUMNS.max())), np.float32)
    for of in (larger.margin, larger.contributions):
        with pytest.raises(BadInput, match=f"column {COLUMNS.max()} of rows of {COLUMNS.max()}"):
            of(narrow)

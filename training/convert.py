"""Trained models to the flat trees that serving evaluates: the same margins, and what cannot be represented is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from ringwatch.errors import BadInput
from scorers.learned.trees import Trees, depths

_LIGHTGBM_ZERO = float(np.float32(1e-35))
"""LightGBM reads a value of at most this size as 0."""
_LIGHTGBM_INFINITY = 1e300
"""What it writes for infinite thresholds."""

Nodes = dict[str, NDArray[Any]]
"""One tree: the arrays of `Trees` that have a row a node, `children` counted from its root."""


def from_hist_gradient_boosting(model: HistGradientBoostingClassifier, columns: Sequence[int]) -> Trees:
    """`columns`: where the model's features are in the full feature vector, in the order it was trained on.

    The margin is `model.decision_function`, the log-odds of the second of its classes. `cover` counts rows without weights.
    """
    if not isinstance(model, HistGradientBoostingClassifier) or not hasattr(model, "classes_"):
        raise BadInput(
            f"{type(model).__name__} is no trained HistGradientBoostingClassifier", hint="fit it, and unwrap it"
        )
    if len(model.classes_) != 2:
        raise BadInput(f"the model tells {len(model.classes_)} classes apart", hint="two are needed")
    if model.is_categorical_ is not None:
        raise BadInput("the model has categorical features", hint="train on numbers only: categorical_features=None")
    trees = [_of_scikit(predictor.nodes) for (predictor,) in model._predictors]
    return _joined(trees, model._baseline_prediction.ravel(), columns, model.n_features_in_)


def _of_scikit(nodes: NDArray[Any]) -> Nodes:
    """scikit-learn goes left where x <= num_threshold, too; it is infinite where only NaN goes right."""
    leaf, at = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    children = [np.where(leaf, at, nodes[side].astype(np.int64)) for side in ("left", "right")]
    return {
        "feature": np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)),
        "threshold": np.where(leaf, 0.0, nodes["num_threshold"]),
        "missing_left": ~leaf & nodes["missing_go_to_left"].astype(bool),
        "children": np.column_stack(children),
        "value": np.where(leaf, nodes["value"], 0.0),
        "cover": nodes["count"].astype(np.float64),
    }


def from_lightgbm(booster: Any, columns: Sequence[int]) -> Trees:
    """A `lightgbm.Booster` of objective binary, up to its best iteration where it stopped early. `columns`: where its features
    are in the full feature vector. The margin is `booster.predict(x, raw_score=True)`, of a forest (boosting=rf) over its trees."""
    if not hasattr(booster, "dump_model"):
        raise BadInput(f"{type(booster).__name__} is no LightGBM booster", hint="of an LGBMClassifier, give booster_")
    model = booster.dump_model()
    if (objective := model.get("objective")) != "binary sigmoid:1":
        raise BadInput(f"the booster's objective is {objective!r}", hint="objective=binary with sigmoid=1 is needed")
    trees = [_of_lightgbm(tree["tree_structure"], k) for k, tree in enumerate(model["tree_info"])]
    if model["average_output"]:
        for tree in trees:
            tree["value"] /= len(trees)
    return _joined(trees, np.zeros(1), columns, model["max_feature_idx"] + 1)


def _of_lightgbm(root: dict[str, Any], tree: int) -> Nodes:
    """Depth first, left before right. Rows are counted at the leaves, by LightGBM from rounded sums, which may come to none; a tree
    of one leaf may come without a count."""
    nodes: list[dict[str, Any]] = []
    children: list[list[int]] = []
    todo = [(root, -1, 0)]
    while todo:
        node, parent, side = todo.pop()
        at = len(nodes)
        if parent >= 0:
            children[parent][side] = at
        nodes.append(node)
        children.append([at, at])
        if "split_feature" in node:
            todo += [(node["right_child"], at, 1), (node["left_child"], at, 0)]
        elif "leaf_const" in node or "leaf_coeff" in node:
            raise BadInput(f"tree {tree} has linear leaves", hint="train with linear_tree=false")
    splits = [_split(node, tree) if "split_feature" in node else (0.0, False) for node in nodes]
    cover = [max(node.get("leaf_count", 1), 1) for node in nodes]
    for at in range(len(nodes) - 1, -1, -1):
        if "split_feature" in nodes[at]:
            cover[at] = sum(cover[child] for child in children[at])
    return {
        "feature": np.array([node.get("split_feature", -1) for node in nodes], np.int64),
        "threshold": np.array([threshold for threshold, _ in splits], np.float64),
        "missing_left": np.array([left for _, left in splits], np.bool_),
        "children": np.array(children, np.int64),
        "value": np.array([node.get("leaf_value", 0.0) for node in nodes], np.float64),
        "cover": np.array(cover, np.float64),
    }


def _split(node: dict[str, Any], tree: int) -> tuple[float, bool]:
    """The threshold, and whether NaN goes left (NumericalDecision in LightGBM's tree.h).

    LightGBM goes left where x <= threshold, after values of at most 1e-35 in size became 0: a threshold among those is moved
    to that side of them where 0 says it belongs. NaN is 0 unless `missing_type` is NaN; where it is Zero, both go the default
    way, which no single threshold can tell if that is not the way 0 goes anyhow.
    """
    place = f"tree {tree} splits feature {node['split_feature']}"
    if node["decision_type"] != "<=":
        raise BadInput(f"{place} by category", hint="train on numbers only")
    threshold, missing, default_left = node["threshold"], node["missing_type"], node["default_left"]
    zero_left = threshold >= 0.0
    if threshold >= _LIGHTGBM_INFINITY:
        threshold = np.inf
    if abs(threshold) <= _LIGHTGBM_ZERO:
        threshold = _LIGHTGBM_ZERO if zero_left else float(np.nextafter(-_LIGHTGBM_ZERO, -np.inf))
    if missing == "NaN":
        return threshold, default_left
    if missing == "Zero" and default_left != zero_left:
        raise BadInput(f"{place} with zeros on the far side of {threshold:g}", hint="train with zero_as_missing=false")
    if missing not in ("None", "Zero"):
        raise BadInput(f"{place} with missing_type {missing!r}", hint="None, NaN or Zero is known")
    return threshold, zero_left


def _joined(trees: list[Nodes], base: NDArray[np.float64], columns: Sequence[int], wanted: int) -> Trees:
    where = np.asarray(columns)
    if where.shape != (wanted,) or where.dtype.kind not in "iu" or where.min() < 0:
        raise BadInput(
            f"{where.size} columns are named for a model of {wanted} features", hint="one number from 0 on for each"
        )
    if not trees:
        raise BadInput("the model has no trees", hint="was it trained?")
    roots = np.cumsum([0, *(len(tree["feature"]) for tree in trees[:-1])])
    for tree, root in zip(trees, roots, strict=True):
        tree["children"] += root
    nodes = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    depth = depths(roots, nodes["feature"], nodes["children"])
    joined = Trees(columns=where.astype(np.int64), roots=roots, depth=depth, base=base.astype(np.float64), **nodes)
    if trouble := joined.trouble():
        raise BadInput(f"the trained model cannot be represented: {trouble}", hint="look at how it was trained")
    return joined

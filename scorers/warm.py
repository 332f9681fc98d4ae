"""Compile every loop now, so that the first events do not wait for it: `python -m scorers.warm`."""

from __future__ import annotations

import time

import numpy as np

from features.columns import ResolvedLabel
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from gnn.checkpoint import flat, shapes_of, weights_from
from gnn.network import Gnn
from gnn.schema import GraphSchema, Shape
from ringwatch.model import HOUR_US, Event, Label
from scorers.assess import Assessor
from scorers.forest import Forest
from scorers.learned.live_network import LiveNetwork
from scorers.learned.model import Evaluator, LearnedModel, View
from scorers.learned.trees import Trees
from scorers.policy import Policy
from scorers.registry import build_scorers
from scorers.scorer import Batch


def warm() -> float:
    """Seconds it took; well under one where the compiled code was there."""
    started = time.perf_counter()
    schema = FeatureSchema()
    event = Event("warm", "payment", 1_700_000_000_000_000, {"user": "u", "device": "d"}, amount_minor=100)
    label = ResolvedLabel(Label("event", "warm", "fraud", event.at_us), event.entities)
    features = MemoryState(schema, max_entities=1000).apply([event, label])
    scorers = build_scorers()
    Assessor(scorers, Policy(), schema).assess([event], features, np.zeros(1, np.int64))
    for scorer in scorers:
        scorer.explain(Batch([event], features, schema), 0)
    _stump().anomaly(features)
    names = ("event.amount_log", "user.mean_24h", "user/device.count_24h")
    view = View(names, _leaf())
    model = Evaluator(LearnedModel(view, view, 0.0), schema.names, ())
    scores = np.zeros((1, 0))
    for stale in (False, True):
        model.margin(features, scores, np.array([float(stale)]))
        model.explain(features, scores, stale=stale)
    network = LiveNetwork(_network(), schema)
    later = [
        Event(f"warm {h}", "payment", event.at_us + h * HOUR_US, event.entities, amount_minor=100) for h in (1, 2, 3)
    ]
    network.take([event, label, *later])
    network.close()
    return time.perf_counter() - started


def _stump() -> Forest:
    """A forest of one leaf."""
    none, leaf = np.zeros(1, np.int64), np.full(1, -1, np.int64)
    return Forest(
        none, np.zeros(1, np.float32), none, leaf, np.zeros(1), leaf, leaf, np.ones(1), np.ones(1), np.zeros(2)
    )


def _leaf() -> Trees:
    """One tree that is a leaf."""
    zero, one = np.zeros(1, np.int64), np.zeros(1)
    return Trees(
        zero,
        zero,
        zero,
        np.full(1, -1, np.int64),
        one,
        np.zeros(1, np.bool_),
        np.zeros((1, 2), np.int64),
        one,
        np.ones(1),
        one,
    )


def _network() -> Gnn:
    """A graph network that says nothing."""
    schema = GraphSchema(("user", "device"), (False, True), HOUR_US)
    shape = Shape.of(schema, 0, "sage")
    sizes = flat(shapes_of(shape))
    zeros = {name: np.zeros(tuple(size), np.float32) for name, size in sizes.items()}
    return Gnn(schema, shape, weights_from(zeros, shape, "warm"))


if __name__ == "__main__":
    print(f"the loops are compiled ({warm():.1f} s)")

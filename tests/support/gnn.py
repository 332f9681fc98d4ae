"""A small stream with users, devices and shops, and networks of random weights over it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.checkpoint import flat, shapes_of, weights_from
from gnn.history import Batch, History, Labels, tokens
from gnn.network import Gnn
from gnn.schema import Caps, GraphSchema, Shape
from ringwatch.model import HOUR_US, MINUTE_US

KINDS, CROWDED = ("user", "device", "shop"), (False, False, True)
MARK_US = 10 * MINUTE_US


def history(events: int = 400, seed: int = 0, *, delay_us: int = HOUR_US, every_us: int = 3 * MINUTE_US) -> History:
    """Some events at one instant, some exactly at a mark, some without a device; new entities all along. Two in three are labelled."""
    rng = np.random.default_rng(seed)
    at_us = np.sort(rng.integers(0, events, events)) * every_us
    ranges = (events // 6, events // 8, 4)
    columns = [rng.integers(0, many, events) + sum(ranges[:k]) for k, many in enumerate(ranges)]
    entity = np.stack(columns, 1).astype(np.int32)
    entity[rng.random(events) < 0.2, 1] = -1
    amount = rng.normal(8.0, 1.0, events).astype(np.float32)
    amount[rng.random(events) < 0.1] = np.nan
    failed = rng.integers(-1, 2, events).astype(np.int8)
    batch = Batch(at_us, rng.integers(0, 7, events).astype(np.int16), amount, failed, entity, tokens(events))
    row = np.flatnonzero(rng.random(events) < 0.67)
    fraud = (entity[row, 0] % 5 == 0) | (rng.random(len(row)) < 0.05)
    return History(batch, Labels.ordered(row, fraud.astype(np.int8), at_us[row] + delay_us), KINDS, CROWDED)


def until(h: History, rows: int) -> History:
    """Its first events, and the labels about them."""
    about = h.labels.row < rows
    labels = Labels(h.labels.row[about], h.labels.value[about], h.labels.known_us[about])
    return replace(h, events=h.events[slice(0, rows)], labels=labels)


def network(aggregation: str = "sage", dense: int = 0, seed: int = 1, later: int = 1) -> Gnn:
    schema = GraphSchema(KINDS, CROWDED, MARK_US, Caps(events=6, labelled=4, neighbours=3), later)
    shape = Shape.of(schema, dense, aggregation)
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for name, size in flat(shapes_of(shape)).items():
        arrays[name] = rng.normal(scale=0.2, size=tuple(size)).astype(np.float32)
    return Gnn(
        schema, shape, weights_from(arrays, shape, "made up"), tuple(f"f{j}" for j in range(dense)), {"seed": seed}
    )

"""Models of a small shop with a graph network of random weights, and what that says of a stream as training computes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from support.gnn import network
from support.models import SCHEMA, trained

from features.columns import Applied, ResolvedLabel
from gnn.history import FRAUD, GOOD, History, Labels
from gnn.intake import Intake
from gnn.network import Gnn
from ringwatch.model import Event, Label
from scorers.learned.model import LearnedModel

GRAPH_KINDS = ("user", "device", "card")
Numbered = tuple[int, Applied]


def gnn(memory: int = 100_000, seed: int = 1) -> Gnn:
    made = network(seed=seed)
    return replace(made, schema=replace(made.schema, kinds=GRAPH_KINDS, memory=memory))


@cache
def joined(seed: int = 1, memory: int = 100_000) -> LearnedModel:
    """Both views weigh the network; trees that stand alone say something else."""
    model = trained(seed)
    told, untold = (
        replace(view, network=weight, alone=replace(view.trees, base=view.trees.base + 0.25))
        for view, weight in ((model.told, 0.5), (model.untold, 1.5))
    )
    return replace(model, told=told, untold=untold, network=gnn(memory, seed))


def offline(one: Gnn, items: Sequence[Numbered]) -> NDArray[np.float64]:
    """Margins of all events of a stream, as training has them."""
    events = [item for _, item in items if isinstance(item, Event)]
    row = {event.event_id: i for i, event in enumerate(events)}
    labels = [item.label for _, item in items if isinstance(item, ResolvedLabel) and item.label.target_id in row]
    known = Labels.ordered(
        np.array([row[label.target_id] for label in labels], np.int64),
        np.array([FRAUD if label.label == "fraud" else GOOD for label in labels], np.int8),
        np.array([label.known_at_us for label in labels], np.int64),
    )
    batch = Intake(SCHEMA, GRAPH_KINDS).batch(events)
    return one.margins(History(batch, known, GRAPH_KINDS, one.schema.crowded), np.arange(len(events)))


class Written:
    """What was scored before, written down a batch late; `ledger.store.LedgerStore` for networks."""

    def __init__(self, items: Sequence[Numbered] = ()) -> None:
        self.items: list[tuple[int, Event | Label]] = []
        self.add(items)

    def add(self, items: Sequence[Numbered]) -> None:
        self.items += [(seq, item.label if isinstance(item, ResolvedLabel) else item) for seq, item in items]

    def last_seq(self) -> int:
        return self.items[-1][0] if self.items else -1

    def replay(self, *, after_seq: int, chunk: int = 20) -> Iterator[Sequence[tuple[int, Event | Label]]]:
        known = [pair for pair in self.items if pair[0] > after_seq]
        yield from (known[start : start + chunk] for start in range(0, len(known), chunk))


def until(so: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)

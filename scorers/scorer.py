"""The scorer protocol: batch in, values in [0, 1] out, with reasons for the events worth explaining.

Scorers are pure functions of the batch's features and events, in a fixed order of rows: a batch of n gives what n
batches of one give, to the bit. A scorer that lacks what it needs for an event abstains there (NaN); it never
pretends a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.model import Event


@dataclass(frozen=True)
class Batch:
    """Events in order with their features.

    `features`: float32 of shape (n, schema.size), NaN where missing; read-only.
    """

    events: Sequence[Event]
    features: NDArray[np.float32]
    schema: FeatureSchema
    ring_ids: Sequence[str | None] = ()
    """The ring of each event's user; empty where rings are not kept."""

    def ring_id(self, row: int) -> str | None:
        return self.ring_ids[row] if self.ring_ids else None

    def __len__(self) -> int:
        return len(self.events)

    def column(self, name: str) -> NDArray[np.float32]:
        """One feature for all events, shape (n,); all NaN when the schema has no such feature."""
        i = self.schema.index.get(name)
        if i is None:
            return np.full(len(self.events), np.nan, np.float32)
        return self.features[:, i]


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason before its contribution is known. `weight` >= 0 is relative among the findings of one scorer and
    event."""

    code: str
    """Without the scorer's name, for example "shared_device"."""
    text: str
    weight: float = 1.0
    kind: str | None = None
    entity: str | None = None


class Scorer(Protocol):
    """The class docstring of an implementation is the analyst's text."""

    name: str
    version: str

    def score(self, batch: Batch) -> NDArray[np.float64]:
        """Values in [0, 1], shape (n,); NaN where it abstains. Must not change the batch."""
        ...

    def explain(self, batch: Batch, row: int) -> Sequence[Finding]:
        """The findings behind one row's value; at least one when the value is above 0."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A scorer that learns from the stream at fixed marks of event time.

    The pipeline cuts batches at `next_mark_us` and calls `learn` with every scored batch, in order, then `advance` when
    event time reaches the mark. What it fits there is used from a stated later mark on.
    """

    next_mark_us: int | None
    """Event time (microseconds) at which `advance` must be called before scoring; None before the first event."""

    def learn(self, batch: Batch) -> None: ...

    def advance(self, at_us: int) -> None: ...

    def dump(self) -> dict[str, NDArray[Any]]:
        """Everything it has learned, as plain arrays (no pickles)."""
        ...

    def load(self, arrays: dict[str, NDArray[Any]]) -> None: ...

    def model(self) -> dict[str, NDArray[Any]]:
        """What it scores with now, for other processes; empty before there is anything."""
        ...

    def use(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Score with what `model` gave elsewhere."""
        ...

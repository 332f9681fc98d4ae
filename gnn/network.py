"""A trained network: scores events of a history, or of a stream as they come. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnn.encode import Weights, first_layer, head, second_layer
from gnn.history import History
from gnn.records import Placed, Refresh, Replay
from gnn.replay import replay
from gnn.schema import AGGREGATIONS, GraphSchema, Shape
from ringwatch.errors import BadInput


class Scored(NamedTuple):
    """What the network says of some events."""

    margin: NDArray[np.float64]
    """(n,): log-odds of fraud."""
    embeddings: NDArray[np.float32]
    """(n, kinds, width): of each event's entities; zeros where there is none."""
    age_us: NDArray[np.int64]
    """(n, kinds): of the embeddings; -1 where one was made for this event, or there is no entity."""


@dataclass(frozen=True, slots=True)
class Gnn:
    """Weights with what they are for."""

    schema: GraphSchema
    shape: Shape
    weights: Weights
    features: tuple[str, ...] = ()
    """Names of the caller's features, in order."""
    card: dict[str, Any] = field(default_factory=dict)
    """Seed, metrics and data of its training."""

    def margins(
        self,
        history: History,
        rows: NDArray[np.int64],
        features: NDArray[np.float32] | None = None,
        done: Replay | None = None,
    ) -> NDArray[np.float64]:
        """Log-odds of fraud, (rows,), of events of a history, each by what was known before it. `features`: (rows, m)."""
        return self.score(history, rows, features, done).margin

    def embeddings(self, history: History, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(rows, kinds, width): of the entities of events of a history, as of the last mark before each."""
        empty = np.full((len(rows), self.shape.dense), np.nan, np.float32)
        return self.score(history, rows, empty).embeddings

    def score(
        self,
        history: History,
        rows: NDArray[np.int64],
        features: NDArray[np.float32] | None = None,
        done: Replay | None = None,
    ) -> Scored:
        """Both, with the embeddings' ages: the same bits that `Live` gives for the whole stream. `done`: its replay by the same schema."""
        done = replay(history, self.schema) if done is None else done
        some = Placed._make(a[rows] for a in done.placed)
        inner = np.unique(some.version[some.version >= 0]).astype(np.int64)
        met = done.made.met_version[inner]
        outer = np.union1d(inner, met[met >= 0]).astype(np.int64)
        first = self.first(done.rows, Refresh._make(a[outer] for a in done.made))
        where = np.where(met >= 0, np.searchsorted(outer, met), -1)
        embedded = np.zeros((len(inner), self.shape.width), np.float32)
        second_layer(
            self.weights, self.code, self.shape.heads, done.made.kind[inner], first, np.searchsorted(outer, inner), where,
            np.where(met >= 0, done.made.kind[met], -1), done.made.met_age_us[inner], embedded,
        )  # fmt: skip
        places = np.where(some.version >= 0, np.searchsorted(inner, some.version), -1)
        return self.head(some, done.rows.type[rows], history.events.entity[rows], places, features, embedded)

    @property
    def code(self) -> int:
        """Of its aggregation, for the compiled loops."""
        return AGGREGATIONS.index(self.shape.aggregation)

    def first(self, rows: Any, made: Refresh) -> NDArray[np.float32]:
        """(m, width): the first layer of the entities refreshed."""
        out = np.zeros((len(made.entity), self.shape.width), np.float32)
        first_layer(
            self.weights,
            self.code,
            self.shape.heads,
            rows,
            made.mark_us,
            made.kind,
            made.own,
            made.events,
            made.labelled,
            out,
        )
        return out

    def head(
        self, some: Placed, types: NDArray[np.int16], entity: NDArray[np.int32], where: NDArray[np.int64],
        features: NDArray[np.float32] | None, embedded: NDArray[np.float32],
    ) -> Scored:  # fmt: skip
        """Events as placed, their entities' embeddings at `where` (n, kinds) of `embedded`."""
        n = len(where)
        dense = np.zeros((n, 0), np.float32) if features is None else np.ascontiguousarray(features, np.float32)
        if dense.shape != (n, self.shape.dense):
            raise BadInput(
                f"features of shape {dense.shape} for {n} events of a network of {self.shape.dense} features",
                hint=f"give {', '.join(self.features)}" if self.features else "it was trained without any",
            )
        slots = np.zeros((n, *where.shape[1:], self.shape.width), np.float32)
        margin = np.zeros(n, np.float32)
        head(self.weights, some.x, types, entity, where, some.age_us, dense, embedded, slots, margin)
        return Scored(margin.astype(np.float64), slots, np.where(some.version >= 0, some.age_us, -1))

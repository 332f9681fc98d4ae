"""What the books hold and give: arrays of rows, of entities, of what embeddings are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnn.history import NEVER_US
from gnn.schema import GraphSchema

RATES = 3


class Rows(NamedTuple):
    """Events as messages; a row each, more rows reserved than used."""

    at_us: NDArray[np.int64]
    x: NDArray[np.float32]
    """(n, inputs): `GraphSchema.names`, as of the event, which is not in its own counts."""
    type: NDArray[np.int16]
    entity: NDArray[np.int32]
    """(n, kinds)"""
    label: NDArray[np.int8]
    """-1 where none is known; the first one counts."""
    known_us: NDArray[np.int64]
    token: NDArray[np.uint64]


class Entities(NamedTuple):
    """What is kept beside an entity; more reserved than used."""

    kind: NDArray[np.int16]
    seen: NDArray[np.int64]
    """How many events."""
    first_us: NDArray[np.int64]
    last_us: NDArray[np.int64]
    amount: NDArray[np.float64]
    """(n, 2): how many amounts, and the mean of their logs."""
    rates: NDArray[np.float64]
    """(n, 3): events, fading over an hour, a day, a week, as of `last_us`."""
    events: NDArray[np.int64]
    """(n, 12): rows, in a ring."""
    kept: NDArray[np.int64]
    """How many were put in it."""
    labelled: NDArray[np.int64]
    """(n, 8): rows, in a ring."""
    told: NDArray[np.int64]
    met: NDArray[np.int32]
    """(n, 5): entities, the last one first; -1 where there are fewer."""
    met_us: NDArray[np.int64]
    met_row: NDArray[np.int64]
    """(n, 5): the event at which."""
    born: NDArray[np.int64]
    """Row of its first event since it was new or forgotten."""
    last_row: NDArray[np.int64]
    """Row of its last event."""
    version: NDArray[np.int64]
    """Number of its newest embedding; -1 where it has none yet."""
    mark_us: NDArray[np.int64]
    """Of that embedding."""
    before: NDArray[np.int64]
    """The embedding before it, which counts until the newest does; -1 for none."""
    before_us: NDArray[np.int64]
    side: NDArray[np.int8]
    """0 or 1: which of an entity's two places the newest has, so that it can be computed while the one before still counts."""
    touched: NDArray[np.bool_]


class Refresh(NamedTuple):
    """What the embeddings of one mark are made of: a row for each entity that is refreshed, in the order it was touched."""

    mark_us: NDArray[np.int64]
    """(m,)"""
    entity: NDArray[np.int32]
    kind: NDArray[np.int16]
    own: NDArray[np.float32]
    """(m, 6): `gnn.schema.OWN`."""
    events: NDArray[np.int32]
    """(m, 12): where they are in `Rows`, the latest first; -1 where there are fewer."""
    labelled: NDArray[np.int32]
    """(m, 8): the same, the one known last first."""
    met: NDArray[np.int32]
    """(m, 5): entities."""
    met_version: NDArray[np.int64]
    """(m, 5): their embeddings, as of this mark; -1 for none."""
    met_age_us: NDArray[np.int64]
    """(m, 5): from the last event together to the mark."""
    place: NDArray[np.int64]
    """(m,): where its embedding goes: twice the entity's number, and its side."""


class Placed(NamedTuple):
    """What was known of the entities of a batch's events just before each."""

    x: NDArray[np.float32]
    """(n, inputs)"""
    version: NDArray[np.int64]
    """(n, kinds): number of the embedding that counts for this event; -1 for none."""
    age_us: NDArray[np.int64]
    """(n, kinds): from its mark to the event; 0 for none."""
    place: NDArray[np.int64]
    """(n, kinds): where that embedding is; -1 for none."""


class Replay(NamedTuple):
    """A history, replayed: all embeddings there ever were, by what they are made of, and which of them each event meets."""

    rows: Rows
    placed: Placed
    made: Refresh


def rows_of(n: int, schema: GraphSchema) -> Rows:
    kinds = len(schema.kinds)
    return Rows(
        np.zeros(n, np.int64), np.zeros((n, schema.inputs), np.float32), np.zeros(n, np.int16),
        np.full((n, kinds), -1, np.int32), np.full(n, -1, np.int8), np.full(n, NEVER_US), np.zeros(n, np.uint64),
    )  # fmt: skip


def entities_of(n: int, schema: GraphSchema) -> Entities:
    caps = schema.caps

    def zeros(*size: int) -> NDArray[np.int64]:
        return np.zeros((n, *size), np.int64)

    return Entities(
        np.zeros(n, np.int16), zeros(), zeros(), zeros(), np.zeros((n, 2)), np.zeros((n, RATES)), zeros(caps.events), zeros(),
        zeros(caps.labelled), zeros(), np.full((n, caps.neighbours), -1, np.int32), zeros(caps.neighbours), zeros(caps.neighbours),
        zeros(), zeros(), zeros() - 1, zeros(), zeros() - 1, zeros(), np.zeros(n, np.int8), np.zeros(n, np.bool_),
    )  # fmt: skip


def placed_of(parts: Sequence[Placed], schema: GraphSchema) -> Placed:
    """Joined; of none, nothing."""
    n = (0, len(schema.kinds))
    nothing = Placed(
        np.zeros((0, schema.inputs), np.float32), np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    )
    return Placed._make(np.concatenate(all_of) for all_of in zip(nothing, *parts, strict=True))


def matching(array: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """A copy of it. Raises ValueError for another shape or type."""
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(f"{array.dtype} of {array.shape}, not {like.dtype} of {like.shape}")
    return array.copy()


def grown(old: tuple[NDArray[Any], ...], new: tuple[NDArray[Any], ...]) -> tuple[NDArray[Any], ...]:
    for before, after in zip(old, new, strict=True):
        after[: len(before)] = before
    return new

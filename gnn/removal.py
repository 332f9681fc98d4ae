"""What the network says of an event without some of the links it saw: the counterfactuals of a graph network. No torch here.

Links are of two sorts: the event's to one of its entities, and that entity's to one of those it last met. Without the first the head sees no
such entity; without the second the entity's embedding is computed anew from those that are left. What the event says of itself (amount,
time, how old and busy its entities are) stays, unless it is to be as if it had not named the entity at all.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnn.encode import second_layer
from gnn.network import Gnn
from gnn.records import Placed, Refresh, Replay
from gnn.schema import COMMON, SLOT


class Link(NamedTuple):
    """A link that the network saw."""

    kind: int
    """Of the event's entity."""
    met: int
    """Place among those that entity last met, 0 the latest; -1: the event's own link to it."""


class Hood(NamedTuple):
    """What the network sees of one event. Kinds are those of its schema; of one without an embedding there are zeros and -1."""

    x: NDArray[np.float32]
    type: int
    entity: NDArray[np.int32]
    """(kinds,): -1 for none."""
    age_us: NDArray[np.int64]
    dense: NDArray[np.float32]
    first: NDArray[np.float32]
    """(kinds, 1 + neighbours, width): first layer of the entity, then of those it met."""
    known: NDArray[np.bool_]
    """(kinds,): whether an embedding counts."""
    embedded: NDArray[np.float32]
    """(kinds, width): that embedding. One of an entity whose `met_kind` is all -1 may rest on links that are not told here."""
    met_kind: NDArray[np.int16]
    """(kinds, neighbours): -1 for none."""
    met_age_us: NDArray[np.int64]


def hood_of(gnn: Gnn, done: Replay, row: int, dense: NDArray[np.float32] | None = None) -> Hood:
    """Of an event of a replay by the network's schema. `dense`: the caller's features of it."""
    kinds, near, width = len(gnn.schema.kinds), gnn.schema.caps.neighbours, gnn.shape.width
    version = done.placed.version[row]
    first = np.zeros((kinds, 1 + near, width), np.float32)
    met_kind, met_age_us = np.full((kinds, near), -1, np.int16), np.zeros((kinds, near), np.int64)
    for k in np.flatnonzero(version >= 0).tolist():
        met = done.made.met_version[version[k]]
        there = np.flatnonzero(met >= 0)
        made = Refresh._make(a[np.append(version[k], met[there])] for a in done.made)
        first[k, np.append(0, 1 + there)] = gnn.first(done.rows, made)
        met_kind[k, there] = made.kind[1:]
        met_age_us[k] = done.made.met_age_us[version[k]]
    given = np.full(gnn.shape.dense, np.nan, np.float32) if dense is None else dense
    hood = Hood(
        done.placed.x[row], int(done.rows.type[row]), done.rows.entity[row], done.placed.age_us[row], given, first, version >= 0,
        np.zeros((kinds, width), np.float32), met_kind, met_age_us,
    )  # fmt: skip
    of = np.flatnonzero(hood.known)
    hood.embedded[of] = embedded_without(gnn, hood, of, np.zeros((len(of), near), np.bool_))
    return hood


def embedded_without(gnn: Gnn, hood: Hood, of: NDArray[np.int64], gone: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(m, width): embeddings of the entities of kinds `of` (m,) without some of their links, (m, neighbours)."""
    near = hood.met_kind.shape[1]
    places = of[:, None] * (1 + near) + np.arange(1, 1 + near)
    met = np.where((hood.met_kind[of] >= 0) & ~gone, places, -1)
    embedded = np.zeros((len(of), gnn.shape.width), np.float32)
    second_layer(
        gnn.weights, gnn.code, gnn.shape.heads, of.astype(np.int16), hood.first.reshape(-1, gnn.shape.width), of * (1 + near), met,
        hood.met_kind[of], hood.met_age_us[of], embedded,
    )  # fmt: skip
    return embedded


def links_of(hood: Hood) -> list[Link]:
    """Those behind embeddings; what the event alone says of a new entity is no link."""
    own = [Link(k, -1) for k in np.flatnonzero(hood.known).tolist()]
    return own + [Link(k, p) for k, p in np.argwhere(hood.met_kind >= 0).tolist()]


def margins_without(gnn: Gnn, hood: Hood, removals: Sequence[Set[Link]], *, named: bool = True) -> NDArray[np.float64]:
    """Log-odds of fraud, one for each set of links that is removed. `named`: the event still says of itself what it says of an entity whose
    link is removed; else as if it had not named it."""
    n, (kinds, near) = len(removals), hood.met_kind.shape
    gone = np.zeros((n, kinds, 1 + near), np.bool_)
    for i, removed in enumerate(removals):
        for link in removed:
            gone[i, link.kind, 1 + link.met] = True
    gone[:, :, 1:] &= hood.met_kind >= 0
    left = hood.known & ~gone[:, :, 0]
    at, of = np.nonzero(left & gone[:, :, 1:].any(axis=2))
    anew, same = np.unique(np.column_stack([of, gone[at, of, 1:]]), axis=0, return_inverse=True)
    embedded = np.concatenate([hood.embedded, embedded_without(gnn, hood, anew[:, 0], anew[:, 1:].astype(np.bool_))])
    where = np.where(left, np.arange(kinds), -1)
    where[at, of] = kinds + same.reshape(-1)
    without = gone[:, :, 0]
    x = np.repeat(hood.x[None], n, 0)
    if not named:
        for k in range(kinds):
            start = len(COMMON) + len(SLOT) * k
            x[without[:, k], start : start + len(SLOT)] = 0.0
    entity = np.where(without, np.int32(-1), hood.entity).astype(np.int32)
    some = Placed(x, where, np.where(without, 0, hood.age_us), where)
    types = np.full(n, hood.type, np.int16)
    return gnn.head(some, types, entity, where, np.repeat(hood.dense[None], n, 0), embedded).margin

"""A few events of a replay and what their embeddings are made of, as one small graph: the minibatch of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn.records import Replay
from ringwatch.model import MICROSECONDS

UNKNOWN, KNOWN_GOOD, KNOWN_FRAUD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Edges:
    """Messages, sorted by type: the kind of the entity they go to, of neighbours that and the kind they come from."""

    sizes: list[int]
    """Messages of each type."""
    to: NDArray[np.int64]
    """(e,)"""
    source: NDArray[np.int64]
    """(e,): a row of the replay (events), or an entity of the graph (neighbours)."""
    position: NDArray[np.int64]
    """(e,): 0 for the latest."""
    age_s: NDArray[np.float32]
    """(e,): from the event to the mark."""
    state: NDArray[np.int64]
    """(e,): of the event's label as of the mark: unknown, good, fraud; 0 of neighbours."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Entities as of marks, sorted by kind: the first layer's, of which the second layer's are some."""

    sizes: list[int]
    """First layer's entities of each kind."""
    own: NDArray[np.float32]
    """(first, 6)"""
    events: Edges
    labelled: Edges
    inner_sizes: list[int]
    inner: NDArray[np.int64]
    """(second,): where the second layer's are in the first."""
    met: Edges
    slots: NDArray[np.int64]
    """(n, kinds): which of the second layer's entities an event's embedding is; -1 for none."""
    rows: NDArray[np.int64]
    """(n,): the events."""
    age_s: NDArray[np.float32]
    """(n, kinds): of the embeddings."""


@dataclass(frozen=True, slots=True)
class Hiding:
    """Labels that are hidden from the graph: those known within `span_us` before a mark, and all known after `after_us`."""

    span_us: float = 0.0
    after_us: float = np.inf


def graph_of(replay: Replay, rows: NDArray[np.int64], hiding: Hiding) -> Graph:
    """For events given by row: the embeddings that count for each, with their neighbours."""
    placed, made, kinds = replay.placed, replay.made, replay.placed.version.shape[1]
    version = placed.version[rows]
    inner = _by_kind(np.unique(version[version >= 0]), made.kind)
    met = made.met_version[inner]
    outer = _by_kind(np.union1d(inner, met[met >= 0]), made.kind)
    where = _Places(outer)
    slots = np.where(version >= 0, _Places(inner).of(version), -1)
    return Graph(
        np.bincount(made.kind[outer], minlength=kinds).tolist(), made.own[outer],
        _events(replay, outer, made.events[outer], hiding, known_only=False),
        _events(replay, outer, made.labelled[outer], hiding, known_only=True),
        np.bincount(made.kind[inner], minlength=kinds).tolist(), where.of(inner),
        _met(replay, inner, where), slots, rows, _seconds(placed.age_us[rows]),
    )  # fmt: skip


class _Places:
    """Where each of some versions is among them."""

    def __init__(self, versions: NDArray[np.int64]) -> None:
        self._order = np.argsort(versions)
        self._sorted = versions[self._order]

    def of(self, some: NDArray[np.integer]) -> NDArray[np.int64]:
        if not len(self._order):
            return np.zeros(some.shape, np.int64)
        found = np.searchsorted(self._sorted, some)
        return self._order[np.minimum(found, len(self._order) - 1)]


def _by_kind(versions: NDArray[np.integer], kind: NDArray[np.int16]) -> NDArray[np.int64]:
    return versions[np.argsort(kind[versions], kind="stable")].astype(np.int64)


def _seconds(us: NDArray[np.int64]) -> NDArray[np.float32]:
    return (us / MICROSECONDS).astype(np.float32)


def _events(
    replay: Replay, outer: NDArray[np.int64], lists: NDArray[np.int32], hiding: Hiding, *, known_only: bool
) -> Edges:
    to, position = np.nonzero(lists >= 0)
    row, mark_us = lists[to, position], replay.made.mark_us[outer][to]
    known_us = replay.rows.known_us[row]
    seen = (known_us <= mark_us - hiding.span_us) & (known_us <= hiding.after_us)
    state = np.where(seen, 1 + replay.rows.label[row].astype(np.int64), UNKNOWN)
    if known_only:
        to, position, row, state, mark_us = to[seen], position[seen], row[seen], state[seen], mark_us[seen]
    sizes = np.bincount(replay.made.kind[outer[to]], minlength=replay.rows.entity.shape[1]).tolist()
    return Edges(sizes, to, row.astype(np.int64), position, _seconds(mark_us - replay.rows.at_us[row]), state)


def _met(replay: Replay, inner: NDArray[np.int64], where: _Places) -> Edges:
    lists = replay.made.met_version[inner]
    to, position = np.nonzero(lists >= 0)
    kind, kinds = replay.made.kind.astype(np.int64), replay.rows.entity.shape[1]
    relation = kind[inner[to]] * kinds + kind[lists[to, position]]
    order = np.argsort(relation, kind="stable")
    to, position = to[order], position[order]
    age_s = _seconds(replay.made.met_age_us[inner][to, position])
    sizes = np.bincount(relation, minlength=kinds * kinds).tolist()
    return Edges(sizes, to, where.of(lists[to, position]), position, age_s, np.zeros(len(to), np.int64))

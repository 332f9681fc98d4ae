"""A history, replayed: which embeddings each event meets, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gnn.book import Book
from gnn.history import Batch, History, Labels
from gnn.records import Placed, Refresh, Replay, Rows, placed_of
from gnn.schema import GraphSchema


def replay(
    history: History, schema: GraphSchema, *, since: int | None = None, progress: Callable[[float], None] | None = None
) -> Replay:
    """Of all events, in chunks whose size changes nothing. With `since` embeddings are kept for events from that row on, and those
    before have none, so that what is kept does not grow with what came before."""
    book = Book(schema, keeps_rows=True)
    made: list[Refresh] = []
    placed: list[Placed] = []
    kept = _Kept(schema)
    book.reserve(len(history.events), history.entities)
    for batch, labels in chunks(history, 20_000):
        first = book.used
        placed.append(book.apply(batch, labels, lambda some, _: made.append(some)))
        if since is not None:
            placed[-1].version[: max(since - first, 0)] = -1
            kept.add(made, placed[-1], book)
            made.clear()
        if progress is not None:
            progress(book.used / len(history.events))
    rows = Rows._make(a[: book.used] for a in book.rows)
    whole = placed_of(placed, schema)._replace(x=rows.x)
    return Replay(rows, whole, kept.all_of(made)) if since is None else kept.replay(rows, whole)


class _Kept:
    """Embeddings that events meet or that may still be met, by number, and those that they are made of."""

    def __init__(self, schema: GraphSchema) -> None:
        self._made = Book(schema).snapshot()
        self._number = np.zeros(0, np.int64)
        self._wanted = np.zeros(0, np.int64)
        """Of events."""
        self._least = 200_000

    def all_of(self, made: Sequence[Refresh]) -> Refresh:
        """Those kept so far, and these."""
        return Refresh._make(np.concatenate(parts) for parts in zip(self._made, *made, strict=True))

    def add(self, made: Sequence[Refresh], placed: Placed, book: Book) -> None:
        new = self.all_of(made)
        many = len(new.entity) - len(self._made.entity)
        self._made = new
        self._number = np.append(self._number, np.arange(book.versions - many, book.versions))
        self._wanted = np.union1d(self._wanted, placed.version[placed.version >= 0])
        if len(self._number) > self._least:
            current = np.concatenate([book.entities.version, book.entities.before])
            self._keep(np.union1d(self._wanted, current[current >= 0]))
            self._least = max(2 * len(self._number), self._least)

    def _keep(self, wanted: NDArray[np.int64]) -> None:
        """These, and those that they met."""
        met = self._made.met_version[np.searchsorted(self._number, wanted)]
        some = np.searchsorted(self._number, np.union1d(wanted, met[met >= 0]))
        self._made = Refresh._make(a[some] for a in self._made)
        self._number = self._number[some]

    def replay(self, rows: Rows, placed: Placed) -> Replay:
        """Numbered anew, from 0; what the embeddings that are only met have met is not there."""
        self._keep(self._wanted)
        met = self._made.met_version
        there = np.isin(met, self._number)
        self._made.met_version[:] = np.where(there, np.searchsorted(self._number, met), -1)
        version = np.where(placed.version >= 0, np.searchsorted(self._number, placed.version), -1)
        return Replay(rows, placed._replace(version=version), self._made)


def chunks(history: History, size: int) -> Iterator[tuple[Batch, Labels]]:
    """Its events in batches, each with the labels known before the next one begins."""
    events, labels, told = history.events, history.labels, 0
    for start in range(0, len(events), size):
        stop = min(start + size, len(events))
        until = len(labels) if stop == len(events) else int(np.searchsorted(labels.known_us, events.at_us[stop]))
        yield events[start:stop], labels[told:until]
        told = until

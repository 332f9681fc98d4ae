"""The network over a stream as it comes: the same bits as over a whole history. No torch here."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn.book import Book
from gnn.encode import second_layer
from gnn.history import Batch, Labels
from gnn.kept import Kept, hood_at
from gnn.network import Gnn, Scored
from gnn.records import Placed, Refresh, matching
from gnn.removal import Hood


class Live:
    """Feed it in order, in batches of any size; the same bits for each.

    What a mark's embeddings are made of is copied at the mark; they are computed in a thread of their own and waited for where an event
    needs them, which with `GraphSchema.later` is a mark later. One caller at a time; `close` ends the thread."""

    def __init__(self, gnn: Gnn) -> None:
        self.gnn = gnn
        self.book = Book(gnn.schema)
        self._first = np.zeros((0, gnn.shape.width), np.float32)
        self._embedded = self._first.copy()
        """(2 * entities, width): at `Placed.place`."""
        self._thread = ThreadPoolExecutor(1, "embeddings")
        self._running: deque[tuple[int, Future[None]]] = deque()
        """What is being computed, the oldest first: the number of its last embedding, and who tells when it is done."""
        self._last_done = -1
        self._kept = Kept(gnn.schema, gnn.shape.width)
        self._scored: tuple[Batch, Placed, Scored] | None = None

    def close(self) -> None:
        self._thread.shutdown()

    def settle(self) -> None:
        """Wait until nothing is being computed."""
        self._wait(self.book.versions - 1)

    def dump(self) -> dict[str, NDArray[Any]]:
        """Books and embeddings, for `load`."""
        self.settle()
        kept = {f"kept.{name}": a for name, a in self._kept.dump().items()}
        return {**self.book.dump(), "first": self._first, "embedded": self._embedded, **kept}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """What `dump` of a network of this schema and shape gave. Raises KeyError or ValueError for anything else."""
        self.settle()
        self.book.load(arrays)
        many, width = len(arrays["first"]), self.gnn.shape.width
        self._first = matching(arrays["first"], np.zeros((many, width), np.float32))
        self._embedded = matching(arrays["embedded"], np.zeros((2 * many, width), np.float32))
        self._last_done = self.book.versions - 1
        self._kept.load({name.removeprefix("kept."): a for name, a in arrays.items() if name.startswith("kept.")})

    def forget(self, entities: NDArray[np.int64]) -> None:
        """Numbers that others may have from now on."""
        self._kept.forget(entities)

    def hood(self, row: int) -> tuple[Hood, NDArray[np.int32]]:
        """What was seen of an event of the last batch, and the numbers of those its entities met, (kinds, neighbours), -1 for none."""
        assert self._scored is not None
        batch, placed, scored = self._scored
        return hood_at(self._kept, int(batch.type[row]), batch.entity[row], placed, scored, row)

    def apply(self, batch: Batch, labels: Labels, features: NDArray[np.float32] | None = None) -> Scored:
        """Scores events by what was known before each, then remembers them; `labels` as in `Book.apply`."""
        done: list[Scored] = []
        scored = 0

        def up_to(placed: Placed) -> None:
            nonlocal scored
            some = slice(scored, len(placed.x))
            scored = len(placed.x)
            part = Placed._make(a[some] for a in placed)
            self._wait(int(part.version.max(initial=-1)))
            here = None if features is None else features[some]
            done.append(self.gnn.head(part, batch.type[some], batch.entity[some], part.place, here, self._embedded))

        def refresh(made: Refresh, placed: Placed) -> None:
            if len(placed.x) > scored:
                up_to(placed)
            self._refresh(made)

        placed = self.book.apply(batch, labels, refresh)
        up_to(placed)
        found = done[0] if len(done) == 1 else Scored(*(np.concatenate(parts) for parts in zip(*done, strict=True)))
        self._scored = batch, placed, found
        return found

    def _wait(self, version: int) -> None:
        """Until that embedding is there."""
        while version > self._last_done:
            self._last_done, running = self._running.popleft()
            running.result()

    def _refresh(self, made: Refresh) -> None:
        size, width = len(self.book.entities.kind), self.gnn.shape.width
        if size > len(self._first):
            self._wait(self.book.versions - len(made.entity) - 1)
            more = np.zeros((size - len(self._first), width), np.float32)
            self._first = np.append(self._first, more, 0)
            self._embedded = np.concatenate([self._embedded, more, more])
        met_kind = np.where(made.met >= 0, self.book.entities.kind[made.met], -1).astype(np.int16)
        rows, first, embedded = self.book.rows, self._first, self._embedded
        keep = self._kept.note(made, met_kind, self.book.versions)

        def compute() -> None:
            gnn, one = self.gnn, made.entity
            first[one] = mine = gnn.first(rows, made)
            keep(mine)
            out = np.zeros((len(one), width), np.float32)
            second_layer(
                gnn.weights, gnn.code, gnn.shape.heads, made.kind, first, one.astype(np.int64), made.met.astype(np.int64),
                met_kind, made.met_age_us, out,
            )  # fmt: skip
            embedded[made.place] = out

        self._running.append((self.book.versions - 1, self._thread.submit(compute)))

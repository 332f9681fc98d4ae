"""The graph writer: a thread that turns decisions into graph batches, off the scoring path."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Self

import numpy as np

from graph.aggregate import Aggregator
from graph.store import GraphStore
from ringwatch.errors import Conflict
from scorers.decision import Decisions

POLL_S = 0.5
"""How often a waiting side looks whether the other is still there."""


class GraphWriter:
    """Takes decisions in running order, aggregates them and applies a batch once `batch_links` links are pending.

    `submit` waits while `queue_events` events or more are queued (back-pressure). Decisions at or below the store's
    applied position are skipped row by row, so a restart that replays them changes nothing. An error of the store stops
    the writer; the next `submit`, `flush` or `close` raises it. What was not applied then is applied by a replay.
    One thread may submit; the store's merge does not depend on where batches are cut.
    """

    def __init__(
        self,
        store: GraphStore,
        batch_links: int = 20_000,
        *,
        queue_events: int = 16_000,
        partition: str = "0",
    ) -> None:
        self._store = store
        self._batch_links = batch_links
        self._partition = partition
        self._aggregator: Aggregator | None = None
        self._taken = store.applied_position(partition)
        self._queue: queue.SimpleQueue[Decisions | Future[int] | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._queue_events = queue_events
        self._queued = 0
        self._ended: Future[None] = Future()
        """Done when the thread has ended, with what stopped it."""
        self._thread = threading.Thread(target=self._run, name="graph-writer", daemon=True)
        self._thread.start()

    def submit(self, decisions: Decisions) -> None:
        """Queue decisions, in running order. Raises what stopped the writer; `Conflict` after `close`."""
        self._put(decisions)

    def flush(self) -> int:
        """Wait until everything submitted is applied; the store's position then."""
        done: Future[int] = Future()
        self._put(done)
        while True:
            try:
                return done.result(timeout=POLL_S)
            except TimeoutError:
                self._raise_if_stopped(done)

    def close(self) -> None:
        """Apply everything submitted and stop the thread; the store stays open. Raises what stopped the writer."""
        if not self._ended.done():
            self._put(None)
        self._thread.join()
        self._ended.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, item: Decisions | Future[int] | None) -> None:
        self._raise_if_stopped()
        with self._room:
            while _events(item) and self._queued >= self._queue_events:
                self._room.wait(POLL_S)
                self._raise_if_stopped()
            self._queued += _events(item)
        self._queue.put(item)

    def _raise_if_stopped(self, waiting: Future[int] | None = None) -> None:
        if self._ended.done() and not (waiting is not None and waiting.done()):
            self._ended.result()
            raise Conflict("the graph writer is closed", hint="submit before close, or make a new writer")

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - a top: it is raised again where it is waited for
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    def _work(self) -> None:
        """Until `None` arrives."""
        while True:
            item = self._queue.get()
            if isinstance(item, Decisions):
                self._take(item)
                with self._room:
                    self._queued -= len(item)
                    self._room.notify_all()
                continue
            self._apply()
            if item is None:
                return
            item.set_result(self._store.applied_position(self._partition))

    def _take(self, decisions: Decisions) -> None:
        start = int(np.searchsorted(decisions.seq, self._taken, side="right"))
        if start == len(decisions):
            return
        if self._aggregator is None:
            self._aggregator = Aggregator(decisions.schema.kinds)
        self._aggregator.add(decisions, start=start)
        self._taken = int(decisions.seq[-1])
        if max(self._aggregator.links, self._aggregator.entities // 2) >= self._batch_links:
            self._apply()

    def _apply(self) -> None:
        if self._aggregator is not None and self._taken > self._store.applied_position(self._partition):
            self._store.apply(self._aggregator.take(self._taken, self._partition))


def _events(item: Decisions | Future[int] | None) -> int:
    return len(item) if isinstance(item, Decisions) else 0

"""Decisions out: dead letters, the ledger, then the graph. In order, on a thread of its own.

While one batch is written the next is scored; batches that gather meanwhile share a transaction, and so its flush to disk.
The graph is told only what the ledger holds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, Queue
from time import perf_counter

from graph.writer import GraphWriter
from ingest.dead_letter import DeadLetterFile
from ledger.store import LedgerStore, LedgerWrite

log = logging.getLogger(__name__)
AHEAD = 2
"""Batches that may wait for the ledger; then whoever scores waits too."""
Spent = dict[str, float]
"""stage -> seconds."""
_Waiting = tuple[LedgerWrite, "Future[Spent]"]


class Outlets:
    """Where decisions go. `put` and `flush` belong to one thread, the one that scores.

    When the ledger fails nothing more is written: `put` and the futures of what waits raise what stopped it. When the graph
    fails the ledger goes on, and `graph_error` says so; a replay makes up for it.
    """

    def __init__(self, ledger: LedgerStore, graph: GraphWriter | None, dead_letters: DeadLetterFile) -> None:
        self.ledger = ledger
        self.graph = graph
        self.dead_letters = dead_letters
        self.graph_error: Exception | None = None
        self.written: Callable[[LedgerWrite, Spent], None] = lambda write, spent: None
        """Called on the thread for each batch once it is in the ledger, before its future is done."""
        self._queue: Queue[_Waiting | None] = Queue(AHEAD)
        self._last: Future[Spent] | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="outlets", daemon=True)
        self._thread.start()

    def put(self, write: LedgerWrite) -> Future[Spent]:
        """Queue a batch; the future is done when it is in the ledger. Waits while `AHEAD` batches wait."""
        if self._error is not None:
            raise self._error
        future = self._last = Future()
        self._queue.put((write, future))
        return future

    def flush(self) -> None:
        """Wait until everything put is in the ledger. Raises what stopped it."""
        if self._last is not None:
            self._last.result()

    @property
    def stopped(self) -> bool:
        """Whether a store failed: then ledger and graph do not hold what memory does."""
        return self._error is not None or self.graph_error is not None

    def check_graph(self) -> None:
        """Raise what stopped the graph, if anything did."""
        if self.graph_error is not None:
            raise self.graph_error

    def close(self) -> None:
        """Write what waits, then end the thread and close the stores that are kept here. Raises what stopped the graph."""
        self._queue.put(None)
        self._thread.join()
        try:
            if self.graph is not None:
                self.graph.close()
        finally:
            self.ledger.close()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            group, ended = self._gather(first)
            try:
                if self._error is None:
                    self._write(group)
                else:
                    _fail(group, self._error)
            except Exception as error:  # noqa: BLE001 - a top: whoever waits must be told, and the thread must not die
                self._error = error
                _fail(group, error)
            if ended:
                return

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        group = [first]
        while True:
            try:
                more = self._queue.get_nowait()
            except Empty:
                return group, False
            if more is None:
                return group, True
            group.append(more)

    def _write(self, group: Sequence[_Waiting]) -> None:
        started = perf_counter()
        writes = [write for write, _ in group]
        refusals = [r for write in writes for r in write.refusals]
        if refusals:
            self.dead_letters.write(refusals)
        self.ledger.write(*writes)
        ledger_s = (perf_counter() - started) / len(group)
        for write, future in group:
            spent = {"ledger": ledger_s}
            if self.graph is not None and write.decisions is not None and len(write.decisions):
                started = perf_counter()
                self._tell_graph(self.graph, write)
                spent["graph"] = perf_counter() - started
            try:
                self.written(write, spent)
            except Exception as error:
                log.error("what was written could not be counted", exc_info=error)
            future.set_result(spent)

    def _tell_graph(self, graph: GraphWriter, write: LedgerWrite) -> None:
        assert write.decisions is not None
        if self.graph_error is None:
            try:
                graph.submit(write.decisions)
            except Exception as error:  # noqa: BLE001 - whatever stopped the graph, the ledger goes on
                self.graph_error = error


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)

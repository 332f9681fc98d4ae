"""The scoring thread: the one place that touches the pipeline while the server runs.

Requests put their items on a queue; the thread takes whatever has gathered, as one chunk, and goes on with the next while that is
written (`ingest/outlets.py`), so that one ledger transaction answers many requests. Small requests come first; big ones are taken
in slices between them, so that a bulk load does not hold up a customer who waits. A request is
answered after its chunk is in the ledger, never before.

When the pipeline raises, the ledger is asked what became of the chunk. What it holds is answered; for the rest memory is ahead of
the ledger, so the thread takes no more events (`halted`), and a restart recovers from the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import Any, TypeVar

from api.asking import Asking, too_many
from api.glance import Glance
from api.meters import Meters
from api.settle import Outcome, outcomes_of, outcomes_of_ledger
from ingest.outlets import Spent
from ingest.scoring import Scoring
from ingest.source import Chunk
from ingest.tally import Taken
from ringwatch import deadline
from ringwatch.errors import Corrupt, RingwatchError, Unavailable
from ringwatch.model import Action, Event, Label, Level
from scorers.decision import Decisions

T = TypeVar("T")
_NOTHING: Mapping[str, float] = {}
_LEVELS, _ACTIONS = [level.name for level in Level], [action.name.lower() for action in Action]
log = logging.getLogger(__name__)

SMALL = 8
"""A request of at most so many items goes before bigger ones."""
SLICE = 48
"""Items in one chunk: of small requests, and besides of a big one."""
PACE_S = 0.005
"""Chunks of small requests begin that long after each other under load (the one before answered several requests), else once the one
before is written: of the 1.7 ms that one costs most is the same for one event and for four, so what comes meanwhile shares it."""
ASKS = 64
"""Questions that may wait."""
_IDLE_S = 0.25
_QUIET_S = 5.0
"""After so long without events the snapshot is taken, while nobody waits."""
_GLANCE_S = 1.0
"""How often what the thread shows of itself is made anew."""


class Work:
    """The items of one request on their way."""

    __slots__ = ("batch_us", "deadline", "future", "items", "left", "outcomes", "queue_us", "queued", "taken")

    def __init__(self, items: Sequence[Event | Label], future: asyncio.Future[Work], deadline: float) -> None:
        self.items = items
        self.future = future
        self.deadline = deadline
        self.queued = perf_counter()
        self.taken = 0
        """Items handed to the pipeline; of the scoring thread."""
        self.outcomes: list[Outcome] = [None] * len(items)
        self.left = len(items)
        """Items without an outcome; with it of the event loop."""
        self.queue_us = 0.0
        self.batch_us: dict[str, float] = {}


Piece = tuple[Work, int, int]
"""A work, the first of its items in a chunk, and how many."""


class Engine:
    """Owns the scoring thread. `submit` and `ask` belong to the event loop's thread, `ask_from` to any other."""

    def __init__(self, pipeline: Scoring, meters: Meters, *, capacity: int, deadline_s: float) -> None:
        self.capacity = capacity
        self.deadline_s = deadline_s
        self.depth = 0
        """Items waiting or being scored."""
        self.halted = ""
        """Why no more events are taken; empty when all is well."""
        self._pipeline = pipeline
        self._meters = meters
        self._trouble = ""
        self._arrived: SimpleQueue[Work | Future[Any] | None] = SimpleQueue()
        self._questions: deque[tuple[Callable[[Scoring], Any], Future[Any]]] = deque()
        self._anywhere = Asking(ASKS)
        self._small: deque[Work] = deque()
        self._big: deque[Work] = deque()
        self._draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._glanced = monotonic()
        self._began = 0.0
        self._pacing = False
        self._before: Future[Spent] | None = None
        """Of the chunk before, and whether it answered more than one request."""
        self._crowded = False
        self.glance = Glance(pipeline, "", "")

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Score what is queued, then end the thread. Waits for it."""
        self._draining = True
        self._arrived.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self.halted

    def submit(self, items: Sequence[Event | Label]) -> asyncio.Future[Work]:
        """Queue items of a request; the future is done when all have their outcome. Raises Unavailable when full."""
        if self.halted or self._draining:
            raise Unavailable(
                "no events are taken now", hint=self.halted or "the server is stopping", retry_after_s=5.0
            )
        if self.depth + len(items) > self.capacity:
            raise Unavailable("the queue is full", hint="send again later, or fewer at once", retry_after_s=1.0)
        loop = self._loop
        assert loop is not None
        work = Work(items, loop.create_future(), monotonic() + self.deadline_s)
        self.depth += len(items)
        self._arrived.put(work)
        return work.future

    def submit_from(self, items: Sequence[Event | Label]) -> Work:
        """As `submit`, from another thread, and waits."""
        deadline.begin_to_write()
        loop = self._loop
        assert loop is not None

        async def submitted() -> Work:
            return await self.submit(items)

        try:
            return asyncio.run_coroutine_threadsafe(submitted(), loop).result(self.deadline_s * 2)
        except TimeoutError:
            raise _no_answer() from None

    async def ask(self, question: Callable[[Scoring], T]) -> T:
        """What only the scoring thread may read is read there between two chunks; else anywhere. Must be short."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._asked(question)), self.deadline_s)
        except TimeoutError:
            raise _no_answer() from None

    def ask_from(self, question: Callable[[Scoring], T]) -> T:
        """As `ask`, from another thread."""
        try:
            return self._asked(question).result(deadline.left_s(self.deadline_s))
        except TimeoutError:
            deadline.check()
            raise _no_answer() from None

    def _asked(self, question: Callable[[Scoring], T]) -> Future[T]:
        if self._pipeline.asked_anywhere:
            return self._anywhere.ask(lambda: question(self._pipeline))
        if len(self._questions) >= ASKS or not self._thread.is_alive():
            raise too_many()
        asked: Future[T] = Future()
        self._questions.append((question, asked))
        self._arrived.put(asked)
        return asked

    def _run(self) -> None:
        quiet_since = monotonic()
        while True:
            ended = self._gather()
            busy = bool(self._small or self._big)
            self._answer_questions()
            if busy:
                self._pace()
                self._score(self._take())
                quiet_since = monotonic()
            elif ended:
                self._flush()
                return
            if monotonic() - self._glanced >= _GLANCE_S:
                self._look_around(quiet_s=monotonic() - quiet_since)

    def _pace(self) -> None:
        """Let what comes gather."""
        due, self._pacing = self._began + PACE_S, True
        while (
            self._before is not None and (self._crowded or not self._before.done())
            and not self._big and not self._draining and (left := due - perf_counter()) > 0.0
        ):  # fmt: skip
            try:
                work = self._arrived.get(timeout=left)
            except Empty:
                break
            if isinstance(work, Work):
                (self._small if len(work.items) <= SMALL else self._big).append(work)
        self._pacing, self._began = False, perf_counter()

    def _gather(self) -> bool:
        """What has arrived, into its lane; waits for the first when there is nothing. True when told to end."""
        wait = not (self._small or self._big or self._questions or self._draining)
        while True:
            try:
                work = self._arrived.get(timeout=_IDLE_S) if wait else self._arrived.get_nowait()
            except Empty:
                return self._draining
            if isinstance(work, Work):
                (self._small if len(work.items) <= SMALL else self._big).append(work)
            wait = False

    def _take(self) -> list[tuple[Work, int]]:
        """(work, number of its items) of the next chunk: small ones whole, then a slice of the first big one."""
        taken: list[tuple[Work, int]] = []
        room = SLICE
        while self._small and len(self._small[0].items) <= room:
            work = self._small.popleft()
            if self._started(work):
                taken.append((work, len(work.items)))
                room -= len(work.items)
        while self._big and (self._big[0].taken or self._started(self._big[0])) is False:
            self._big.popleft()
        if self._big:
            work = self._big[0]
            taken.append((work, min(SLICE, len(work.items) - work.taken)))
        return taken

    def _started(self, work: Work) -> bool:
        """Whether it is taken now; one whose deadline has passed is left, and nothing of it happens."""
        if work.future.cancelled() or (monotonic() > work.deadline and not self._draining):
            late = Unavailable("the deadline passed before its turn came; nothing was scored", hint="send it again", retry_after_s=1.0)  # fmt: skip
            self._tell([(work, 0, len(work.items))], [late] * len(work.items))
            return False
        work.queue_us = (perf_counter() - work.queued) * 1e6
        return True

    def _score(self, taken: Sequence[tuple[Work, int]]) -> None:
        """Score a chunk; it is answered once it is written, while the next is scored."""
        pieces = [(work, work.taken, n) for work, n in taken]
        items = [item for work, start, n in pieces for item in work.items[start : start + n]]
        if not items:
            return
        for work, n in taken:
            work.taken += n
            if work.taken == len(work.items) and self._big and work is self._big[0]:
                self._big.popleft()
        if self.halted:
            self._tell(pieces, self._of_ledger(items))
            return
        started = perf_counter()
        try:
            found = self._pipeline.take(Chunk(items, range(1, len(items) + 1), None), "http")
        except Exception as error:  # noqa: BLE001 - a top: whoever waits must be told, and the thread must not die
            self._flush()
            self._tell(pieces, self._settle_by_ledger(items, error))
        else:
            self._before, self._crowded = found.written, len(pieces) > 1
            found.written.add_done_callback(lambda written: self._written(pieces, items, found, written, started))

    def _written(
        self,
        pieces: Sequence[Piece],
        items: Sequence[Event | Label],
        found: Taken,
        written: Future[Spent],
        started: float,
    ) -> None:
        """On the thread of the outlets: answer what is in the ledger."""
        if self._pacing:
            self._arrived.put(None)
        try:
            spent = written.result()
            outcomes = outcomes_of(items, found, self._pipeline.ledger)
            took_s = perf_counter() - started
            self._count(found.decisions, took_s * 1e3, spent)
        except Exception as error:  # noqa: BLE001 - a top, as above
            self._tell(pieces, self._settle_by_ledger(items, error))
            return
        if self._pipeline.recovers:
            self._trouble = ""
        batch_us = {"batch": took_s * 1e6, **{stage: s * 1e6 for stage, s in spent.items()}}
        self._tell(pieces, outcomes, batch_us)

    def _flush(self) -> None:
        """Wait for the ledger; what fails there is told to whom it concerns."""
        with suppress(Exception):
            self._pipeline.flush()

    def _of_ledger(self, items: Sequence[Event | Label]) -> list[Outcome]:
        """What the ledger holds of the items; raises nothing."""
        try:
            return outcomes_of_ledger(items, self._pipeline.ledger)
        except Exception as error:
            log.error("the ledger cannot be read: %s", type(error).__name__, exc_info=error)
            hint = "send it again with the same id"
            return [Unavailable("the ledger does not answer", hint=hint, retry_after_s=5.0)] * len(items)

    def _settle_by_ledger(self, items: Sequence[Event | Label], error: Exception) -> list[Outcome]:
        if self._pipeline.recovers:
            self._trouble = f"{type(error).__name__}: {error}"
            return [_of_failure(error)] * len(items)
        log.error("the pipeline failed: %s", type(error).__name__, exc_info=error)
        outcomes = self._of_ledger(items)
        if any(isinstance(outcome, Unavailable | Corrupt) for outcome in outcomes):
            self.halted = f"the pipeline stopped ({type(error).__name__}); restart it, nothing acknowledged is lost"
        else:
            self._trouble = f"after_ledger: {type(error).__name__}"
        return outcomes

    def _count(self, decisions: Decisions, took_ms: float, spent: Spent) -> None:
        meters = self._meters
        meters.batch_events.add(float(len(decisions)))
        meters.stage("batch", took_ms)
        for stage, s in spent.items():
            meters.stage(stage, s * 1e3)
        for level, action in zip(decisions.level.tolist(), decisions.action.tolist(), strict=True):
            meters.decisions[_LEVELS[level], _ACTIONS[action]] += 1

    def _tell(
        self, pieces: Sequence[Piece], outcomes: Sequence[Outcome], batch_us: Mapping[str, float] = _NOTHING
    ) -> None:
        """Back to the event loop, all at once; from either thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, pieces, outcomes, batch_us)

    def _settle(self, pieces: Sequence[Piece], outcomes: Sequence[Outcome], batch_us: Mapping[str, float]) -> None:
        """On the event loop: each outcome to its place; a work that has all of them is done."""
        at = 0
        for work, start, n in pieces:
            work.outcomes[start : start + n] = outcomes[at : at + n]
            work.left -= n
            at += n
            for stage, us in batch_us.items():
                work.batch_us[stage] = work.batch_us.get(stage, 0.0) + us
            if not work.left:
                self.depth -= len(work.items)
                if not work.future.done():
                    work.future.set_result(work)

    def _answer_questions(self) -> None:
        while self._questions:
            question, asked = self._questions.popleft()
            if not asked.set_running_or_notify_cancel():
                continue
            try:
                asked.set_result(question(self._pipeline))
            except Exception as error:  # noqa: BLE001 - a top: it is raised again where it was asked
                asked.set_exception(error)

    def _look_around(self, *, quiet_s: float) -> None:
        self._glanced = monotonic()
        try:
            self.glance = Glance(self._pipeline, self.halted, self._trouble)
        except Exception as error:
            log.error("what the pipeline does cannot be shown: %s", type(error).__name__, exc_info=error)
        if quiet_s > _QUIET_S and not self.halted:
            self._pipeline.begin_snapshot(quiet=True)


def _of_failure(error: Exception) -> RingwatchError:
    if isinstance(error, Unavailable):
        return error
    log.error("scoring failed: %s", type(error).__name__, exc_info=error)
    return Unavailable("the event could not be scored now", hint="send it again with the same id", retry_after_s=2.0)


def _no_answer() -> Unavailable:
    return Unavailable("no answer in time", hint="ask again later, or for less at once", retry_after_s=2.0)

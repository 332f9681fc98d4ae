"""A model's graph network while it serves: it hears the whole stream, and answers once it has seen enough of it.

A network that knows nothing of the entities would answer all the same, so it is not asked before it is warm; the model's trees stand alone
until then. It is warmed behind the scoring by what was scored before (`Past`), catches up with what came meanwhile, and is asked from the
next batch on. Where there is no such past the stream itself warms it: a week of it, since no age or count that it looks at reaches
further back, or as many events as it remembers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, ResolvedLabel
from features.schema import FeatureSchema
from gnn.network import Gnn
from ringwatch.errors import Corrupt, RingwatchError, Unavailable
from ringwatch.model import DAY_US, Event, Label
from scorers.learned.live_network import LiveNetwork
from scorers.learned.model import probability

log = logging.getLogger("ringwatch.models")
OFF, WARMING, FAILED = "network:off", "network:warming", "network:failed"
"""In `degraded`, of the challenger with `challenger:` before it: why a network that has weight was not asked. Off: it does not hear the
whole stream here, or the event is none of the stream."""
WARM_US = 7 * DAY_US
_PIECE, _NEAR = 200, 4000
"""Events that a warming network takes at a time; items of the past that may be left when it begins to keep what comes."""
_POLL_S, _AGAIN_S = 0.05, 10.0
_TROUBLES = (RingwatchError, ArithmeticError, ValueError, IndexError)
_SINCE = "warm_from_us"
_ALWAYS_US, _NEVER_US = -(2**62), 2**62
Numbered = tuple[int, Applied]


class Past(Protocol):
    """What was scored before, as it is written down behind the scoring: `ledger.store.LedgerStore` is one. Asked on a thread of its own."""

    def last_seq(self) -> int:
        """Running number of the last item there is, -1 for none."""
        ...

    def replay(self, *, after_seq: int) -> Iterator[Sequence[tuple[int, Event | Label]]]:
        """Events and labels after a running number, in running order."""
        ...


def no_hood(row: int) -> bytes:
    return b""


class Answer(NamedTuple):
    """Of the events of a batch, (n,)."""

    prob: NDArray[np.float64]
    """What the network says, as a probability; NaN where it was not asked."""
    age_s: NDArray[np.float64]
    """Of the oldest embedding asked; NaN where none was."""
    why: str
    """It was not asked: `OFF`, `WARMING` or `FAILED`."""
    hood: Callable[[int], bytes] = no_hood
    """What it saw of an event that it was asked about, until the next batch (`gnn.kept.unpack`)."""


def _events(items: Sequence[Numbered]) -> int:
    return sum(not isinstance(item, ResolvedLabel) for _, item in items)


def not_asked(n: int, why: str) -> Answer:
    nothing = np.full(n, np.nan)
    return Answer(nothing, nothing, why)


def try_out(gnn: Gnn, schema: FeatureSchema) -> None:
    """Whether it can be asked at all; its loops are compiled then."""
    live = LiveNetwork(gnn, schema)
    of = dict.fromkeys(gnn.schema.kinds, "tried")
    live.take([Event(f"tried {n}", "payment", 2 * n * gnn.schema.mark_us, of, amount_minor=1) for n in range(3)])
    live.close()


class ServedNetwork:
    """Called by the thread that scores. `trouble` says why it failed, once it did; it is left out from then on. `state` says why it did not
    answer for all of the last events, empty where it did."""

    def __init__(self, gnn: Gnn, schema: FeatureSchema) -> None:
        self.trouble = self.state = ""
        self._gnn, self._schema = gnn, schema
        self._live = LiveNetwork(gnn, schema)
        self._warm_from_us = _NEVER_US
        """It answers for events from then on."""
        self._warming: _Warming | None = None

    def take(self, items: Sequence[Numbered], past: Past | None = None, *, first: bool = False) -> Answer:
        """Of the events among what the state took in, at least one, in order, each by what was known before it; all of it is remembered.
        `past`: what to be warmed by; `first`: this process has scored nothing before."""
        answer = self._asked(items, past, first)
        self.state = answer.why if np.isnan(answer.prob).any() else ""
        return answer

    def _asked(self, items: Sequence[Numbered], past: Past | None, first: bool) -> Answer:
        if self.trouble:
            return not_asked(_events(items), FAILED)
        if self._warm_from_us == _NEVER_US:
            self._begin(items, past, first)
        if self._warming is not None:
            if not self._warming.keep(items):
                return not_asked(_events(items), WARMING)
            self._live, self.trouble = self._warming.live, self._warming.trouble
            self._warming = None
            if self.trouble:
                return not_asked(_events(items), FAILED)
        return self._answer(items)

    def _answer(self, items: Sequence[Numbered]) -> Answer:
        seen = self._live.seen
        try:
            said = self._live.take([item for _, item in items])
        except _TROUBLES as error:
            self.trouble = str(error)
            log.error("a graph network failed and was left out: %s", error)
            return not_asked(_events(items), FAILED)
        if self._warm_from_us == _ALWAYS_US:
            return Answer(probability(said.margin), said.age_s, FAILED, said.hood)
        at_us = np.array([item.at_us for _, item in items if not isinstance(item, ResolvedLabel)], np.int64)
        warm = (at_us >= self._warm_from_us) | (np.arange(seen, seen + len(at_us)) >= self._gnn.schema.memory)
        prob, age_s = (np.where(warm, a, np.nan) for a in (probability(said.margin), said.age_s))
        return Answer(prob, age_s, FAILED if warm.all() else WARMING, lambda row: said.hood(row) if warm[row] else b"")

    def _begin(self, items: Sequence[Numbered], past: Past | None, first: bool) -> None:
        seq, event = next((seq, item) for seq, item in items if not isinstance(item, ResolvedLabel))
        if past is None:
            self._warm_from_us = event.at_us + WARM_US
            return
        self._warm_from_us = _ALWAYS_US
        if not (first and _nothing_before(past, seq)):
            self._warming = _Warming(past, self._fresh, self._gnn.schema.memory)
            self._warming.start()

    def _fresh(self) -> LiveNetwork:
        return LiveNetwork(self._gnn, self._schema)

    # -- keeping

    def settle(self) -> None:
        """`dump` needs no other thread then."""
        if self._warming is None:
            self._live.settle()

    def dump(self) -> dict[str, NDArray[Any]]:
        """Nothing before it is warmed, and once it failed: it is warmed anew then."""
        if self._warming is not None or self.trouble or self._warm_from_us == _NEVER_US:
            return {}
        return {**self._live.dump(), _SINCE: np.array([self._warm_from_us], np.int64)}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `dump` gave; without anything that can be read it begins anew."""
        self.close()
        self._live, self._warming, self._warm_from_us, self.trouble = self._fresh(), None, _NEVER_US, ""
        if not arrays:
            return
        try:
            self._live.load(arrays)
            self._warm_from_us = int(arrays[_SINCE][0])
        except (Corrupt, KeyError, IndexError) as error:
            log.warning("a graph network begins anew: %s", error)
            self._live.close()
            self._live, self._warm_from_us = self._fresh(), _NEVER_US

    def stop(self) -> None:
        """It is asked no more: what warms it ends by and by."""
        if self._warming is not None:
            self._warming.stop()

    def close(self) -> None:
        """Ends its threads, and waits for that."""
        self.stop()
        if self._warming is not None:
            self._warming.join()
            self._warming.live.close()
        self._live.close()


def _nothing_before(past: Past, seq: int) -> bool:
    """Whether the stream begins with this number."""
    try:
        return next((some[0][0] for some in past.replay(after_seq=-1)), seq) >= seq
    except Unavailable:
        return False


class _Warming(threading.Thread):
    """Feeds a network with the past: first by and by, so that scoring hardly notices, then up to near its end; from there on what is
    scored is kept, and once the past has reached that, it is fed, too."""

    def __init__(self, past: Past, fresh: Callable[[], LiveNetwork], memory: int) -> None:
        super().__init__(name="network", daemon=True)
        self.live = fresh()
        self.trouble = ""
        self._past, self._fresh, self._memory = past, fresh, memory
        self._lock = threading.Lock()
        self._kept: list[Sequence[Numbered]] = []
        self._keeps = self._done = False
        self._stopping = threading.Event()

    def keep(self, items: Sequence[Numbered]) -> bool:
        """Whether it is done, and these are for the caller to feed; else they are not lost."""
        with self._lock:
            if self._keeps and not self._done:
                self._kept.append(items)
            return self._done

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._warm()
                return
            except Unavailable as error:
                log.warning("a graph network cannot be warmed yet: %s", error)
            except Exception as error:  # noqa: BLE001 - a top: whatever it does wrong, events are scored
                self.trouble = f"it could not be warmed: {error}"
                log.error("a graph network was left out: %s", self.trouble)
                with self._lock:
                    self._done = True
                return
            with self._lock:
                self._keeps, self._kept = False, []
            self.live.close()
            self.live = self._fresh()
            self._stopping.wait(_AGAIN_S)

    def _warm(self) -> None:
        end = self._past.last_seq()
        after = self._feed(max(end - self._memory, -1), end, gently=True)
        while not self._stopping.is_set() and (end := self._past.last_seq()) - after > _NEAR:
            after = self._feed(after, end, gently=False)
        with self._lock:
            self._keeps = True
        first = None
        while not self._stopping.is_set() and (first := self._first()) is None:
            self._stopping.wait(_POLL_S)
        while not self._stopping.is_set() and self._past.last_seq() < (first or 0):
            self._stopping.wait(_POLL_S)
        self._feed(after, (first or 0) - 1, gently=False)
        while not self._stopping.is_set():
            with self._lock:
                kept, self._kept = self._kept, []
                self._done = not kept
            if not kept:
                return
            for items in kept:
                self.live.take([item for _, item in items])

    def _first(self) -> int | None:
        """Running number of the first event that was kept."""
        with self._lock:
            kept = self._kept[0] if self._kept else ()
        return next((seq for seq, item in kept if not isinstance(item, ResolvedLabel)), None)

    def _feed(self, after: int, last: int, *, gently: bool) -> int:
        """Of the past what comes after a running number, up to another."""
        for items in self._past.replay(after_seq=after):
            known = [ResolvedLabel(item, {}) if isinstance(item, Label) else item for seq, item in items if seq <= last]
            for start in range(0, len(known), _PIECE):
                if self._stopping.is_set():
                    return last
                began = time.monotonic()
                self.live.take(known[start : start + _PIECE])
                if gently:
                    self._stopping.wait(time.monotonic() - began)
            if len(known) < len(items):
                break
        return last

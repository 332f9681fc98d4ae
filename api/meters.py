"""What the server counts about itself: latencies in a fixed histogram, the last minute in slots, refusals, decisions.

Written by the event loop and the scoring thread, each its own meters; read by anybody. No locks: every count is one
integer of one writer, and a reader may see it one late.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable

SLA_MS = 50.0
SHOWN_MS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0, 5000.0)
"""Upper bounds of the buckets that /metrics shows."""
_GROWTH = 1.05
"""A quantile is at most 5 % over the true one."""


def _bounds() -> tuple[float, ...]:
    found, at = set(SHOWN_MS), 0.01
    while at < 60_000.0:
        found.add(at)
        at *= _GROWTH
    return tuple(sorted(found))


BOUNDS_MS = _bounds()


class Histogram:
    """Counts by milliseconds, in fixed buckets of 5 %."""

    __slots__ = ("counts", "sum_ms", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.total = 0
        self.sum_ms = 0.0

    def add(self, ms: float, times: int = 1) -> None:
        self.counts[bisect_left(BOUNDS_MS, ms)] += times
        self.total += times
        self.sum_ms += ms * times

    def quantile(self, q: float) -> float | None:
        """The upper bound of the bucket that holds it; None when empty."""
        return quantile(self.counts, q)

    def at_most(self, bound_ms: float) -> int:
        """How many were at most a bound of `SHOWN_MS`."""
        return sum(self.counts[: bisect_left(BOUNDS_MS, bound_ms) + 1])


def quantile(counts: Iterable[int], q: float) -> float | None:
    counts = list(counts)
    wanted, seen = q * sum(counts), 0
    if wanted == 0:
        return None
    for bound, n in zip((*BOUNDS_MS, float("inf")), counts, strict=True):
        seen += n
        if seen >= wanted:
            return min(bound, BOUNDS_MS[-1])
    return BOUNDS_MS[-1]


class Window:
    """The last minute: six slots of ten seconds."""

    SLOTS, SLOT_S = 6, 10.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: list[tuple[int, Histogram]] = []

    def add(self, ms: float) -> None:
        slot = int(self._clock() / self.SLOT_S)
        if not self._slots or self._slots[-1][0] != slot:
            self._slots = [*self._slots[-self.SLOTS + 1 :], (slot, Histogram())]
        self._slots[-1][1].add(ms)

    def merged(self) -> Histogram:
        now, whole = int(self._clock() / self.SLOT_S), Histogram()
        for slot, part in self._slots:
            if slot > now - self.SLOTS:
                whole.counts = [a + b for a, b in zip(whole.counts, part.counts, strict=True)]
                whole.total += part.total
                whole.sum_ms += part.sum_ms
        return whole


class Meters:
    """All counts of one server."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.started_s = clock()
        self.clock = clock
        self.latency = Histogram()
        """POST /v1/score, from the request's head to its answer."""
        self.recent = Window(clock)
        self.under_sla = 0
        self.requests: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        self.refusals: Counter[str] = Counter()
        """Problems given, by code; of a batch, one an item."""
        self.decisions: Counter[tuple[str, str]] = Counter()
        """By level and action."""
        self.stages: dict[str, Histogram] = {}
        """A micro-batch's time in each stage."""
        self.batch_events: Histogram = Histogram()
        """Not a time: events a micro-batch."""

    def scored(self, ms: float) -> None:
        self.latency.add(ms)
        self.recent.add(ms)
        if ms < SLA_MS:
            self.under_sla += 1

    def stage(self, name: str, ms: float) -> None:
        found = self.stages.get(name)
        if found is None:
            found = self.stages[name] = Histogram()
        found.add(ms)

    def sla(self) -> dict[str, float | int | None]:
        """What /status says of the scoring latency."""
        recent, total = self.recent.merged(), self.latency.total
        return {
            "limit_ms": SLA_MS,
            "requests": total,
            "under_limit": self.under_sla,
            "share_under_limit": self.under_sla / total if total else None,
            "window_s": Window.SLOTS * Window.SLOT_S,
            "window_requests": recent.total,
            "window_p50_ms": _rounded(recent.quantile(0.5)),
            "window_p99_ms": _rounded(recent.quantile(0.99)),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

"""How many requests a caller may make: a bucket each, that fills at a rate up to a burst.

What is kept of a bucket is one number: when it will be full again. Requests are counted, whatever is in them; how many events may wait
is bounded by the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from api.keys import Caller
from ringwatch.errors import Unavailable

_MOST_CALLERS = 100_000


class Rate(msgspec.Struct, frozen=True):
    per_s: float
    burst: int


class Rates(Protocol):
    trouble: str
    """Why limits are not as they should be; empty when they are."""

    async def take(self, who: Caller) -> None:
        """Raises Unavailable(code="too_many") for a caller that has to wait. For the event loop alone."""

    async def close(self) -> None: ...


class LocalRates:
    """The buckets of one process."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._each_s, self._most_s = 1.0 / rate.per_s, rate.burst / rate.per_s
        self._clock = clock
        self._full_at: dict[tuple[str, str], float] = {}
        self.trouble = ""

    async def take(self, who: Caller) -> None:
        name, now_s = (who.tenant, who.name), self._clock()
        full_at = max(self._full_at.get(name, 0.0), now_s) + self._each_s
        wait_s = full_at - now_s - self._most_s
        if wait_s > 1e-9:
            raise too_many(wait_s)
        if len(self._full_at) >= _MOST_CALLERS:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now_s}
        self._full_at[name] = full_at

    async def close(self) -> None:
        return


def too_many(wait_s: float) -> Unavailable:
    hint = "wait as long as Retry-After says; a list of events is one request"
    return Unavailable("these are too many requests", hint=hint, retry_after_s=wait_s, code="too_many")

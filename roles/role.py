"""A role: a loop of its own that works until it is told to stop, and goes on by itself after the stores were away."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from ringwatch.errors import RingwatchError, ServerDenied, Unavailable

if TYPE_CHECKING:
    from bus.reading import Reader

log = logging.getLogger("ringwatch.roles")
_PAUSE_S, _LONGEST_PAUSE_S, _WAIT_POLL_S = 0.1, 5.0, 0.25


@dataclass(slots=True)
class Status:
    """What a role shows of itself; written by its thread, read by anybody."""

    ready: bool = False
    trouble: str = "starting"
    """Why it does not go on; empty when all is well."""
    counts: Counter[str] = field(default_factory=Counter)
    """Things done since the start, by name."""
    batch_ms: list[float] = field(default_factory=list)
    """Of the last batches."""
    lag: dict[str, int] = field(default_factory=dict)
    """`topic/partition` -> records behind, those in hand included."""

    def follow(self, reader: Reader) -> None:
        """On the thread that reads: librdkafka's consumers hold up whoever asks from another while they poll."""
        self.lag = {f"{topic}/{partition}": n for (topic, partition), n in reader.lag().items()}
        self.counts["rebalances"] = reader.rebalances["assigned"]
        self.counts["skipped"] = sum(reader.skipped.values())


class Role(ABC):
    """One thread. `open` connects, `step` does a piece of work and returns within a second or so, `close` lets go of everything.

    While a store is away a role that reads waits, as a member of its group (`wait`). Any other error closes the role; it pauses, opens
    again and goes on from what the stores say.
    """

    name: str

    def __init__(self) -> None:
        self.status = Status()
        self.ended = threading.Event()
        self.waiting = ""
        """For what it waits; empty when it does not."""
        self._wait_s = 0.0
        self._resume_at = 0.0
        self.doing = ""
        """"closing", "a step", or nothing. Opening may take long, memory is brought back then; it is not ready all the while."""
        self._since = monotonic()

    def silent_s(self) -> float:
        """How long it has not come back from what it is doing."""
        return monotonic() - self._since if self.doing else 0.0

    def _does(self, what: str) -> None:
        self._since, self.doing = monotonic(), what

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def step(self) -> None: ...

    @abstractmethod
    def close(self, *, drained: bool) -> None:
        """With `drained` what was begun has been finished, and it may be said that this member leaves. What it raises is told, no more."""

    def concern(self) -> str:
        """What is wrong though it works, in words; empty when nothing is."""
        return ""

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        pause_s = _PAUSE_S
        try:
            while not stop.is_set():
                try:
                    self.open()
                    while not stop.is_set():
                        self._does("a step")
                        self.step()
                        self.status.ready, pause_s = not self.waiting, _PAUSE_S
                        self.status.trouble = self.waiting or self.concern()
                    self._let_go(drained=True)
                except Exception as error:  # noqa: BLE001 - a top: the role must go on, and say what is wrong
                    self._trouble(error)
                    self._let_go(drained=False)
                    passing = isinstance(error, Unavailable) and not isinstance(error, ServerDenied)
                    stop.wait(pause_s if passing else _LONGEST_PAUSE_S)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            self.ended.set()

    def _let_go(self, *, drained: bool) -> None:
        """Clients whose brokers are gone may not even close well; the role goes on without them."""
        self.waiting = ""
        self._does("closing")
        try:
            self.close(drained=drained)
        except Exception as error:  # noqa: BLE001 - a top: what closes badly is left, and said
            log.warning("%s: what it had open did not close well: %s", self.name, error)
        self._does("")

    def wait(self, reader: Reader, error: Unavailable) -> None:
        """What was polled and not done comes again after a while; until then nothing is fetched (back-pressure)."""
        if not self.waiting:
            log.warning("%s waits: %s", self.name, error)
            self.status.counts["waits"] += 1
        reader.rewind()
        reader.pause()
        self.waiting = str(error)
        denied = isinstance(error, ServerDenied)  # who tries too often is kept out for longer
        self._wait_s = _LONGEST_PAUSE_S if denied else min(max(2 * self._wait_s, _PAUSE_S), _LONGEST_PAUSE_S)
        self._resume_at = monotonic() + self._wait_s

    def waits(self, reader: Reader) -> bool:
        """Whether it goes on waiting; membership is kept meanwhile."""
        if not reader.paused:
            return False
        left = self._resume_at - monotonic()
        if left > 0.0:
            reader.poll(1, min(left, _WAIT_POLL_S))
            return True
        reader.resume()
        return False

    def went_on(self) -> None:
        """What it waited for is there."""
        if self.waiting:
            log.warning("%s goes on", self.name)
        self.waiting, self._wait_s = "", 0.0

    def _trouble(self, error: Exception) -> None:
        text = str(error) if isinstance(error, RingwatchError) else f"{type(error).__name__}: {error}"
        if text != self.status.trouble:
            known = isinstance(error, RingwatchError)
            log.log(
                logging.WARNING if known else logging.ERROR,
                "%s: %s",
                self.name,
                text,
                exc_info=None if known else error,
            )
        self.status.ready, self.status.trouble = False, text
        self.status.counts["failures"] += 1


class Pace:
    """Something to be done at most once in so many seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._due = monotonic() + every_s

    def due(self) -> bool:
        now = monotonic()
        if now < self._due:
            return False
        self._due = now + self._every_s
        return True

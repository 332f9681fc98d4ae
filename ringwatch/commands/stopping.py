"""How a command that takes long is told to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any


@contextmanager
def until_told() -> Iterator[Event]:
    """Set by the first SIGINT or SIGTERM; a second one ends the program at once, which loses nothing either."""
    told, numbers = Event(), (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(*_: Any) -> None:
        told.set()
        for number in numbers:
            signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield told
    finally:
        for number in numbers:
            signal.signal(number, before[number])

"""How long an answer may take: set where a question comes in, asked by whatever takes long, stores first of all.

It goes with the thread (a context variable), so that nothing has to be handed through. Where none is set, nothing is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from ringwatch.errors import TooLong

_until: ContextVar[tuple[float, float] | None] = ContextVar("deadline", default=None)
"""(monotonic second, seconds there were)"""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    token = _until.set((monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _until.reset(token)


def left_s(most: float) -> float:
    """Seconds that are left, `most` at most. Raises TooLong where none are."""
    check()
    found = _until.get()
    return most if found is None else max(1e-3, min(most, found[0] - monotonic()))


def is_set() -> bool:
    return _until.get() is not None


def passed() -> bool:
    found = _until.get()
    return found is not None and monotonic() >= found[0]


def check() -> None:
    """Raises TooLong where the time is over."""
    found = _until.get()
    if found is not None and monotonic() >= found[0]:
        message = f"the answer was not there within {found[1]:g} s"
        raise TooLong(message, hint="ask for less at once: fewer items, fewer fields, a shorter time")


def begin_to_write() -> None:
    """Raises TooLong where the time is over. Else nothing of this answer is cut off from here: who asked for a change is told what became
    of it, and one of several steps is not left half done."""
    check()
    _until.set(None)

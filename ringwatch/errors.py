"""The few kinds of error Ringwatch raises on purpose.

A message says what happened, with which value; `hint` says what to do next; `context` carries the place
(file, line, field, position) for programs. No HTTP numbers here: the API owns one table from kind to status.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any


class RingwatchError(Exception):
    """Base of every deliberate error. `str(error)` is one line fit for a person."""

    def __init__(self, message: str, *, hint: str = "", **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class BadInput(RingwatchError):
    """Something given to us cannot be used: an event, a file, a mapping, a setting, an argument."""


class NotFound(RingwatchError):
    """A named thing does not exist."""


class Conflict(RingwatchError):
    """The thing exists and differs: the same event id with another body, a folder held by another process."""


class Denied(RingwatchError):
    """The caller may not do this."""


class Unavailable(RingwatchError):
    """A store or a model cannot be reached now; trying again later is right."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 1.0, **context: Any) -> None:
        super().__init__(message, hint=hint, **context)
        self.retry_after_s = retry_after_s


class TooLong(Unavailable):
    """The time that an answer may take is over."""


class StoreAway(Unavailable):
    """A server (Kafka, Neo4j, PostgreSQL, Redis) does not answer, or says that it cannot now. The text tells its operator where it is and
    what to look at; callers of the API are told neither."""


class ServerDenied(StoreAway):
    """It answers, and does not let this process in: whoever called can do nothing about that; its operator can, and then it goes on."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 5.0, **context: Any) -> None:
        super().__init__(message, hint=hint, retry_after_s=retry_after_s, **context)


class Corrupt(RingwatchError):
    """Stored data fails its own check: a snapshot with a wrong checksum, a ledger ahead of its state."""


def did_you_mean(given: str, known: Collection[str], otherwise: str = "") -> str:
    """The hint for a name that is not known: the nearest known one, else `otherwise`, else all of them."""
    near = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise or f"one of {', '.join(known)} is needed"

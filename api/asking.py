"""Questions that any thread may answer, each on one of its own: a store that does not answer holds up the one who asked, and no event."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ringwatch.begun import begun
from ringwatch.errors import Unavailable

T = TypeVar("T")


class Asking:
    """At most `most` at once. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._asked: set[Future[Any]] = set()
        self._counting = threading.Lock()

    def ask(self, question: Callable[[], T]) -> Future[T]:
        """Raises Unavailable when too many wait for their answer."""
        with self._counting:
            self._asked = {asked for asked in self._asked if not asked.done()}
            if len(self._asked) >= self._most:
                raise too_many()
            asked = begun(question, "question")
            self._asked.add(asked)
        return asked


def too_many() -> Unavailable:
    return Unavailable("too many questions wait", hint="ask again later", retry_after_s=1.0)

"""Things of one list: what one of them is asked for is read for all of them at once, so that a page costs as many statements
whatever its size.

Resolvers are plain functions of one worker thread, one after the other, so nothing has to wait for a batch to fill: who asks
first reads for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Siblings:
    """Of one answer; made with the list, dropped with it."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(dict.fromkeys(keys))
        self._read: dict[Hashable, Mapping[str, Any]] = {}

    def read(self, what: Hashable, key: str, all_of: Callable[[Sequence[str]], Mapping[str, T]]) -> T | None:
        """Of one key, by `all_of` of all keys; `what` names the question with its arguments."""
        if what not in self._read:
            self._read[what] = all_of(self.keys)
        found: T | None = self._read[what].get(key)
        return found

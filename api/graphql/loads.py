"""What hangs on the things of an answer is read for all of them at once, so that a page costs as many statements whatever its size.

Resolvers are plain functions of one worker thread, one after the other, so nothing has to wait for a batch to fill: a list says
which things it has, and who asks first reads for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Loads:
    """Of one answer; made with it, dropped with it."""

    def __init__(self) -> None:
        self._there: dict[str, dict[str, None]] = {}
        self._read: dict[tuple[str, Hashable], dict[str, Any]] = {}

    def expect(self, kind: str, keys: Iterable[str]) -> None:
        """Things of a kind that are in the answer."""
        self._there.setdefault(kind, {}).update(dict.fromkeys(keys))

    def get(self, kind: str, key: str, what: Hashable, all_of: Callable[[Sequence[str]], Mapping[str, T]]) -> T | None:
        """Of one thing, by `all_of` of all there are and were not read yet; `what` names the question with its arguments."""
        known = self._read.setdefault((kind, what), {})
        if key not in known:
            wanted = [k for k in dict.fromkeys((key, *self._there.get(kind, ()))) if k not in known]
            found = all_of(wanted)
            known.update({k: found.get(k) for k in wanted})
        one: T | None = known[key]
        return one

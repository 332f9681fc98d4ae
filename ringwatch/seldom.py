"""The same words once in ten seconds: while a store is away they would be said many times a second."""

from __future__ import annotations

import logging
import re
from time import monotonic

_SELDOM_S, _REMEMBERED = 10.0, 1000
_COUNTED = re.compile(r"\d+ ?ms|producer-\d+|consumer-\d+|offset \d+")


class Seldom(logging.Filter):
    """For a logger; durations, offsets and numbers of clients make no difference."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        words, now = _COUNTED.sub("", record.getMessage()), monotonic()
        if now - self._said.get(words, -_SELDOM_S) < _SELDOM_S:
            return False
        if len(self._said) > _REMEMBERED:
            self._said.clear()
        self._said[words] = now
        return True

"""Keeps the scorers' lists as investigators decide: looks for new acts every half second, at once when told to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import inf
from time import monotonic

from msgspec.structs import replace

from desk.store import Desk
from desk.verdicts import in_force, newest
from ringwatch.errors import RingwatchError
from scorers.lists import INNOCENT, Entry, Lists

_EVERY_S, _PLACES_S = 0.5, 60.0
log = logging.getLogger(__name__)


class ListsWatch:
    """A thread of its own. While the desk cannot be read, the lists stay as they were and say so."""

    def __init__(
        self,
        desk: Desk,
        lists: Lists,
        *,
        every_s: float = _EVERY_S,
        users_of: Callable[[Entry], frozenset[str]] | None = None,
    ) -> None:
        """`desk` may not be prepared yet. `users_of`: who used a place lately, asked for again every minute; nobody, of what is no place."""
        self._desk, self._lists, self._every_s = desk, lists, every_s
        self._users_of = users_of or (lambda _: frozenset())
        self._entries: list[Entry] = []
        self._filled_s = -inf
        self._number: int | None = None
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lists", daemon=True)

    def start(self, *, wait: bool = True) -> None:
        """`wait`: what there is counts when this returns; raises what the desk raises. Without, the desk may be away and come later."""
        if wait:
            self.look()
        else:
            self._lists.trouble = "not read yet"
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """What was decided before this call is in the lists after it."""
        with self._looking:
            if self._number is None:
                self._desk.prepare()
            if newest(self._desk) != self._number:
                number, self._entries = in_force(self._desk)
                self._lists.put(self._filled())
                self._number = number
            elif monotonic() - self._filled_s > _PLACES_S and self._lists.innocent:
                self._lists.put(self._filled())
            self._lists.trouble = ""

    def _filled(self) -> list[Entry]:
        """What is in force, places with who used them."""
        self._filled_s = monotonic()
        return [
            replace(e, users=self._users_of(e)) if e.verdict == INNOCENT else e
            for e in (*self._entries, *self._lists.known_places)
        ]

    def _run(self) -> None:
        told = ""
        while True:
            try:
                self.look()
                told = ""
            except RingwatchError as error:
                self._lists.trouble = error.message
                if told != error.message:
                    log.warning("what investigators decide cannot be read: %s", error.message)
                told = error.message
            if self._ended.wait(self._every_s):
                return

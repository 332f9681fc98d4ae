"""Keeps the scorers' lists as investigators decide: looks for new acts every half second, at once when told to."""

from __future__ import annotations

import logging
import threading

from desk.store import Desk
from desk.verdicts import in_force, newest
from ringwatch.errors import RingwatchError
from scorers.lists import Lists

_EVERY_S = 0.5
log = logging.getLogger(__name__)


class ListsWatch:
    """A thread of its own. While the desk cannot be read, the lists stay as they were and say so."""

    def __init__(self, desk: Desk, lists: Lists, *, every_s: float = _EVERY_S) -> None:
        """`desk` may not be prepared yet."""
        self._desk, self._lists, self._every_s = desk, lists, every_s
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
                self._number, entries = in_force(self._desk)
                self._lists.put(entries)
            self._lists.trouble = ""

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

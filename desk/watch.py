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
Place = tuple[str | None, str, str]
"""Tenant, kind, id."""
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
        """`desk` may not be prepared yet. `users_of`: who used a place lately, asked for of a new one at once and of all every minute; nobody,
        of what is no place."""
        self._desk, self._lists, self._every_s = desk, lists, every_s
        self._users_of = users_of or (lambda _: frozenset())
        self._entries: list[Entry] = []
        self._users: dict[Place, frozenset[str]] = {}
        self._asked_s = -inf
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
        """What was decided before this call is in the lists after it. Raises what the desk raises; where only the users of a place cannot be
        read, `Lists.trouble` says so and the rest counts."""
        with self._looking:
            if self._number is None:
                self._desk.prepare()
            if newest(self._desk) != self._number:
                number, self._entries = in_force(self._desk)
                self._put()
                self._number = number
            self._lists.trouble = self._ask_places()

    def _put(self) -> None:
        entries = (*self._entries, *self._lists.known_places)
        places = {_place(e) for e in entries if e.verdict == INNOCENT}
        self._users = {place: users for place, users in self._users.items() if place in places}
        self._lists.put([replace(e, users=self._users.get(_place(e), e.users)) for e in entries])

    def _ask_places(self) -> str:
        """Who used them; what went wrong, or nothing."""
        again = monotonic() - self._asked_s > _PLACES_S
        if again:
            self._asked_s = monotonic()
        wanted = {_place(e): e for e in self._lists.innocent if again or _place(e) not in self._users}
        try:
            found = {place: self._users_of(e) for place, e in wanted.items()}
        except RingwatchError as error:
            return f"who used a place: {error.message}"
        if any(self._users.get(place) != users for place, users in found.items()):
            self._users |= found
            self._put()
        return ""

    def _run(self) -> None:
        told = ""
        while True:
            try:
                self.look()
            except RingwatchError as error:
                self._lists.trouble = error.message
            if self._lists.trouble not in ("", told):
                log.warning("what investigators decide cannot be read: %s", self._lists.trouble)
            told = self._lists.trouble
            if self._ended.wait(self._every_s):
                return


def _place(entry: Entry) -> Place:
    return entry.tenant, entry.kind, entry.id

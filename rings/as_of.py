"""A ring as it was at any time, from its history; and an entry of it in words. Pure: entries in, values out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rings.entry import RingEntry

Status = Literal["unborn", "active", "dormant", "ended"]
MOST_SHOWN = 100
"""Entries on a page of a ring, the last ones."""
_NAMED = 3
"""Accounts that a sentence names; the others are counted."""


@dataclass(slots=True)
class RingThen:
    """What entries say in the end."""

    members: dict[str, int] = field(default_factory=dict)
    """Account -> when it became a member, in order of joining."""
    status: Status = "unborn"
    busted: bool = False
    """A member or a shared entity had been confirmed as fraud."""
    number: int = 0
    """The last entry."""
    complete: bool = True
    """No entry is missing before it."""
    changed_us: int | None = None
    """Time of the last entry."""

    def take(self, entry: RingEntry) -> None:
        """The next entry; one that was taken before changes nothing."""
        if entry.number <= self.number:
            return
        self.complete = self.complete and entry.number == self.number + 1
        self.number, self.changed_us = entry.number, entry.at_us
        for user in entry.left:
            self.members.pop(user, None)
        for user in entry.joined:
            self.members.setdefault(user, entry.at_us)
        if entry.what == "ended":
            self.status = "ended"
            self.members.clear()
        elif entry.what == "dormant":
            self.status = "dormant"
        elif entry.what in ("born", "revived") or self.status == "unborn":
            self.status = "active"
        self.busted = self.busted or entry.what == "busted"
        self.complete = self.complete and len(self.members) == entry.users


def as_of(entries: Iterable[RingEntry], at_us: int | None = None) -> RingThen:
    """The ring after its entries up to a time, that included; after all of them without one. In order of their numbers."""
    found = RingThen()
    for entry in entries:
        if at_us is not None and entry.at_us > at_us:
            break
        found.take(entry)
    return found


def latest(entries_after: Callable[[int], Sequence[RingEntry]], most: int) -> list[RingEntry]:
    """The last entries of a ring, oldest first. `entries_after`: those after a number, in order, some at a time."""
    found: deque[RingEntry] = deque(maxlen=most)
    while page := entries_after(found[-1].number if found else 0):
        found.extend(page)
    return list(found)


def sentence(entry: RingEntry) -> str:
    """An entry for people."""
    then = f"; {_accounts(entry.users)} in it then"
    match entry.what:
        case "born":
            return f"Born with {_some(entry.joined)}{_of(', until then in ', entry.rings)}"
        case "grew":
            return f"{_some(entry.joined)} joined{_of(', from ', entry.rings)}{then}"
        case "merged":
            return f"Merged: {_some(entry.joined)} joined{_of(' from ', entry.rings)}{then}"
        case "shrank":
            return f"{_some(entry.left)} left{_of(' for ', entry.rings)}{then}"
        case "split":
            return f"Split: {_some(entry.left)} left{_of(', together in ', entry.rings)}{then}"
        case "dormant":
            return "Dormant: no member was seen on anything they share"
        case "revived":
            return "Revived: a member was seen on something they share"
        case "busted":
            return "Busted: confirmed as fraud for the first time"
        case "ended":
            went = _of("; its members went to ", entry.rings)
            return f"Ended{went}" if went else "Ended: its members share nothing any more"


def _some(users: tuple[str, ...]) -> str:
    if len(users) <= _NAMED:
        return _joined(users)
    return f"{_accounts(len(users))} ({', '.join(users[:_NAMED])}, ...)"


def _joined(texts: tuple[str, ...]) -> str:
    return ", ".join(texts[:-1]) + " and " + texts[-1] if len(texts) > 1 else "".join(texts)


def _of(before: str, rings: tuple[str, ...]) -> str:
    if not rings:
        return ""
    return f"{before}{'ring' if len(rings) == 1 else 'rings'} {_joined(rings)}"


def _accounts(n: int) -> str:
    return f"{n} account{'' if n == 1 else 's'}"

"""What happened to a ring, as values: one entry a change, numbered from 1 for each ring, never changed afterwards."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

What = Literal["born", "grew", "merged", "revived", "shrank", "split", "dormant", "busted", "ended"]
WHATS: tuple[What, ...] = get_args(What)


class RingEntry(msgspec.Struct, frozen=True):
    """An entry of a ring's history. It has members that joined, or members that left, or neither."""

    tenant: str
    ring_id: str
    number: int
    """1 for `born`, one more with each entry of the ring."""
    at_us: int
    """Event time as of which it holds; never before that of the entry before."""
    what: What
    """born; grew or merged; shrank, split or ended; dormant or revived; busted."""
    event_id: str
    """The event behind it; empty where only time passed."""
    users: int
    """Members from then on."""
    joined: tuple[str, ...] = ()
    """Accounts that are members from then on, sorted."""
    left: tuple[str, ...] = ()
    """Accounts that are members no more, sorted."""
    rings: tuple[str, ...] = ()
    """Rings that those who joined come from, or those who left went to, sorted."""

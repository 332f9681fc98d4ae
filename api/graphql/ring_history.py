"""What happened to a ring, and the ring as it was at any time: GraphQL types over its history in the ledger."""

from __future__ import annotations

from collections.abc import Iterator

import strawberry

from api import reads
from api.cursor import read_cursor
from api.graphql.arguments import After, First
from api.graphql.connection import Connection, page
from api.graphql.context import bounded, described, of
from api.graphql.types import time
from ingest.values import check_time
from ledger.store import RingStore
from rings import as_of as replay
from rings import ring as rings
from rings.entry import RingEntry

MOST_ENTRIES, MOST_NAMED, MOST_THEN = 200, 50, 1000
_PAGE = 1000


class Past:
    """The history of one ring, read when something is asked of it."""

    def __init__(self, store: RingStore, tenant: str, ring_id: str, as_of: str | None) -> None:
        """Raises BadInput where `as_of` is no time."""
        self.as_of_us = None if as_of is None else check_time(as_of, "asOf", "refuse")
        self.question = ["timeline", tenant, ring_id]
        self._store, self._tenant, self._ring_id = store, tenant, ring_id

    def page(self, limit: int, after: str | None = None) -> list[RingEntry]:
        """Raises BadInput."""
        place = read_cursor(after, self.question)
        number = 0 if place is None else place[0]
        return list(self._store.ring_history(self._tenant, self._ring_id, after=number, limit=limit))

    def place(self, entry: RingEntry) -> tuple[int, str]:
        return entry.number, self._ring_id

    def entries(self) -> Iterator[RingEntry]:
        after = 0
        while page := self._store.ring_history(self._tenant, self._ring_id, after=after, limit=_PAGE):
            yield from page
            after = page[-1].number

    def then(self) -> replay.RingThen:
        return replay.as_of(self.entries(), self.as_of_us)

    def gone(self) -> rings.Ring | None:
        """What there is to say of a ring that is no more; None when nothing is known of it."""
        if not reads.is_id(self._ring_id):
            return None
        first = self._store.ring_history(self._tenant, self._ring_id, limit=1)
        if not first:
            return None
        ended_us = replay.as_of(self.entries()).changed_us or first[0].at_us
        summary = rings.RingSummary(
            ring_id=self._ring_id, tenant=self._tenant, risk=0.0, users=0, things=0, born_us=first[0].at_us, last_us=ended_us
        )  # fmt: skip
        return rings.Ring(
            summary=summary, founding_event=first[0].event_id, parts=(), members=(), shared=(), links=(), settled_us=ended_us
        )  # fmt: skip


@strawberry.type(description="Something that happened to a ring. Accounts joined, or left, or neither.")
class RingChange:
    number: int = of("1 for the first of the ring, one more with each")
    at: str = of("Event time as of which it holds")
    what: str = of("born, grew, merged, shrank, split, dormant, revived, busted or ended")
    text: str = of("In words")
    event_id: str | None = of("The event behind it; null where only time passed")
    users: int = of("Members from then on")
    joined: list[str] = of("Accounts that are members from then on; at most 50 are listed")
    left: list[str] = of("Accounts that are members no more; at most 50 are listed")
    rings: list[str] = of("Rings that those who joined come from, or those who left went to")


@strawberry.type(description="An account that was in a ring.")
class MemberThen:
    user: str = of("The account")
    joined_at: str = of("When the ring's history has it join")


@strawberry.type(description="A ring as it was: what its history says up to a time.")
class RingThen:
    at: str | None = of("The time asked for; null without one: the end of the history")
    status: str = of("unborn, active, dormant or ended")
    users: int = of("How many accounts were in it")
    busted: bool = of("Whether a member or a shared entity had been confirmed as fraud")
    changed_at: str | None = of("When it had last changed; null before it was born")
    complete: bool = of("False where entries are missing, so that members may be too")
    found: strawberry.Private[replay.RingThen]

    @described("By time of joining; at most 1,000")
    def members(self, first: First = 100) -> list[MemberThen]:
        every = sorted(self.found.members.items(), key=lambda x: (x[1], x[0]))
        return [
            MemberThen(user=user, joined_at=time(joined_us)) for user, joined_us in every[: bounded(first, MOST_THEN)]
        ]


@strawberry.type(description="What a ring says of its past")
class RingPast:
    """What a ring says of its past; `Ring` has these fields too."""

    past: strawberry.Private[Past]

    @described("What happened to it, oldest first; at most 200 at once. Empty where no history was kept")
    def timeline(self, first: First = 20, after: After = None) -> Connection[RingChange]:
        found = self.past.page(bounded(first, MOST_ENTRIES) + 1, after)
        place = self.past.place
        return page(found, change_of, place, first=first, after=after, question=self.past.question)

    @described("As of `asOf` of the ring, or as its history ends; null where no history was kept")
    def then(self) -> RingThen | None:
        found, at_us = self.past.then(), self.past.as_of_us
        if not found.number and not self.past.page(1):
            return None
        return RingThen(
            at=None if at_us is None else time(at_us), status=found.status, users=len(found.members), busted=found.busted,
            changed_at=None if found.changed_us is None else time(found.changed_us), complete=found.complete, found=found,
        )  # fmt: skip


def change_of(entry: RingEntry) -> RingChange:
    return RingChange(
        number=entry.number, at=time(entry.at_us), what=entry.what, text=replay.sentence(entry),
        event_id=entry.event_id or None, users=entry.users, joined=list(entry.joined[:MOST_NAMED]),
        left=list(entry.left[:MOST_NAMED]), rings=list(entry.rings),
    )  # fmt: skip

"""Tells what happens to rings: born, grown, merged, shrunk, split, dormant, revived, busted, ended.

Told by the registry and the keeper, who know what changed. Event time only, so the same items tell the same, however they are
cut. Who wants the entries says so once (`keep`) and takes them from time to time; nobody else pays for them but with counters.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from rings.entry import RingEntry, What
from rings.facts import shared_things
from rings.links import Links

if TYPE_CHECKING:
    from rings.identity import RingState

Cause = tuple[int, int, str]
"""seq, at_us, event id of what is taken in at this moment."""


class History:
    def __init__(self, links: Links) -> None:
        self.links = links
        self.kept: list[RingEntry] = []
        """Told and not taken yet."""
        self.wanted = False
        self.cause: Cause | None = None
        """What is taken in at this moment; None at a mark."""
        self.queued_by: dict[int, tuple[int, str]] = {}
        """User that waits for a mark -> (seq, event id) of the last event that put it there."""
        self.looked_at: dict[int, tuple[int, str]] = {}
        """The same of users whose turn it is at this mark."""
        self.expired: dict[RingState, list[str]] = {}
        """Ring -> accounts that this mark's expiry took from it so far."""
        self.clocks: dict[int, int] = {}
        """Tenant -> time of its last entry."""
        self.mark_us = 1
        """Event time between marks, and the width of a bucket of `watch`."""
        self.now_us = 0
        """The last mark."""
        self.watch: dict[int, array[int]] = {}
        """Hour of event time -> rings last seen in use then when they were put there."""
        self._hours: list[int] = []

    def take(self) -> list[RingEntry]:
        """What was told since it was last taken."""
        found, self.kept = self.kept, []
        return found

    def _tell(
        self, ring: RingState, what: What, event_id: str, joined: Iterable[int] = (), left: Iterable[str] = (),
        rings: Iterable[RingState | None] = (), *, users: int | None = None,
    ) -> None:  # fmt: skip
        ring.entries += 1
        at_us = self.now_us if self.cause is None else max(self.cause[1], self.now_us)
        at_us = self.clocks[ring.tenant] = max(at_us, self.clocks.get(ring.tenant, at_us))
        if not self.wanted:
            return
        self.kept.append(
            RingEntry(
                tenant=self.links.tenant_list[ring.tenant].name, ring_id=ring.ring_id, number=ring.entries, at_us=at_us,
                what=what, event_id=event_id, users=len(ring.members) if users is None else users,
                joined=tuple(sorted(self._names(joined))), left=tuple(sorted(left)),
                rings=tuple(sorted({r.ring_id for r in rings if r is not None and r is not ring})),
            )
        )  # fmt: skip

    def _names(self, users: Iterable[int]) -> Iterable[str]:
        return map(self.links.user_name.__getitem__, users)

    # -- members

    def born(self, ring: RingState, sources: Iterable[RingState | None] = ()) -> None:
        self._tell(ring, "born", ring.founding_event, ring.members, rings=sources)
        self._wait(ring.number, ring.born_us)
        self._bust(ring, ring.members, ring.founding_event)

    def gained(self, ring: RingState, joined: Sequence[int], sources: Sequence[RingState | None]) -> None:
        """`sources`: the rings of those who joined, one each."""
        event_id = self._sharing(ring, joined) if self.cause is None else self.cause[2]
        if ring.quiet_us is not None:
            self._revive(ring, event_id, len(ring.members) - len(joined))
        self._tell(ring, "merged" if _some_together(ring, sources) else "grew", event_id, joined, rings=sources)
        self._bust(ring, joined, event_id)

    def _lost(self, ring: RingState, left: Sequence[int], goals: Sequence[RingState | None], users: int) -> None:
        """`goals`: the rings of those who left, one each; `users`: members that stay."""
        what: What = "split" if _some_together(ring, goals) else "shrank"
        self._tell(ring, what, self._queued(ring, left), left=self._names(left), rings=goals, users=users)

    def forgotten(self, ring: RingState, left: Iterable[int]) -> None:
        """Expiry takes members from a ring, in an order of its own: `settle_expired` tells it at once."""
        self.expired.setdefault(ring, []).extend(self._names(left))

    def settle_expired(self, live: Mapping[int, RingState]) -> None:
        for ring, left in self.expired.items():
            if ring.number in live:
                self._tell(ring, "shrank", "", left=left)
            else:
                self._tell(ring, "ended", "", left=left, users=0)
        self.expired.clear()

    def ended(self, ring: RingState, left: Sequence[int], goals: Iterable[RingState | None] = ()) -> None:
        event_id = self._queued(ring, left) if self.cause is None else self.cause[2]
        self._tell(ring, "ended", event_id, left=self._names(left), rings=goals, users=0)

    def regrouped(
        self, before: Mapping[RingState, tuple[int, ...]], live: Mapping[int, RingState], born: Sequence[RingState],
        was: Mapping[int, RingState | None], of: Sequence[RingState | None],
    ) -> None:  # fmt: skip
        """`before`: rings with the members they had; `was`: user -> its ring then, `of` now."""
        for ring, members in before.items():
            if ring.number not in live:
                self.ended(ring, members, [of[u] for u in members])
                continue
            if ring.members == members:
                continue
            now, then = set(ring.members), set(members)
            left = [u for u in members if u not in now]
            if left:
                self._lost(ring, left, [of[u] for u in left], len(members) - len(left))
            joined = [u for u in ring.members if u not in then]
            if joined:
                self.gained(ring, joined, [was.get(u) for u in joined])
        for ring in born:
            self.born(ring, [was.get(u) for u in ring.members])

    def _queued(self, ring: RingState, left: Sequence[int]) -> str:
        """The last event that had one of its members looked at again at this mark."""
        known = (self.looked_at[u] for u in {*left, *ring.members} if u in self.looked_at)
        return max(known, default=(0, ""))[1]

    def _sharing(self, ring: RingState, joined: Iterable[int]) -> str:
        """The event by which the last of those who joined came to share something with a member."""
        links, mine = self.links, dict.fromkeys(joined, 2**62)
        made: dict[int, str] = {}
        for on in shared_things(links, ring.members).values():
            order = sorted(on, key=lambda x: links.link_seq[x])
            for i, x in enumerate(order):
                u = links.link_user[x]
                by = order[max(i, 1)]
                if u in mine and links.link_seq[by] < mine[u]:
                    mine[u] = links.link_seq[by]
                    made[u] = links.founded_by[by]
        return max(((mine[u], event_id) for u, event_id in made.items()), default=(0, ""))[1]

    # -- use

    def settle(self, live: Mapping[int, RingState], dormant_us: int) -> None:
        """At a mark: rings nobody was seen on for that long go to sleep."""
        until_us = self.now_us - dormant_us
        due: list[int] = []
        while self._hours and self._hours[0] * self.mark_us <= until_us:
            due += self.watch.pop(heappop(self._hours))
        for number in sorted(due):
            ring = live.get(number)
            if ring is None or ring.quiet_us is not None:
                continue
            last_us = self._last(ring)
            if last_us <= until_us:
                ring.quiet_us = last_us
                self._tell(ring, "dormant", "")
            else:
                self._wait(number, last_us)

    def _last(self, ring: RingState) -> int:
        """When a member was last seen on something shared; the mark where it shares nothing at this moment."""
        links = self.links
        shared = shared_things(links, ring.members)
        return max((links.link_last[x] for on in shared.values() for x in on), default=self.now_us)

    def _wait(self, number: int, at_us: int) -> None:
        hour = at_us // self.mark_us
        found = self.watch.get(hour)
        if found is None:
            found = self.watch[hour] = array("q")
            heappush(self._hours, hour)
        found.append(number)

    def watched(self, watch: dict[int, array[int]]) -> None:
        """Take up what was saved."""
        self.watch, self._hours = watch, sorted(watch)

    def woken(self, ring: RingState, u: int, cause: Cause) -> None:
        """An event of a member of a dormant ring was taken in; it wakes the ring when it was on something shared there."""
        links = self.links
        assert ring.quiet_us is not None
        for x in links.of[u] or ():
            if links.link_last[x] <= ring.quiet_us:
                continue
            on = links.on[links.link_thing[x]]
            if any(links.link_user[y] != u and links.user_ring[links.link_user[y]] is ring for y in on):
                self.cause = cause
                self._revive(ring, cause[2], len(ring.members))
                return

    def _revive(self, ring: RingState, event_id: str, users: int) -> None:
        self._tell(ring, "revived", event_id, users=users)
        ring.quiet_us = None
        self._wait(ring.number, self.clocks[ring.tenant])

    # -- truth

    def confirmed(self, ring: RingState, u: int) -> None:
        """A label said fraud of a member."""
        assert self.cause is not None
        self._bust(ring, (u,), self.cause[2])

    def confirmed_thing(self, e: int) -> None:
        """A label said fraud of a thing: of rings with two members or more on it."""
        assert self.cause is not None
        count: dict[int, int] = {}
        rings: dict[int, RingState] = {}
        for x in self.links.on.get(e, ()):
            ring = self.links.user_ring[self.links.link_user[x]]
            if ring is not None:
                rings[ring.number] = ring
                count[ring.number] = count.get(ring.number, 0) + 1
        for number in sorted(rings):
            if count[number] > 1:
                self._bust_once(rings[number], self.cause[2])

    def _bust(self, ring: RingState, users: Iterable[int], event_id: str) -> None:
        fraud, good = self.links.user_fraud, self.links.user_good
        if not ring.busted and any(fraud[u] > good[u] for u in users):
            self._bust_once(ring, event_id)

    def _bust_once(self, ring: RingState, event_id: str) -> None:
        if not ring.busted:
            ring.busted = True
            self._tell(ring, "busted", event_id)


def _some_together(ring: RingState, others: Sequence[RingState | None]) -> bool:
    """Whether two move between the same two rings at once: a merge, and a split. A single one joins, and leaves."""
    numbers = [r.number for r in others if r is not None and r is not ring]
    return len(numbers) > len(set(numbers))

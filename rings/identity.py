"""Rings that keep their identity while their members change.

A ring's id is a hash of its tenant and the event that made its first shared link. When rings merge or split the id
stays with the part that has most members in common, ties by older birth, then smaller id. No id is used twice.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rings.burned import Burned
from rings.facts import Facts, Measured, measure, shared_things
from rings.history import History
from rings.links import Links
from rings.rules import RingAt

if TYPE_CHECKING:
    from rings.judged import Judged


class RingState:
    """A ring as the keeper has it. `members`: sorted user numbers."""

    __slots__ = ("at", "born_us", "busted", "changed_us", "eased", "entries", "facts", "founding_event", "joined", "judged", "members",
                 "number", "quiet_us", "ring_id", "risk", "risk_facts", "row", "tenant")  # fmt: skip

    def __init__(self, number: int, ring_id: str, tenant: int, founding_event: str, born_us: int) -> None:
        self.number = number
        self.ring_id = ring_id
        self.tenant = tenant
        self.founding_event = founding_event
        self.born_us = born_us
        self.changed_us = born_us
        self.members: tuple[int, ...] = ()
        self.facts = Facts()
        """As of the last change; for rings above `eager_users` as of the last mark."""
        self.joined = array("q")
        self.risk_facts: Facts | None = None
        """What its risk was worked out from; None before its first mark."""
        self.risk = 0.0
        self.eased = 0.0
        """How much less that is because sharing was judged innocent."""
        self.judged: tuple[Judged, ...] = ()
        """By which verdicts."""
        self.row: NDArray[np.float32] | None = None
        self.at: RingAt | None = None
        self.entries = 0
        """Entries of its history so far."""
        self.busted = False
        self.quiet_us: int | None = None
        """When it was last in use, while it is dormant."""

    @property
    def seniority(self) -> tuple[int, str]:
        return self.born_us, self.ring_id


class Registry:
    """The rings by number, and the ring of each user that has one."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.rings: dict[int, RingState] = {}
        self.of: list[RingState | None] = links.user_ring
        """User -> its ring."""
        self.by_id: dict[str, RingState] = {}
        self.used: set[str] = set()
        self.next_number = 0
        self.history = History(links)
        self.now_us = 0
        self.fresh: dict[int, None] = {}
        """Rings whose members, things or flags changed since they were last measured, in order."""
        self.unsettled: dict[int, None] = {}
        """Rings whose risk is to be worked out at the next mark, in order."""
        self.burned = Burned()
        self.judged_anew: set[str] = set()
        """Ids of rings that verdicts on sharing have changed, until they are told."""

    def measured(self, ring: RingState, flagged: Collection[int], without: Collection[int] = ()) -> Measured:
        return measure(
            self.links, ring.members, flagged, without, lambda e: self.burned.before(self.links, e, ring.ring_id)
        )

    def burn(self, ring: RingState, at_us: int) -> None:
        """What a busted ring shares is remembered."""
        if ring.busted:
            self.burned.note(self.links, ring.ring_id, shared_things(self.links, ring.members), at_us)

    def changed(self, ring: RingState) -> None:
        ring.at = None
        ring.changed_us = self.now_us
        self.fresh[ring.number] = None
        self.unsettled[ring.number] = None

    def measure_again(self, users: Iterable[int]) -> None:
        """The facts of the users' rings are no longer what they were; the members may be."""
        for u in users:
            ring = self.of[u]
            if ring is not None:
                self.fresh[ring.number] = None
                self.unsettled[ring.number] = None

    def unite(self, users: Sequence[int]) -> None:
        """The users are one ring from now on, in whole rings."""
        rings = {r.number: r for u in users if (r := self.of[u]) is not None}
        if not rings:
            if (ring := self._found(users)) is not None:
                self.history.born(ring)
            return
        best = min(rings.values(), key=lambda r: (-len(r.members), *r.seniority))
        members = sorted({*best.members, *users})
        if len(members) == len(best.members):
            self.measure_again(members[:1])
            return
        joined = [u for u in members if self.of[u] is not best]
        sources = [self.of[u] for u in joined]
        for ring in rings.values():
            if ring is not best:
                self._end(ring)
                self.history.ended(ring, ring.members, (best,))
        self._set(best, members)
        self.history.gained(best, joined, sources)

    def extend(self, ring: RingState, u: int) -> None:
        self._set(ring, sorted([*ring.members, u]))
        self.history.gained(ring, (u,), (None,))

    def leave(self, u: int) -> None:
        """An account that expired is of no ring."""
        ring = self.of[u]
        if ring is None:
            return
        self.of[u] = None
        members = [v for v in ring.members if v != u]
        if len(members) > 1:
            self._set(ring, members)
            self.history.forgotten(ring, (u,))
            return
        for v in members:
            self.of[v] = None
        self._end(ring)
        self.history.forgotten(ring, ring.members)

    def regroup(self, users: Iterable[int], groups: list[list[int]]) -> None:
        """These users are in these groups from now on, in no ring where in none. Rings they were in keep who else is in them."""
        concerned = dict.fromkeys(users)
        before = {r.number: r for u in concerned if (r := self.of[u]) is not None}
        had = {r: r.members for r in before.values()}
        rest = [[u for u in r.members if u not in concerned] for r in before.values()]
        groups = [*groups, *(g for g in rest if len(g) > 1)]
        kept = self._matched(groups)
        was = {u: self.of[u] for u in [*concerned, *(v for g in rest for v in g)]}
        for u in was:
            self.of[u] = None
        for number, ring in before.items():
            if number not in kept.values():
                self._end(ring)
        for i, group in enumerate(groups):
            if i in kept:
                ring = self.rings[kept[i]]
                if ring.members == tuple(group):
                    for u in group:
                        self.of[u] = ring
                else:
                    self._set(ring, group)
        born = [r for i, group in enumerate(groups) if i not in kept and (r := self._found(group)) is not None]
        self.history.regrouped(had, self.rings, born, was, self.of)

    def _matched(self, groups: list[list[int]]) -> dict[int, int]:
        """Group -> the ring whose identity it keeps."""
        common: dict[tuple[int, int], int] = {}
        for i, group in enumerate(groups):
            for u in group:
                if (ring := self.of[u]) is not None:
                    common[i, ring.number] = common.get((i, ring.number), 0) + 1
        kept: dict[int, int] = {}
        taken: set[int] = set()
        for i, number in sorted(common, key=lambda x: (-common[x], *self.rings[x[1]].seniority, groups[x[0]])):
            if i not in kept and number not in taken:
                kept[i] = number
                taken.add(number)
        return kept

    def _found(self, members: Sequence[int]) -> RingState | None:
        links = self.links
        second: list[tuple[int, int, int]] = []
        for e, on in shared_things(links, members).items():
            x = sorted(on, key=lambda x: links.link_seq[x])[1]
            second.append((links.link_seq[x], links.thing_kind[e], x))
        if not second:
            return None  # what they shared is gone too; each of them is in the queue
        link = min(second)[2]
        tenant, event = links.user_tenant[members[0]], links.founded_by[link]
        ring = RingState(self.next_number, self._new_id(tenant, event), tenant, event, links.link_first[link])
        self.next_number += 1
        self.rings[ring.number] = self.by_id[ring.ring_id] = ring
        self._set(ring, sorted(members))
        return ring

    def _new_id(self, tenant: int, event: str) -> str:
        name, turn = self.links.tenant_list[tenant].name, 0
        while True:
            text = f"{len(name)}:{name}{event}" + (f"#{turn}" if turn else "")
            found = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
            if found not in self.used:
                self.used.add(found)
                return found
            turn += 1

    def _set(self, ring: RingState, members: list[int]) -> None:
        ring.members = tuple(members)
        for u in members:
            self.of[u] = ring
        self.changed(ring)

    def _end(self, ring: RingState) -> None:
        del self.rings[ring.number]
        del self.by_id[ring.ring_id]
        self.fresh.pop(ring.number, None)
        self.unsettled.pop(ring.number, None)

"""What people judged innocent: sharing of an entity that no longer speaks against the rings that lean on it.

A ring's risk is then what it had been if its members did not share the entity, where that is less. Who is a member stays as it is.

An entity of a kind that holds no ring together (an ip, a merchant) is a place: its verdict names who used it. A ring leans on it
where two members or more did. That they came about the same time is then what the place explains, for as large a share of the ring as
was there: a campus at the start of term. What they share, what was confirmed and what was alerted speaks against them as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rings import risk
from rings.facts import shared_things
from rings.identity import Registry, RingState
from rings.links import Links


class Judged(msgspec.Struct, frozen=True):
    """Somebody's verdict that users of an entity share it innocently."""

    tenant: str
    """Empty: of every one."""
    kind: str
    entity: str
    who: str
    why: str
    until_us: int | None = None
    """Event time from which it holds no more."""
    users: frozenset[str] = frozenset()
    """Of a place: who used it."""


class Judgements:
    """Those in force, and what they make of rings."""

    def __init__(self, links: Links, registry: Registry, flagged: Mapping[int, tuple[str, ...]]) -> None:
        """`flagged`: users alerted with a pattern."""
        self._links, self._registry, self._flagged = links, registry, flagged
        self._given: Sequence[Judged] = ()
        self._in_force: dict[tuple[str, str, str], Judged] = {}
        self._before: dict[tuple[str, str, str], Judged] = {}

    def give(self, judged: Sequence[Judged], now_us: int) -> None:
        """These and no others, from now on. Every ring that leans on one, or on one that was, is scored anew."""
        if judged is self._given:
            return
        self._given = judged
        self.expire(now_us)

    def expire(self, now_us: int) -> None:
        now = {(j.tenant, j.kind, j.entity): j for j in self._given if j.until_us is None or now_us < j.until_us}
        if now == self._in_force:
            return
        changed = [key for key in {**self._in_force, **now} if self._in_force.get(key) != now.get(key)]
        self._before, self._in_force = self._in_force, now
        rings = {ring.number: ring for key in changed for ring in self._leaning(*key)}
        for ring in rings.values():
            if ring.risk_facts is not None:
                self.settle(ring)
        self._registry.judged_anew |= {ring.ring_id for ring in rings.values()}

    def settle(self, ring: RingState) -> None:
        """The risk by the facts it is worked out from."""
        assert ring.risk_facts is not None
        kinds = self._links.kinds
        ring.risk, ring.row, ring.eased, ring.judged = risk.risk(ring.risk_facts, kinds), None, 0.0, ()
        if not self._in_force:
            return
        things = {e: j for e in shared_things(self._links, ring.members) if (j := self._of(e)) is not None}
        places, there = self._places(ring)
        if things or places:
            facts = self._registry.measured(ring, self._flagged, things).facts if things else ring.risk_facts
            less = min(ring.risk, risk.risk(facts, kinds, there / len(ring.members)))
            ring.eased, ring.risk, ring.judged = round(ring.risk - less, 4), less, (*things.values(), *places)

    def _places(self, ring: RingState) -> tuple[list[Judged], int]:
        """Places that two members or more used, and how many members used any of these."""
        links = self._links
        tenant = links.tenant_list[ring.tenant].name
        names = {links.user_name[u] for u in ring.members}
        found = [
            j for j in self._in_force.values() if j.users and j.tenant == tenant and len(names & j.users) > 1
        ]  # fmt: skip
        return found, len({name for j in found for name in names & j.users})

    def _of(self, e: int) -> Judged | None:
        links = self._links
        tenant = links.tenant_list[links.thing_tenant[e]].name
        of = links.kinds[links.thing_kind[e]], links.thing_name[e]
        return self._in_force.get((tenant, *of)) or self._in_force.get(("", *of))

    def _leaning(self, tenant: str, kind: str, entity: str) -> Iterable[RingState]:
        """Rings with a member that is on it, or was at it by the verdict of now or of before."""
        links, key = self._links, (tenant, kind, entity)
        names = {name for given in (self._in_force, self._before) if key in given for name in given[key].users}
        for known in links.tenants.values():
            if tenant in ("", known.name):
                e = known.things.get(kind, {}).get(entity)
                users = {links.link_user[x] for x in links.on.get(e, ())} if e is not None else set()
                users |= {u for name in names if (u := known.users.get(name)) is not None}
                yield from (ring for u in sorted(users) if (ring := self._registry.of[u]) is not None)

"""What people judged innocent: sharing of an entity that no longer speaks against the rings that lean on it.

A ring's risk is then what it had been if its members did not share the entity, where that is less. Who is a member stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rings import risk
from rings.facts import measure, shared_things
from rings.identity import Registry, RingState
from rings.links import Links


class Judged(msgspec.Struct, frozen=True):
    """Somebody's verdict that users of an entity share it innocently."""

    tenant: str
    kind: str
    entity: str
    who: str
    why: str
    until_us: int | None = None
    """Event time from which it holds no more."""


class Judgements:
    """Those in force, and what they make of rings."""

    def __init__(self, links: Links, registry: Registry, flagged: Mapping[int, tuple[str, ...]]) -> None:
        """`flagged`: users alerted with a pattern."""
        self._links, self._registry, self._flagged = links, registry, flagged
        self._given: Sequence[Judged] = ()
        self._in_force: dict[tuple[str, str, str], Judged] = {}

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
        self._in_force = now
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
        if things:
            facts = measure(self._links, ring.members, self._flagged, without=things).facts
            less = min(ring.risk, risk.risk(facts, kinds))
            ring.eased, ring.risk, ring.judged = round(ring.risk - less, 4), less, tuple(things.values())

    def _of(self, e: int) -> Judged | None:
        links = self._links
        tenant = links.tenant_list[links.thing_tenant[e]].name
        return self._in_force.get((tenant, links.kinds[links.thing_kind[e]], links.thing_name[e]))

    def _leaning(self, tenant: str, kind: str, entity: str) -> Iterable[RingState]:
        links = self._links
        known = links.tenants.get(tenant)
        e = None if known is None else known.things.get(kind, {}).get(entity)
        users = () if e is None else (links.link_user[x] for x in links.on.get(e, ()))
        return (ring for u in users if (ring := self._registry.of[u]) is not None)

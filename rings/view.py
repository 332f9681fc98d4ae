"""Rings as values for people: summaries, members, shared things, links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rings import risk
from rings.burned import Burned
from rings.facts import is_young, joins, shared_things
from rings.identity import RingState
from rings.links import DEPARTED, Links
from rings.ring import Ring, RingLink, RingMember, RingSummary, SharedThing

MOST_MEMBERS, MOST_LINKS = 1_000, 5_000
Patterns = Mapping[int, tuple[str, ...]]


def accounts_on(links: Links, tenant: str, kind: str, entity: str, up_to_seq: int) -> tuple[str, ...]:
    known = links.tenants.get(tenant)
    e = None if known is None else known.things.get(kind, {}).get(entity)
    if e is None:
        return ()
    head = links.thing_head[e]
    on = links.on.get(e) or links.hub_links.get(e) or ([head] if head >= 0 else [])
    return tuple(links.user_name[links.link_user[x]] for x in on if links.link_seq[x] <= up_to_seq)


def summary(links: Links, ring: RingState, patterns: Patterns) -> RingSummary:
    return _summary(links, ring, patterns, shared_things(links, ring.members))


def _summary(links: Links, ring: RingState, patterns: Patterns, shared: dict[int, list[int]]) -> RingSummary:
    every = [x for on in shared.values() for x in on]
    return RingSummary(
        ring_id=ring.ring_id,
        tenant=links.tenant_list[ring.tenant].name,
        risk=ring.risk,
        users=len(ring.members),
        things=len(shared),
        born_us=ring.born_us,
        last_us=max((links.link_last[x] for x in every), default=ring.changed_us),
        patterns=tuple(sorted({p for u in ring.members for p in patterns.get(u, ())})),
        amount_minor=sum(links.link_amount[x] for x in every),
    )


def summaries(links: Links, rings: Iterable[RingState], patterns: Patterns, tenant: str | None) -> list[RingSummary]:
    """Of those of a tenant, or of all; the highest risk first, ties by id."""
    found = [
        summary(links, ring, patterns) for ring in rings if tenant is None or links.tenant_list[ring.tenant].name == tenant
    ]  # fmt: skip
    return sorted(found, key=lambda r: (-r.risk, r.ring_id))


def whole(links: Links, ring: RingState, patterns: Patterns, settled_us: int, burned: Burned) -> Ring:
    shared = shared_things(links, ring.members)
    members = _members(links, ring, patterns, shared)
    every = [_link(links, x) for on in shared.values() for x in on]
    every.sort(key=lambda x: (x.first_us, x.user, x.kind, x.entity))
    return Ring(
        summary=_summary(links, ring, patterns, shared),
        founding_event=ring.founding_event,
        parts=risk.parts(ring.risk_facts, links.kinds, ring.eased, ring.judged) if ring.risk_facts is not None else (),
        members=tuple(members[:MOST_MEMBERS]),
        shared=_things(links, ring, shared, burned),
        links=tuple(every[:MOST_LINKS]),
        settled_us=settled_us,
        truncated=len(members) > MOST_MEMBERS or len(every) > MOST_LINKS,
    )


def _members(links: Links, ring: RingState, patterns: Patterns, shared: dict[int, list[int]]) -> list[RingMember]:
    first = joins(links, shared)
    last: dict[int, int] = {}
    for on in shared.values():
        for x in on:
            u = links.link_user[x]
            last[u] = max(last.get(u, links.link_last[x]), links.link_last[x])
    found = []
    for u in ring.members:
        if u not in first:  # what it shared was taken away since the last mark
            found.append(RingMember(links.user_name[u], ring.changed_us, ring.changed_us))
            continue
        young = is_young(links, first[u])
        found.append(
            RingMember(
                user=links.user_name[u],
                joined_us=links.link_first[first[u]],
                last_us=last[u],
                young=young,
                departed=not young and bool(links.link_flags[first[u]] & DEPARTED),
                fraud=links.user_fraud[u] > links.user_good[u],
                patterns=patterns.get(u, ()),
            )
        )
    return sorted(found, key=lambda m: (m.joined_us, m.user))


def _things(links: Links, ring: RingState, shared: dict[int, list[int]], burned: Burned) -> tuple[SharedThing, ...]:
    found = [
        SharedThing(
            kind=links.kinds[links.thing_kind[e]],
            entity=links.thing_name[e],
            users=len(on),
            first_us=min(links.link_first[x] for x in on),
            last_us=max(links.link_last[x] for x in on),
            busted_ring=burned.before(links, e, ring.ring_id),
            verdict="" if ring.risk_facts is None else risk.verdict(ring.risk_facts, links.kinds, links.thing_kind[e]),
        )
        for e, on in shared.items()
    ]
    return tuple(sorted(found, key=lambda t: (-t.users, t.kind, t.entity)))


def _link(links: Links, x: int) -> RingLink:
    e = links.link_thing[x]
    return RingLink(
        user=links.user_name[links.link_user[x]],
        kind=links.kinds[links.thing_kind[e]],
        entity=links.thing_name[e],
        first_us=links.link_first[x],
        last_us=links.link_last[x],
        events=links.link_events[x],
        amount_minor=links.link_amount[x],
    )

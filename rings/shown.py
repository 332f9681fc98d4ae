"""What of a ring a picture shows: all of a small ring, the strongest of a large one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from rings.ring import Ring, RingLink, RingMember, SharedThing

ThingKey = tuple[str, str]
"""kind, entity"""
MOST_ACCOUNTS = 60
MOST_THINGS = 30


@dataclass(frozen=True, slots=True)
class Shown:
    ring: Ring
    members: tuple[RingMember, ...]
    """By time of joining, as in the ring."""
    things: tuple[SharedThing, ...]
    """Most users first."""
    links: tuple[RingLink, ...]
    """Between those."""

    @property
    def accounts_left_out(self) -> int:
        return max(self.ring.summary.users, len(self.ring.members)) - len(self.members)

    @property
    def things_left_out(self) -> int:
        return max(self.ring.summary.things, len(self.ring.shared)) - len(self.things)

    @property
    def start_us(self) -> int:
        """From when things happened: the ring's birth, or an account's joining before that."""
        return min([self.ring.summary.born_us, *(m.joined_us for m in self.members)])

    @property
    def end_us(self) -> int:
        times = [t for m in self.members for t in (m.joined_us, m.last_us)]
        return max([*times, *(link.last_us for link in self.links), self.ring.summary.last_us])


def shown_of(ring: Ring, *, accounts: int = MOST_ACCOUNTS, things: int = MOST_THINGS) -> Shown:
    """Confirmed fraud first, then who shares most, is most active and joined first; of the things, those most of them share."""
    linked = by_user(ring.links)

    def strength(member: RingMember) -> tuple[object, ...]:
        own = linked.get(member.user, ())
        return (not member.fraud, -len(own), -sum(k.events for k in own), member.joined_us, member.user)

    kept = {m.user for m in sorted(ring.members, key=strength)[:accounts]}
    users: dict[ThingKey, int] = defaultdict(int)
    for link in ring.links:
        users[link.kind, link.entity] += link.user in kept
    order = sorted(ring.shared, key=lambda t: (-users[t.kind, t.entity], -t.users, t.kind, t.entity))
    drawn = [t for t in order if users[t.kind, t.entity]][:things]
    names = {(t.kind, t.entity) for t in drawn}
    links = tuple(k for k in ring.links if k.user in kept and (k.kind, k.entity) in names)
    linked_users = {k.user for k in links}
    members = tuple(m for m in ring.members if m.user in kept and (m.user in linked_users or not links))
    return Shown(ring, members, tuple(drawn), links)


def fewer(shown: Shown, *, accounts: int, things: int) -> Shown:
    """Part of what is shown, for a smaller place."""
    part = msgspec.structs.replace(shown.ring, members=shown.members, shared=shown.things, links=shown.links)
    return replace(shown_of(part, accounts=accounts, things=things), ring=shown.ring)


def by_user(links: Sequence[RingLink]) -> dict[str, list[RingLink]]:
    found: dict[str, list[RingLink]] = defaultdict(list)
    for link in links:
        found[link.user].append(link)
    return dict(found)


def by_thing(links: Sequence[RingLink]) -> dict[ThingKey, list[RingLink]]:
    found: dict[ThingKey, list[RingLink]] = defaultdict(list)
    for link in links:
        found[link.kind, link.entity].append(link)
    return dict(found)


def account_keys(ring: Ring) -> dict[str, str]:
    """A short name of each account that is safe anywhere, the same in every part of a page."""
    return {m.user: f"a{n}" for n, m in enumerate(ring.members)}


def thing_keys(ring: Ring) -> dict[ThingKey, str]:
    return {(t.kind, t.entity): f"t{n}" for n, t in enumerate(ring.shared)}

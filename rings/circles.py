"""The community step: in a large component, which of the groups it is made of does each user belong to?

Two shared things belong to one circle when at least half of the users of each use the other too (2 * common >= users of
the larger one). A circle is a connected set of such things, with all their users. Who is in several circles belongs to
the one with the strongest `pull`; circles that only one user prefers are left out, and that user takes the next best.
The users that chose a circle are its ring, apart where they share none of its things.

Why not modularity (Louvain, Leiden): docs/adr/0008-ring-keeper.md. These are step rules about a thing and its neighbours: the
answer for a part of the graph does not depend on what is far away. A change is worked out by looking at its circles
only, and the result is the same as from scratch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rings.facts import YOUNG_US, most_within
from rings.links import DEPARTED, NEVER, Links
from ringwatch.model import DAY_US

Pull = tuple[float, int, int]
"""(strength, -seq, -kind of the earliest link): higher is stronger; no two circles are equal."""


class Groups:
    """Numbers that are joined step by step; a group is named by its smallest number."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._parent = {n: n for n in sorted(numbers)}

    def __contains__(self, n: int) -> bool:
        return n in self._parent

    def root(self, n: int) -> int:
        parent = self._parent
        while parent[n] != n:
            parent[n] = n = parent[parent[n]]
        return n

    def join(self, a: int, b: int) -> None:
        a, b = self.root(a), self.root(b)
        if a != b:
            self._parent[max(a, b)] = min(a, b)

    def lists(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for n in self._parent:
            found.setdefault(self.root(n), []).append(n)
        return list(found.values())


def related(links: Links, things: Collection[int]) -> list[list[int]]:
    """The circles among shared things: sorted lists, in the order of their first thing."""
    groups = Groups(things)
    for e in sorted(things):
        common: dict[int, int] = {}
        for link in links.on[e]:
            for other in links.of[links.link_user[link]] or ():
                f = links.link_thing[other]
                if f > e and f in groups:
                    common[f] = common.get(f, 0) + 1
        size = len(links.on[e])
        for f, n in common.items():
            if 2 * n >= max(size, len(links.on[f])):
                groups.join(e, f)
    return groups.lists()


def users_on(links: Links, things: Iterable[int]) -> list[int]:
    """Sorted."""
    return sorted({links.link_user[x] for e in things for x in links.on[e]})


def pull(links: Links, things: Collection[int]) -> Pull:
    """How strongly a circle binds: the largest share of its users that joined it within three days of each other as young accounts
    or by leaving what they had. A home gathers people over weeks who had no other; a campaign takes them at once."""
    first: dict[int, tuple[int, int]] = {}
    earliest: tuple[int, int] | None = None
    for e in things:
        kind = links.thing_kind[e]
        for link in links.on[e]:
            u, key = links.link_user[link], (links.link_first[link], link)
            if u not in first or key < first[u]:
                first[u] = key
            seen = (links.link_seq[link], kind)
            if earliest is None or seen < earliest:
                earliest = seen
    telling: list[int] = []
    for u, (at_us, link) in first.items():
        opened = links.user_signup[u]
        young = opened != NEVER and -YOUNG_US < at_us - opened < YOUNG_US
        if young or links.link_flags[link] & DEPARTED:
            telling.append(at_us)
    telling.sort()
    strength = most_within(telling, 3 * DAY_US) / max(1, len(first))
    assert earliest is not None
    return strength, -earliest[0], -earliest[1]


def pieces(links: Links, things: Iterable[int], users: Collection[int]) -> list[list[int]]:
    """The users that are joined to another one by the things: sorted groups of two or more."""
    groups = Groups(users)
    for e in things:
        on = [u for x in links.on[e] if (u := links.link_user[x]) in groups]
        for u in on[1:]:
            groups.join(on[0], u)
    return [members for members in groups.lists() if len(members) > 1]

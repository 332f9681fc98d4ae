"""What is measured of a ring, in whole numbers: everything its features and its risk are made of."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from math import log10
from typing import NamedTuple

from rings.links import DEPARTED, FRAUD, NEVER, Links
from ringwatch.model import DAY_US

YOUNG_US = DAY_US
RECENT_US = 14 * DAY_US
TOGETHER_US = 7 * DAY_US


class Facts(NamedTuple):
    """Counts over the members of a ring, its shared things (two members or more) and the links between them."""

    users: int = 0
    things: int = 0
    kinds: int = 0
    links: int = 0
    multi: int = 0
    """Members that share things of three kinds or more with another member."""
    widest: int = 0
    """Members on the thing most of them share."""
    widest_kind: int = -1
    widest_day: int = 0
    """Most of them that came to it within a day of each other."""
    second: int = 0
    """Members on the next most shared thing."""
    rarity: int = 0
    """Thousandths: -log10 of the share of things of the widest one's kind with at least so many users."""
    young: int = 0
    """Under a day old when they joined."""
    departed: int = 0
    """Joined by leaving their usual thing of that kind."""
    recent: int = 0
    """Under 14 days old when they joined."""
    opened: int = 0
    """Most members that signed up within 7 days of each other."""
    told: int = 0
    """Most members, young or departed, that joined within a day of each other."""
    within_day: int = 0
    """Most members of any sort that joined within a day of each other."""
    fraud: int = 0
    fraud_here: int = 0
    """Members with a confirmed fraud on a shared thing."""
    fraud_elsewhere: int = 0
    good: int = 0
    flagged: int = 0
    amount_minor: int = 0
    first_us: int = NEVER
    last_joined_us: int = NEVER
    last_us: int = NEVER
    reused: int = 0
    """Members on shared things that a busted ring had before."""


class Measured(NamedTuple):
    facts: Facts
    joined: array[int]
    """Times of joining, sorted."""


def shared_things(links: Links, members: Collection[int]) -> dict[int, list[int]]:
    """thing -> links of members to it, for the things that at least two of them are on. Sorted by thing."""
    within = members if isinstance(members, (set, frozenset, dict)) else set(members)
    found: dict[int, list[int]] = {}
    for u in sorted(within):
        for link in links.of[u] or ():
            found.setdefault(links.link_thing[link], []).append(link)
    return {e: found[e] for e in sorted(found) if len(found[e]) > 1}


def joins(links: Links, shared: dict[int, list[int]]) -> dict[int, int]:
    """member -> the link by which it joined: the earliest of its links to the shared things."""
    found: dict[int, int] = {}
    for on in shared.values():
        for link in on:
            u = links.link_user[link]
            before = found.get(u)
            if before is None or _order(links, link) < _order(links, before):
                found[u] = link
    return found


def _order(links: Links, link: int) -> tuple[int, int, int]:
    return links.link_first[link], links.link_seq[link], links.thing_kind[links.link_thing[link]]


def most_within(times: Sequence[int], span_us: int) -> int:
    """Most of the sorted times that lie within a span."""
    best = start = 0
    for i, at_us in enumerate(times):
        while at_us - times[start] >= span_us:
            start += 1
        best = max(best, i + 1 - start)
    return best


def is_young(links: Links, link: int) -> bool:
    opened = links.user_signup[links.link_user[link]]
    return opened != NEVER and -YOUNG_US < links.link_first[link] - opened < YOUNG_US


def measure(
    links: Links,
    members: Collection[int],
    flagged: Collection[int],
    without: Collection[int] = (),
    reused: Callable[[int], str] = lambda _: "",
) -> Measured:
    """`flagged`: users alerted with a pattern; `without`: things as if the members did not share them; `reused`: the busted ring that had
    a thing before, or nothing."""
    shared = {e: on for e, on in shared_things(links, members).items() if e not in without}
    first = joins(links, shared)
    if not first:  # what they shared became a hub since the last mark
        return Measured(Facts(users=len(members)), array("q"))
    joined = array("q", sorted(links.link_first[x] for x in first.values()))
    found = Facts(
        users=len(members),
        things=len(shared),
        kinds=len({links.thing_kind[e] for e in shared}),
        links=sum(map(len, shared.values())),
        within_day=most_within(joined, DAY_US),
        first_us=joined[0],
        last_joined_us=joined[-1],
        reused=len({links.link_user[x] for e, on in shared.items() if reused(e) for x in on}),
    )
    for more in (_ages(links, first), _known(links, first, shared, flagged), _use(links, shared)):
        found = found._replace(**more)
    return Measured(found, joined)


def _ages(links: Links, first: dict[int, int]) -> dict[str, int]:
    """How old the accounts were when they joined, and what they left."""
    telling: list[int] = []
    opened: list[int] = []
    young = recent = 0
    for u, link in first.items():
        at_us, opened_us = links.link_first[link], links.user_signup[u]
        is_new = opened_us != NEVER and -YOUNG_US < at_us - opened_us < YOUNG_US
        if opened_us != NEVER:
            opened.append(opened_us)
            recent += at_us - opened_us < RECENT_US
        young += is_new
        if is_new or links.link_flags[link] & DEPARTED:
            telling.append(at_us)
    return {
        "young": young,
        "departed": len(telling) - young,
        "recent": recent,
        "opened": most_within(sorted(opened), TOGETHER_US),
        "told": most_within(sorted(telling), DAY_US),
    }


def _known(
    links: Links, first: dict[int, int], shared: dict[int, list[int]], flagged: Collection[int]
) -> dict[str, int]:
    """What turned out about the members."""
    fraud = {u for u in first if links.user_fraud[u] > links.user_good[u]}
    here = {links.link_user[x] for on in shared.values() for x in on if links.link_flags[x] & FRAUD}
    return {
        "fraud": len(fraud),
        "fraud_here": len(here),
        "fraud_elsewhere": len(fraud - here),
        "good": sum(links.user_good[u] > 0 and not links.user_fraud[u] for u in first),
        "flagged": sum(u in flagged and u not in fraud and u not in here for u in first),
    }


def _use(links: Links, shared: dict[int, list[int]]) -> dict[str, int]:
    """How the members use the shared things."""
    kinds_of: dict[int, int] = {}
    for e, on in shared.items():
        for x in on:
            kinds_of[links.link_user[x]] = kinds_of.get(links.link_user[x], 0) | 1 << links.thing_kind[e]
    order = sorted(shared, key=lambda e: (-len(shared[e]), links.thing_kind[e], e))
    widest = order[0]
    every = [x for on in shared.values() for x in on]
    return {
        "multi": sum(kinds.bit_count() >= 3 for kinds in kinds_of.values()),
        "widest": len(shared[widest]),
        "widest_kind": links.thing_kind[widest],
        "widest_day": most_within(sorted(links.link_first[x] for x in shared[widest]), DAY_US),
        "second": len(shared[order[1]]) if len(order) > 1 else 0,
        "rarity": _rarity(links, widest),
        "amount_minor": sum(links.link_amount[x] for x in every),
        "last_us": max(links.link_last[x] for x in every),
    }


def _rarity(links: Links, e: int) -> int:
    """Of the number of users on a thing, all of them counted, among the live things of its tenant and kind."""
    sizes = links.tenant_list[links.thing_tenant[e]].sizes[links.thing_kind[e]]
    users = len(links.on.get(e, ()))
    return round(-1000 * log10((sum(sizes[users:]) + 1) / (sum(sizes) + 1)))


def joined_since(joined: Sequence[int], at_us: int) -> int:
    """How many of the sorted times are later."""
    return len(joined) - bisect_right(joined, at_us)

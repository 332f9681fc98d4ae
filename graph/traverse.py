"""A bounded breadth-first walk over stored links: the same for every engine that can answer `LinkReader`."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from graph.store import EVERY_LINK, Link, LinkFilter, Neighbourhood, Node, StoredEntity


@dataclass(frozen=True, slots=True)
class StoredLink:
    """A link seen from one of its ends; `other` is the uid of the far end."""

    other: str
    outgoing: bool
    """True when the near end is the link's user."""
    first_seen_us: int
    last_seen_us: int
    events: int
    amount_minor: int
    fails: int


@dataclass(frozen=True, slots=True)
class LinksOf:
    """The most recent wanted links of one entity, latest first (ties by uid)."""

    links: Sequence[StoredLink]
    degree: int
    """All its links."""
    wanted: int
    """How many of them are wanted, at most: the engine may not look at all of a hub."""


class LinkReader(Protocol):
    def links_of(self, uids: Sequence[str], *, cap: int, wanted: LinkFilter) -> Mapping[str, LinksOf]: ...

    def degrees(self, uids: Sequence[str]) -> Mapping[str, int]: ...

    def entities(self, uids: Sequence[str]) -> Mapping[str, StoredEntity]: ...


def most_recent(links: Sequence[StoredLink], cap: int) -> list[StoredLink]:
    """At most `cap` links, latest `last_seen_us` first, ties by uid of the far end."""
    return heapq.nsmallest(cap, links, key=lambda link: (-link.last_seen_us, link.other))


@dataclass(slots=True)
class _Walk:
    """Depth and degree by uid; links by (user uid, other uid)."""

    depth: dict[str, int]
    filter: LinkFilter = EVERY_LINK
    degree: dict[str, int] = field(default_factory=dict)
    links: dict[tuple[str, str], StoredLink] = field(default_factory=dict)
    read: dict[str, LinksOf] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)


def walk(
    reader: LinkReader, root: str, *, hops: int, degree_cap: int, limit: int, wanted: LinkFilter = EVERY_LINK
) -> Neighbourhood | None:
    """Breadth first from `root` within the bounds; None when the reader does not know the root."""
    if not reader.entities([root]):
        return None
    state = _Walk({root: 0}, wanted)
    frontier = [root]
    for depth in range(1, hops + 1):
        if not frontier:
            break
        frontier = _step(reader, state, frontier, depth, degree_cap, limit)
    state.degree.update(reader.degrees([uid for uid in state.depth if uid not in state.degree]))
    return _assemble(reader, state, root, hops, limit)


def _step(reader: LinkReader, state: _Walk, frontier: list[str], depth: int, cap: int, limit: int) -> list[str]:
    found = reader.links_of(frontier, cap=cap, wanted=state.filter)
    reached: list[str] = []
    for uid in frontier:
        near = found.get(uid) or LinksOf((), 0, 0)
        state.degree[uid] = near.degree
        state.read[uid] = near
        for link in near.links:
            if link.other not in state.depth:
                if len(state.depth) >= limit:
                    state.left_out.add(link.other)
                    continue
                state.depth[link.other] = depth
                reached.append(link.other)
            pair = (uid, link.other) if link.outgoing else (link.other, uid)
            state.links.setdefault(pair, link)
    return reached


def _assemble(reader: LinkReader, state: _Walk, root: str, hops: int, limit: int) -> Neighbourhood:
    stored = reader.entities(list(state.depth))
    shown = dict.fromkeys(state.depth, 0)
    for user, other in state.links:
        shown[user] += user not in state.read or state.filter.leads_to(stored[other].ref.kind)
        shown[other] += other != user
    nodes = []
    for uid, depth in state.depth.items():
        e, degree = stored[uid], state.degree.get(uid, 0)
        all_there = state.read[uid].wanted if uid in state.read else degree
        nodes.append(
            Node(
                e.ref, e.first_seen_us, e.last_seen_us, e.events, e.amount_minor, e.alerts,
                depth=depth, degree=degree, cut=all_there > shown[uid],
            )
        )  # fmt: skip
    links = [
        Link(
            stored[user].ref, stored[other].ref, x.first_seen_us, x.last_seen_us, x.events, x.amount_minor, x.fails
        )
        for (user, other), x in state.links.items()
    ]  # fmt: skip
    return Neighbourhood(stored[root].ref, nodes, links, _cuts(state, stored, shown, hops, limit))


def _cuts(
    state: _Walk, stored: Mapping[str, StoredEntity], shown: Mapping[str, int], hops: int, limit: int
) -> tuple[str, ...]:
    cuts = []
    for uid, near in state.read.items():
        seen = max(len(near.links), shown[uid])
        if seen < near.wanted:
            ref = stored[uid].ref
            cuts.append(f"{ref.kind} {ref.id}: {seen:,} of {near.wanted:,} links read")
    if state.left_out:
        cuts.append(f"{limit:,} nodes read: at least {len(state.left_out):,} more lie within {hops} hops")
    beyond = sum(1 for uid in state.depth if uid not in state.read and state.degree.get(uid, 0) > shown[uid])
    if beyond:
        cuts.append(f"{beyond:,} entities at {hops} hops have further links, not read")
    return tuple(cuts)

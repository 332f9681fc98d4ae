"""Whether a graph that was filled, then written to, is what its history makes: nothing twice, nothing missing, every value."""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass

import msgspec
import numpy as np
from graph_stream import KINDS, History, Pending, at_us, ref_of

from graph.neo4j_store import Neo4jGraph

CHECKED_USERS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """Numbers of events: imported before `warm`, then written `passes` times until `start`, then measured."""

    warm: int
    start: int
    passes: int


def check_counts(store: Neo4jGraph, history: History, stop: int) -> None:
    """What the events before `stop` make, no more and no less: a link or entity made twice would show."""
    counts = store.counts()
    for what, known in (("entities", history.entities), ("links", history.links)):
        expected = int(known[stop - 1])
        if counts[what] != expected:
            raise SystemExit(f"the graph holds {counts[what]:,} {what}, the history makes {expected:,}")


def check_users(store: Neo4jGraph, history: History, part: Part, stop: int) -> int:
    """All links of some users who were imported and came again while measured, in every value; how many links that were."""
    users = history.columns["user"][:stop]
    came = np.intersect1d(users[part.start :], users[: part.warm])
    checked = 0
    for user in random.Random(4).sample(came.tolist(), min(CHECKED_USERS, len(came))):
        expected = Pending()
        for event in np.flatnonzero(users == user).tolist():
            times = part.passes if part.warm <= event < part.start else 1
            for _ in range(times):
                expected.event(tuple(int(history.columns[kind][event]) for kind in KINDS), at_us(event))
        ref = ref_of("user", user)
        found = store.neighbourhood(ref, hops=1, degree_cap=10_000, limit=10_000)
        degree = next(node.degree for node in found.nodes if node.ref == ref)
        links = {astuple(link) for link in found.links}
        if degree != len(expected.links) or links != {msgspec.structs.astuple(x) for x in expected.links.values()}:
            raise SystemExit(f"user-{user} has {degree} links, the history makes {len(expected.links)}, or they differ")
        checked += degree
    return checked

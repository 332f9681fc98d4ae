"""What a walk over the graph asks of Neo4j, within one read transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graph.neo4j_connection import Statements
from graph.store import EVERY_LINK, EntityRef, LinkFilter, StoredEntity
from graph.traverse import LinksOf, StoredLink

LINKS_A_STEP = 100_000
"""Stored links looked at for one step of a walk. Neo4j has no order of a node's links by time, so finding the latest of a
hub reads its links; above this bound, the hubs of the step share it evenly, and each is read from its newest batch on."""


_EVER = 2**62
"""No time of a link, in microseconds, is as far away."""


class Neo4jReader:
    def __init__(self, statements: Statements, links_a_step: int = LINKS_A_STEP) -> None:
        self._statements = statements
        self._links_a_step = links_a_step

    def links_of(self, uids: Sequence[str], *, cap: int, wanted: LinkFilter) -> Mapping[str, LinksOf]:
        degrees = self.degrees(uids)
        scan = max(cap, water_level(list(degrees.values()), self._links_a_step))
        bounds = {"uids": list(degrees), "scan": scan, **_params(wanted)}
        rows = self._statements.run("read_links", **bounds, cap=cap, limit=len(degrees) * cap)
        found: dict[str, list[StoredLink]] = {uid: [] for uid in degrees}
        for row in rows:
            uid, *values = row.values()
            found[uid].append(StoredLink(*values))
        fitting = dict(degrees)
        if wanted != EVERY_LINK:
            for uid, fit in self._statements.run("read_links_wanted", **bounds, limit=len(degrees)):
                fitting[uid] = fit + max(0, degrees[uid] - scan)
        return {uid: LinksOf(links, degrees[uid], fitting[uid]) for uid, links in found.items()}

    def degrees(self, uids: Sequence[str]) -> Mapping[str, int]:
        rows = self._statements.run("read_degrees", uids=list(uids), limit=len(uids))
        return {row["uid"]: row["degree"] for row in rows}

    def entities(self, uids: Sequence[str]) -> Mapping[str, StoredEntity]:
        rows = self._statements.run("read_entities", uids=list(uids), limit=len(uids))
        found = {}
        for row in rows:
            uid, tenant, kind, id_, *values = row.values()
            found[uid] = StoredEntity(EntityRef(tenant, kind, id_), *values)
        return found


def _params(wanted: LinkFilter) -> dict[str, Any]:
    return {
        "kinds": None if wanted.kinds is None else ["user", *wanted.kinds],
        "since": -_EVER if wanted.since_us is None else wanted.since_us,
        "until": _EVER if wanted.until_us is None else wanted.until_us,
        "least": wanted.min_events,
    }


def water_level(degrees: Sequence[int], total: int) -> int:
    """The most to take of each so that it comes to `total` or less: max(degrees) where all fit, else at least 1."""
    left, waiting = total, len(degrees)
    for degree in sorted(degrees):
        if degree * waiting > left:
            return max(1, left // waiting)
        left -= degree
        waiting -= 1
    return max(degrees, default=1)

"""What a walk over the graph asks of Neo4j, within one read transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graph.neo4j_connection import Statements
from graph.store import EntityRef
from graph.traverse import LinksOf, StoredEntity, StoredLink

LINKS_A_STEP = 100_000
"""Stored links looked at for one step of a walk. Neo4j has no order of a node's links by time, so finding the latest of a
hub reads its links; above this bound, the hubs of the step share it evenly, and each is read from its newest batch on."""


class Neo4jReader:
    def __init__(self, statements: Statements, links_a_step: int = LINKS_A_STEP) -> None:
        self._statements = statements
        self._links_a_step = links_a_step

    def links_of(self, uids: Sequence[str], *, cap: int) -> Mapping[str, LinksOf]:
        degrees = self.degrees(uids)
        scan = max(cap, water_level(list(degrees.values()), self._links_a_step))
        rows = self._statements.run("read_links", uids=list(degrees), scan=scan, cap=cap, limit=len(degrees) * cap)
        found: dict[str, list[StoredLink]] = {uid: [] for uid in degrees}
        for row in rows:
            uid, *values = row.values()
            found[uid].append(StoredLink(*values))
        return {uid: LinksOf(links, degrees[uid]) for uid, links in found.items()}

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


def water_level(degrees: Sequence[int], total: int) -> int:
    """The most to take of each so that it comes to `total` or less: max(degrees) where all fit, else at least 1."""
    left, waiting = total, len(degrees)
    for degree in sorted(degrees):
        if degree * waiting > left:
            return max(1, left // waiting)
        left -= degree
        waiting -= 1
    return max(degrees, default=1)

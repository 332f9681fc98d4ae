"""Graph stores for tests: an embedded one in a folder, and a real Neo4j emptied for each test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import neo4j

from graph.ladybug_store import LadybugGraph
from graph.neo4j_connection import Limits
from graph.neo4j_reader import LINKS_A_STEP
from graph.neo4j_store import Neo4jGraph
from graph.store import EntityRef, EntityUpdate, GraphBatch, LinkUpdate
from tests.support.backends import Neo4jBackend


def open_ladybug(folder: Path) -> LadybugGraph:
    return LadybugGraph(folder / "graph.lbug", fold_min_rows=40, slice_rows=25, buffer_bytes=256 << 20)


def open_neo4j(server: Neo4jBackend, *, links_a_step: int = LINKS_A_STEP, **limits: float) -> Neo4jGraph:
    return Neo4jGraph(server.url, auth=auth_of(server), limits=Limits(**limits), links_a_step=links_a_step)  # type: ignore[arg-type]


def auth_of(server: Neo4jBackend) -> tuple[str, str]:
    return server.settings["RINGWATCH_NEO4J_USERNAME"], server.password or ""


class Cypher:
    """Statements of a test's own on the server's database, which it holds by `server.emptied()`."""

    def __init__(self, server: Neo4jBackend) -> None:
        self.driver = neo4j.GraphDatabase.driver(server.url, auth=auth_of(server), notifications_min_severity="OFF")

    def rows(self, text: str, **params: Any) -> list[dict[str, Any]]:
        with self.driver.session() as session:
            return [record.data() for record in session.run(text, params)]  # type: ignore[arg-type]

    def plan(self, text: str, **params: Any) -> tuple[str, list[str]]:
        """How the server would run a statement: its type (r, rw, w, s) and its operators."""
        with self.driver.session() as session:
            summary = session.run("EXPLAIN " + text, params).consume()  # type: ignore[arg-type]
        return str(summary.query_type), _operators(summary.plan)

    def empty(self) -> None:
        """Remove all nodes, keep the schema."""
        with self.driver.session() as session:
            session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 5000 ROWS").consume()

    def close(self) -> None:
        self.driver.close()


def _operators(plan: Any) -> list[str]:
    if plan is None:
        return []
    return [
        plan["operatorType"].split("@")[0],
        *(name for child in plan.get("children", ()) for name in _operators(child)),
    ]


def ref(kind: str, id_: object, tenant: str = "default") -> EntityRef:
    return EntityRef(tenant, kind, str(id_))


def entity(of: EntityRef, at: int = 1, **changes: int) -> EntityUpdate:
    return EntityUpdate(of, at, changes.pop("last", at), changes.pop("events", 1), changes.pop("amount", 0), **changes)


def link(user: EntityRef, other: EntityRef, at: int = 1, **changes: int) -> LinkUpdate:
    return LinkUpdate(
        user, other, at, changes.pop("last", at), changes.pop("events", 1), changes.pop("amount", 0), **changes
    )


def batch(position: int, *links: LinkUpdate) -> GraphBatch:
    """Links with an update for each end, in the links' order."""
    ends = {end: entity(end, x.first_seen_us, last=x.last_seen_us) for x in links for end in (x.user, x.other)}
    return GraphBatch(list(ends.values()), links, position)

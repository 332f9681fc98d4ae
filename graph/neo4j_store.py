"""The graph in Neo4j: what investigators open in Neo4j Browser, and what several graph writers share.

An entity is `(:Entity:Device {uid, tenant, kind, id, ...})`, a link `(:User)-[:USED_DEVICE]->(:Device)`. Times are integers in
microseconds (`first_seen`, `last_seen`), exact, and beside them `first_at` and `last_at` (millisecond dates) for people.
See `docs/graph.md` for what is stored and what it costs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from graph.neo4j_connection import Limits, Neo4jConnection, Statements, one
from graph.neo4j_migrations import migrate
from graph.neo4j_names import type_of
from graph.neo4j_reader import LINKS_A_STEP, Neo4jReader
from graph.neo4j_rows import columns_of
from graph.neo4j_shown import write_alerts, write_rings
from graph.reads import GraphReads, T
from graph.shown import EntityKey, RingShown
from graph.store import COLD_LINKS, ColdEntity, ColdLink, EntityRef, GraphBatch
from graph.traverse import LinkReader
from graph.uid import uid_of
from ringwatch.model import Alert, Kind

DIGEST_PAGE = 20_000
"""Entities read at once for a digest."""
COLD_SCAN = 1_000
"""Links looked at for each cold entity."""


class Neo4jGraph(GraphReads):
    """`GraphStore` on a Neo4j 5.26 or newer. Safe to call from several threads and processes.

    Several writers may apply batches at once, each to its own partition; of two that apply the same batch one does. After
    a call raised `Unavailable` it is not known whether the batch was applied: apply it again, the position tells.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: tuple[str, str] | None = None,
        database: str | None = None,
        ca_file: Path | None = None,
        limits: Limits | None = None,
        links_a_step: int = LINKS_A_STEP,
    ) -> None:
        """`database`: None is the server's default. `ca_file`: PEM, for neo4j+s:// and bolt+s:// with an authority of one's own."""
        self._connection = Neo4jConnection(
            url, auth=auth, database=database, ca_file=ca_file, limits=limits or Limits()
        )
        self._links_a_step = links_a_step

    def prepare(self, kinds: Sequence[Kind]) -> None:
        """Migrate the schema. Raises `BadInput` for a kind that cannot be a label, `Conflict` for a newer schema."""
        for kind in kinds:
            type_of(kind.name)
        migrate(self._connection, kinds)

    def apply(self, batch: GraphBatch) -> bool:
        columns = columns_of(batch)

        def work(statements: Statements) -> bool:
            position = one(statements.run("claim_position", partition=batch.partition), "position")
            if not batch.missing_at(position):
                return False
            for params in columns.entities:
                statements.run("write_entities", **params)
            for kind, params in columns.links:
                statements.run("write_links", of_kind=kind, **params)
            statements.run("write_position", partition=batch.partition, position=batch.position)
            return True

        return self._connection.write("apply", work)

    def applied_position(self, partition: str = "0") -> int:
        return int(one(self._connection.rows("read_position", partition=partition), "position", -1))

    def _asking(self, name: str, work: Callable[[LinkReader], T]) -> T:
        return self._connection.read(name, lambda statements: work(Neo4jReader(statements, self._links_a_step)))

    def counts(self) -> dict[str, int]:
        kinds = {row["kind"]: row["entities"] for row in self._connection.rows("read_kind_counts")}
        return {
            "entities": sum(kinds.values()),
            "links": one(self._connection.rows("read_link_count"), "links"),
            **{f"entities.{kind}": kinds[kind] for kind in sorted(kinds)},
        }

    def logical_digest(self) -> str:
        """Hash over all entities and links in order: equal graphs have equal digests, on every engine."""
        digest = hashlib.sha256()
        uid = ""
        while rows := self._connection.rows("read_all_entities", uid=uid, limit=DIGEST_PAGE):
            for row in rows:
                digest.update(repr(tuple(row.values())).encode())
            uid = rows[-1]["uid"]
        uid = ""
        while rows := self._connection.rows("read_all_links", uid=uid, limit=DIGEST_PAGE):
            for user, links in (row.values() for row in rows):
                for link in links:
                    digest.update(repr((user, *link)).encode())
            uid = rows[-1]["uid"]
        return digest.hexdigest()

    def show_alerts(self, alerts: Sequence[Alert], about: Mapping[str, Sequence[EntityKey]] | None = None) -> None:
        """See `graph.shown.GraphDisplay`."""
        if alerts:
            self._connection.write("show_alerts", lambda statements: write_alerts(statements, alerts, about or {}))

    def show_rings(self, rings: Sequence[RingShown]) -> None:
        """See `graph.shown.GraphDisplay`."""
        if rings:
            self._connection.write("show_rings", lambda statements: write_rings(statements, rings))

    def cold(self, refs: Sequence[EntityRef], *, deadline_s: float) -> dict[EntityRef, ColdEntity]:
        """See `graph.store.ColdReader`. Of a hub, the `COLD_SCAN` newest links are looked at."""
        if not refs:
            return {}
        by_uid = {uid_of(ref): ref for ref in refs}
        rows = self._connection.by(
            "read_cold", deadline_s, uids=list(by_uid), scan=COLD_SCAN, links=COLD_LINKS, limit=len(by_uid)
        )
        found = {}
        for uid, first_us, last_us, events, amount, degree, links in (row.values() for row in rows):
            ref = by_uid[uid]
            recent = tuple(_cold_link(ref.tenant, *link) for link in links)
            found[ref] = ColdEntity(first_us, last_us, events, amount, degree, recent)
        return found

    def close(self) -> None:
        """Close the connections. Closing twice is harmless."""
        self._connection.close()


def _cold_link(tenant: str, kind: str, id_: str, first_us: int, last_us: int, events: int) -> ColdLink:
    return ColdLink(EntityRef(tenant, kind, id_), first_us, last_us, events)

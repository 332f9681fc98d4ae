"""The schema of the graph in Neo4j: numbered steps, recorded in the graph as `(:Migration {version, name, applied_at})`."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from graph.neo4j_connection import Neo4jConnection, one
from ringwatch.errors import BadInput, Conflict, Corrupt
from ringwatch.model import Kind, Strength

OLDEST = (5, 26)
"""Version of Neo4j from which a label may be a parameter, and the plans of our statements were checked."""
MIGRATIONS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("entities and positions", ("schema_entity_uid", "schema_applied_partition", "schema_migration_version")),
    2: ("rings and alerts", ("schema_ring_uid", "schema_alert_uid", "schema_ring_last_seen", "schema_alert_last_seen")),
}
"""version -> name and statements. A statement changes nothing when it ran before, so two processes may start at once."""
TRIES = 5
AWAIT_S = 300


def migrate(connection: Neo4jConnection, kinds: Sequence[Kind]) -> None:
    """Run what is missing, in order, and index the links of kinds that make rings by their first time.

    Raises `Conflict` when the graph was made by a newer Ringwatch, `BadInput` for an old server.
    """
    _check_version(connection)
    done = {row["version"] for row in connection.rows("read_migrations")}
    newer = max(done, default=0)
    if newer > max(MIGRATIONS):
        raise Conflict(
            f"the graph at {connection.url} has schema {newer}, this Ringwatch knows up to {max(MIGRATIONS)}",
            hint="run the newer Ringwatch, or use another database",
        )
    for version in sorted(set(MIGRATIONS) - done):
        name, statements = MIGRATIONS[version]
        for statement in statements:
            _change(connection, statement)
        connection.change("schema_await", seconds=AWAIT_S)
        connection.change("write_migration", version=version, name=name)
    for kind in kinds:
        if kind.strength is Strength.STRONG:
            _change(connection, "schema_link_first_seen", kind.name)


def _change(connection: Neo4jConnection, statement: str, of_kind: str | None = None) -> None:
    """Another process may be making the same constraint: Neo4j says so instead of waiting."""
    for left in reversed(range(TRIES)):
        try:
            connection.change(statement, of_kind=of_kind)
            return
        except Corrupt as error:
            if not left or "Schema" not in str(error.context.get("code")):
                raise
            time.sleep(0.2)


def _check_version(connection: Neo4jConnection) -> None:
    version = str(one(connection.rows("read_server"), "version", ""))
    number = re.match(r"(\d+)\.(\d+)", version)
    if number is None or tuple(map(int, number.groups())) < OLDEST:
        raise BadInput(
            f"Neo4j at {connection.url} is version {version or 'unknown'}",
            hint=f"{OLDEST[0]}.{OLDEST[1]} or newer is needed",
        )

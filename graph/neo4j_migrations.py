"""The schema of the graph in Neo4j: numbered steps, recorded in the graph as `(:Migration {version, name, applied_at})`."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence

from graph.neo4j_connection import Neo4jConnection, Statements, one
from ringwatch.errors import BadInput, Conflict, Corrupt, Unavailable
from ringwatch.model import Kind, Strength

OLDEST = (5, 26)
"""Version of Neo4j from which a label may be a parameter, and the plans of our statements were checked."""
MIGRATIONS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("entities and positions", ("schema_entity_uid", "schema_applied_partition", "schema_migration_version")),
    2: ("rings and alerts", ("schema_ring_uid", "schema_alert_uid", "schema_ring_last_seen", "schema_alert_last_seen")),
}
"""version -> name and statements. A statement changes nothing when it ran before, so two processes may start at once."""
LOCK = "schema_lock_name"
AWAIT_S = 300
TRIES = 50


def migrate(connection: Neo4jConnection, kinds: Sequence[Kind]) -> None:
    """Run what is missing, in order, and index the links of kinds that make rings by their first time.

    One process at a time: Neo4j lets schema changes of several run into each other instead of queueing them. Raises
    `Conflict` when the graph was made by a newer Ringwatch, `BadInput` for an old server.
    """
    _check_version(connection)
    _make_lock(connection)

    def work(statements: Statements) -> None:
        """Holds the lock; the changes run in transactions of their own, as Neo4j wants of a schema's."""
        statements.run("claim_schema")
        _run_missing(connection)
        for kind in kinds:
            if kind.strength is Strength.STRONG:
                connection.change("schema_link_first_seen", of_kind=kind.name)
        connection.change("schema_await", seconds=AWAIT_S)

    connection.write("migrate", work, timeout_s=2 * AWAIT_S)


def _run_missing(connection: Neo4jConnection) -> None:
    done = {row["version"] for row in connection.rows("read_migrations")}
    newest = max(done, default=0)
    if newest > max(MIGRATIONS):
        raise Conflict(
            f"the graph at {connection.url} has schema {newest}, this Ringwatch knows up to {max(MIGRATIONS)}",
            hint="run the newer Ringwatch, or use another database",
        )
    for version in sorted(set(MIGRATIONS) - done):
        name, statements = MIGRATIONS[version]
        for statement in statements:
            connection.change(statement)
        connection.change("write_migration", version=version, name=name)


def _make_lock(connection: Neo4jConnection) -> None:
    """The lock's own constraint. Another process may be making it: then wait for a random time and look again."""
    for left in reversed(range(TRIES)):
        if LOCK in {row["name"] for row in connection.rows("read_constraints")}:
            return
        try:
            connection.change(LOCK)
        except (Corrupt, Unavailable):
            if not left:
                raise
            time.sleep(random.uniform(0.05, 0.5))


def _check_version(connection: Neo4jConnection) -> None:
    version = str(one(connection.rows("read_server"), "version", ""))
    number = re.match(r"(\d+)\.(\d+)", version)
    if number is None or tuple(map(int, number.groups())) < OLDEST:
        raise BadInput(
            f"Neo4j at {connection.url} is version {version or 'unknown'}",
            hint=f"{OLDEST[0]}.{OLDEST[1]} or newer is needed",
        )

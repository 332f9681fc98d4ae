"""The ledger's tables: one schema for every engine.

An assessment's key is (tenant, event_id, at_us); `event_ids` is not partitioned and refuses the same id at another time. SQLite
keeps assessments by running number; PostgreSQL by their key, cut by month (`partitioned_assessments`), as `event_entities` are, and
has the indexes that several tenants and writers need. Texts are compared byte by byte on both, so that both sort alike.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()


def _text(most: int) -> TypeEngine[str]:
    return String(most).with_variant(String(most, collation="C"), "postgresql")


assessments = Table(
    "assessments",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("tenant", _text(256), nullable=False),
    Column("event_id", _text(256), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("score", Float, nullable=False),
    Column("level", Integer, nullable=False),
    Column("action", Integer, nullable=False),
    Column("scores", LargeBinary, nullable=False),
    Column("reasons", LargeBinary),
    Column("features", LargeBinary, nullable=False),
    Column("event", LargeBinary, nullable=False),
    Column("body_hash", LargeBinary(16), nullable=False),
    Column("version_id", Integer, nullable=False),
    Column("degraded", Text),
    Column("timing", Text),
    Column("context", LargeBinary),
)
"""`context`: msgpack of (ring, patterns, age of embeddings, links that were kept, what a network saw), where there is any."""


def partitioned_assessments(*, by_month: bool) -> Table:
    """As PostgreSQL keeps them; not by month where an extension does the cutting."""
    key = ("tenant", "event_id", "at_us")
    columns = [
        Column(c.name, c.type, primary_key=c.name in key, autoincrement=False, nullable=c.nullable)
        for c in assessments.columns
    ]
    table = Table("assessments", MetaData(), *columns, Index("assessments_by_seq", "seq"))
    if by_month:
        table.dialect_options["postgresql"]["partition_by"] = "RANGE (at_us)"
    return table


event_ids = Table(
    "event_ids",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("event_id", _text(256), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Index("event_ids_by_seq", "seq", unique=True).ddl_if(dialect="postgresql"),
    sqlite_with_rowid=False,
)

event_entities = Table(
    "event_entities",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("kind", _text(64), primary_key=True),
    Column("id", _text(256), primary_key=True),
    Column("at_us", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", _text(256), primary_key=True),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (at_us)",
)
"""The events of an entity in order of time, and the entities there are. A row for each entity of an event, the user included.
`day` (UTC, since 1970) keeps what is written now close together: without it each row is in a page of its own, and a decision costs
the more the longer the ledger."""

versions = Table(
    "versions",
    metadata,
    Column("version_id", Integer, primary_key=True),
    Column("content", Text, nullable=False),
    UniqueConstraint("content").ddl_if(dialect="sqlite"),
)
Index("versions_by_content", func.md5(versions.c.content), unique=True).ddl_if(dialect="postgresql")

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", _text(32), primary_key=True),
    Column("tenant", _text(256), nullable=False),
    Column("level", String(16), nullable=False),
    Column("last_at_us", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("events", Integer, nullable=False, server_default="0"),
    Index("alerts_by_time", "last_at_us", "alert_id"),
    Index("alerts_by_tenant", "tenant", "last_at_us", "alert_id").ddl_if(dialect="postgresql"),
)

alert_events = Table(
    "alert_events",
    metadata,
    Column("alert_id", _text(32), primary_key=True),
    Column("event_id", _text(256), primary_key=True),
    Index("alert_events_by_event", "event_id"),
    sqlite_with_rowid=False,
)

alert_changes = Table(
    "alert_changes",
    metadata,
    Column("alert_id", _text(32), primary_key=True),
    Column("change", BigInteger, nullable=False),
    Index("alert_changes_by_change", "change", "alert_id"),
)
"""When an alert was written last, as a number that rises in the order of commits: what followers of the alerts go by."""

counters = Table(
    "counters",
    metadata,
    Column("name", _text(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

personal_keys = Table(
    "personal_keys",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("subject", _text(256), primary_key=True),
    Column("key_id", LargeBinary(8), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)
"""Keys that personal fields are sealed under, wrapped by the master key. With a rowid on SQLite: rows are only ever added behind the last, so
that a key is in one place of the file and nothing of it is left where it was."""

labels = Table(
    "labels",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("tenant", _text(256), nullable=False),
    Column("target_kind", _text(64), nullable=False),
    Column("target_id", _text(256), nullable=False),
    Column("label", String(16), nullable=False),
    Column("known_at_us", BigInteger, nullable=False),
    Index("labels_by_known_at", "known_at_us"),
    Index("labels_by_target", "tenant", "target_kind", "target_id"),
)

sources = Table(
    "sources",
    metadata,
    Column("source_id", _text(320), primary_key=True),
    Column("name", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("finished", Integer, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", _text(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

rings = Table(
    "rings",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("ring_id", _text(64), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("risk", Float, nullable=False),
    Column("users", Integer, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("updated_seq", BigInteger, nullable=False),
    Index("rings_by_risk", "tenant", "risk", "users"),
)

ring_history = Table(
    "ring_history",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("ring_id", _text(64), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("what", String(16), nullable=False),
    Column("event_id", _text(256), nullable=False),
    Column("users", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("change", BigInteger),
    Index("ring_history_by_change", "change"),
    sqlite_with_rowid=False,
)
"""Added to, never changed. `content`: msgpack of (joined, left, rings). `change`: a number that rises in the order of commits, which followers
go by; none of entries from before there were such numbers."""
_ended = ring_history.c.what == "ended"
Index("ring_history_ended", ring_history.c.at_us, sqlite_where=_ended, postgresql_where=_ended)

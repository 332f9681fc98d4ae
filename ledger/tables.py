"""The ledger's tables: one schema for every engine.

An assessment's key is (tenant, event_id, at_us); `event_ids` is not partitioned and refuses the same id at another time.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

assessments = Table(
    "assessments",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("tenant", String(256), nullable=False),
    Column("event_id", String(256), nullable=False),
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
"""`context`: msgpack of (ring, patterns), where there is either."""

event_ids = Table(
    "event_ids",
    metadata,
    Column("tenant", String(256), primary_key=True),
    Column("event_id", String(256), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

versions = Table(
    "versions",
    metadata,
    Column("version_id", Integer, primary_key=True),
    Column("content", Text, nullable=False, unique=True),
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", String(32), primary_key=True),
    Column("tenant", String(256), nullable=False),
    Column("level", String(16), nullable=False),
    Column("last_at_us", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("alerts_by_time", "last_at_us", "alert_id"),
)

alert_events = Table(
    "alert_events",
    metadata,
    Column("alert_id", String(32), primary_key=True),
    Column("event_id", String(256), primary_key=True),
    sqlite_with_rowid=False,
)

labels = Table(
    "labels",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("tenant", String(256), nullable=False),
    Column("target_kind", String(64), nullable=False),
    Column("target_id", String(256), nullable=False),
    Column("label", String(16), nullable=False),
    Column("known_at_us", BigInteger, nullable=False),
    Index("labels_by_known_at", "known_at_us"),
    Index("labels_by_target", "tenant", "target_kind", "target_id"),
)

sources = Table(
    "sources",
    metadata,
    Column("source_id", String(128), primary_key=True),
    Column("name", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("finished", Integer, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

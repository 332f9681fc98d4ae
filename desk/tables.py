"""The desk's tables: what people did. One schema for SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text
from sqlalchemy.types import TypeEngine

metadata = MetaData()


def _text(most: int) -> TypeEngine[str]:
    return String(most).with_variant(String(most, collation="C"), "postgresql")


audit = Table(
    "audit",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("who", _text(256), nullable=False),
    Column("did", _text(64), nullable=False),
    Column("kind", _text(64), nullable=False),
    Column("target", _text(256), nullable=False),
    Column("old", Text, nullable=False),
    Column("new", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("before", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("seal", String(64), nullable=False),
)
"""The last entry of each tenant; held while one is added, so that there is one chain."""

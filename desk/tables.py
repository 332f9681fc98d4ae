"""The desk's tables: what people did and decided. One schema for SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text
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

acts = Table(
    "acts",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("act_id", _text(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("kind", _text(64), nullable=False),
    Column("target", _text(256), nullable=False),
    Column("who", _text(256), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("why", Text, nullable=False),
    Column("until_us", BigInteger),
    Column("entries", BigInteger, nullable=False),
    Column("undone_us", BigInteger),
    Column("undone_by", _text(256)),
    Index("acts_by_number", "tenant", "number"),
)
"""What somebody decided at once, of one entity or a ring; `number`: the place in `numbers` of its tenant's list of acts."""

verdicts = Table(
    "verdicts",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("act_id", _text(32), primary_key=True),
    Column("kind", _text(64), primary_key=True),
    Column("id", _text(256), primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("owner", _text(256), nullable=False),
    Column("reason", Text, nullable=False),
    Column("until_us", BigInteger),
    Column("ended_us", BigInteger),
    Index("verdicts_by_entity", "tenant", "kind", "id"),
    Index("verdicts_in_force", "ended_us"),
)
"""Entries of the lists, one an entity and act; of an act that was undone they have ended."""

numbers = Table(
    "numbers",
    metadata,
    Column("name", _text(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Counters; whoever takes the next number holds it to the end of the transaction, so numbers come in the order of commits."""

cases = Table(
    "cases",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("case_id", _text(32), primary_key=True),
    Column("kind", _text(64), nullable=False),
    Column("entity", _text(256), nullable=False),
    Column("ring", _text(64), nullable=False),
    Column("queue", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("level", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("ring_risk", Float, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("alerts", Integer, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("accounts", Integer, nullable=False),
    Column("priority", Float, nullable=False),
    Column("first_at_us", BigInteger, nullable=False),
    Column("last_at_us", BigInteger, nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("claimed_by", _text(256)),
    Column("claimed_until_us", BigInteger),
    Column("outcome", String(16)),
    Column("closed_by", _text(256)),
    Column("closed_us", BigInteger),
    Column("version", Integer, nullable=False),
    Column("change", BigInteger, nullable=False),
    Index("cases_by_change", "change"),
    Index("cases_by_priority", "tenant", "status", "priority", "case_id"),
    Index("cases_by_subject", "tenant", "kind", "entity"),
    Index("cases_by_ring", "tenant", "ring"),
)
"""`kind`, `entity`: what it is about; `ring`: the one it was last seen to concern, or nothing; `change`: when it was changed last, as a number
that rises in the order of commits."""

case_alerts = Table(
    "case_alerts",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("alert_id", _text(32), primary_key=True),
    Column("case_id", _text(32), nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Index("case_alerts_by_case", "tenant", "case_id"),
)
"""`events`, `amount_minor`: of the alert as it was counted last."""

case_accounts = Table(
    "case_accounts",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("user", _text(256), primary_key=True),
    Column("case_id", _text(32), primary_key=True),
    Index("case_accounts_by_case", "tenant", "case_id"),
)

case_notes = Table(
    "case_notes",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("case_id", _text(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("who", _text(256), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
)

snoozes = Table(
    "snoozes",
    metadata,
    Column("tenant", _text(256), primary_key=True),
    Column("key", _text(320), primary_key=True),
    Column("until_us", BigInteger, nullable=False),
    Column("who", _text(256), nullable=False),
)
"""`key`: KIND:ENTITY of the cases that sleep until then."""

positions = Table(
    "positions",
    metadata,
    Column("name", _text(64), primary_key=True),
    Column("change", BigInteger, nullable=False),
    Column("id", _text(256), nullable=False),
)
"""How far followers of the ledger are."""

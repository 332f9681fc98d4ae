"""Dropping what is older than is kept, by whole months, in small transactions beside writers and readers.

Whatever stops it, doing it again ends it. On PostgreSQL a month's assessments go with their partition, without a row being
looked at, and so do the rows of event_entities; on SQLite they are deleted by chunks, and the file keeps its size for what comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, select, text, tuple_
from sqlalchemy.engine import Engine

from ledger import tables as t
from ledger.insert import Rows
from ledger.months import ends_us, month_of, starts_us
from ledger.personal import decode_event
from ledger.rows import entity_rows
from ringwatch.errors import Conflict

_AT_ONCE = 2000
_RINGS_AT_ONCE = 200
_BLOCKS_AT_ONCE = 500
"""Of 8 KB, with some 80 event ids each."""
_RETAINING_LOCK = 0x52494E_02
_LOCK = text("SELECT pg_try_advisory_lock(:key)")
_CHUNKS = text("SELECT drop_chunks('assessments', older_than => CAST(:before_us AS bigint))")
_BLOCKS = text("SELECT pg_relation_size('event_ids') / current_setting('block_size')::int")
_IDS_OF_BLOCKS = text(
    "DELETE FROM event_ids WHERE ctid >= CAST(:low AS tid) AND ctid < CAST(:high AS tid) AND at_us < :before_us"
)


def retain(engine: Engine, keep_from_us: int, *, dry_run: bool) -> dict[str, int]:
    """See `LedgerStore.retain`. Raises `Conflict` when another does it at this moment."""
    before_us = starts_us(month_of(keep_from_us))
    if dry_run:
        with engine.connect() as connection:
            return {"before_us": before_us, **_would(connection, before_us)}
    drop_events = _drop_partitions if engine.dialect.name == "postgresql" else _delete_events
    found = {"before_us": before_us, **drop_events(engine, before_us)}
    found["alerts"] = _repeat(engine, _delete_alerts, before_us)
    found["labels"] = _repeat(engine, _delete_labels, before_us)
    found["rings"] = _repeat(engine, _delete_rings, before_us)
    return found


def _would(connection: Connection, before_us: int) -> dict[str, int]:
    found = {"partitions": 0}
    if connection.dialect.name == "postgresql":
        found["partitions"] = len(_old_partitions(connection, "assessments", before_us))
    for name, table, old in (
        ("events", t.event_ids, t.event_ids.c.at_us < before_us),
        ("alerts", t.alerts, t.alerts.c.last_at_us < before_us),
    ):
        found[name] = int(connection.scalar(select(func.count()).select_from(table).where(old)) or 0)
    c = t.labels.c
    gone = ~exists().where(_target(), t.event_ids.c.at_us >= before_us)
    labels = select(func.count()).where(c.target_kind == "event", c.known_at_us < before_us, gone)
    found["labels"] = int(connection.scalar(labels) or 0)
    found["rings"] = int(connection.scalar(select(func.count()).where(*_ended(before_us))) or 0)
    return found


def _target() -> Any:
    """The event a label is about."""
    return (t.event_ids.c.tenant == t.labels.c.tenant) & (t.event_ids.c.event_id == t.labels.c.target_id)


def _old_partitions(connection: Connection, table: str, before_us: int) -> dict[Any, Any]:
    from ledger.partitions import is_by_month, present_months

    present = present_months(connection, table) if is_by_month(connection, table) else {}
    return {month: state for month, state in sorted(present.items()) if ends_us(month) <= before_us}


def _drop_partitions(engine: Engine, before_us: int) -> dict[str, int]:
    from ledger.partitions import TABLES, drop, is_by_month

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(_LOCK, {"key": _RETAINING_LOCK}):
            raise Conflict("another `ringwatch ledger retain` is at work on this ledger", hint="wait until it ends")
        partitions = 0
        for table in TABLES:
            old = _old_partitions(connection, table, before_us)
            for month, state in old.items():
                drop(connection, table, month, state)
            partitions += len(old) if table == "assessments" else 0
        if not is_by_month(connection, "assessments"):
            partitions = len(connection.execute(_CHUNKS, {"before_us": before_us}).all())
        events = 0
        for low in range(0, int(connection.scalar(_BLOCKS) or 0), _BLOCKS_AT_ONCE):
            span = {"low": f"({low},0)", "high": f"({low + _BLOCKS_AT_ONCE},0)"}
            events += connection.execute(_IDS_OF_BLOCKS, {**span, "before_us": before_us}).rowcount
    return {"partitions": partitions, "events": events}


def _delete_events(engine: Engine, before_us: int) -> dict[str, int]:
    a, i = t.assessments.c, t.event_ids.c
    events, after_seq = 0, -1
    while True:
        page = select(a.seq, a.tenant, a.event_id, a.at_us, a.event).where(a.seq > after_seq).order_by(a.seq)
        with engine.begin() as connection:
            rows = connection.execute(page.limit(_AT_ONCE)).all()
            if not rows:
                return {"partitions": 0, "events": events}
            after_seq = rows[-1].seq
            old = [row for row in rows if row.at_us < before_us]
            if old:
                connection.execute(delete(t.assessments).where(a.seq.in_([row.seq for row in old])))
                ids = [(row.tenant, row.event_id) for row in old]
                connection.execute(delete(t.event_ids).where(tuple_(i.tenant, i.event_id).in_(ids)))
                _delete_rows(connection, entity_rows(decode_event(row.event) for row in old))
                events += len(old)


def _delete_rows(connection: Connection, rows: Rows) -> None:
    """Rows of event_entities."""
    key = t.event_entities.primary_key.columns
    statement = delete(t.event_entities).where(*(c == bindparam(f"of_{c.name}") for c in key))
    if rows:
        connection.execute(statement, [{f"of_{c.name}": v for c, v in zip(key, row, strict=True)} for row in rows])


def _repeat(engine: Engine, step: Callable[[Connection, int], int], before_us: int) -> int:
    """Transactions until one finds nothing more."""
    total = 0
    while True:
        with engine.begin() as connection:
            found = step(connection, before_us)
        if not found:
            return total
        total += found


def _delete_alerts(connection: Connection, before_us: int) -> int:
    c = t.alerts.c
    some = select(c.alert_id).where(c.last_at_us < before_us).order_by(c.last_at_us).limit(_AT_ONCE)
    old = delete(t.alerts).where(c.alert_id.in_(some), c.last_at_us < before_us).returning(c.alert_id)
    ids = list(connection.scalars(old))
    for table in (t.alert_events, t.alert_changes):
        connection.execute(delete(table).where(table.c.alert_id.in_(ids)))
    return len(ids)


def _delete_labels(connection: Connection, before_us: int) -> int:
    """Of events that are gone, and known before then: one known later may have come before its event."""
    c = t.labels.c
    gone = c.target_kind == "event", c.known_at_us < before_us, ~exists().where(_target())
    some = select(c.seq).where(*gone).limit(_AT_ONCE)
    return connection.execute(delete(t.labels).where(c.seq.in_(some))).rowcount


def _delete_rings(connection: Connection, before_us: int) -> int:
    """Of rings that ended, the whole history: a part of one could not be replayed."""
    c = t.ring_history.c
    rows = connection.execute(select(c.tenant, c.ring_id).where(*_ended(before_us)).limit(_RINGS_AT_ONCE)).all()
    rings = [(row.tenant, row.ring_id) for row in rows]
    connection.execute(delete(t.ring_history).where(tuple_(c.tenant, c.ring_id).in_(rings)))
    return len(rings)


def _ended(before_us: int) -> tuple[Any, ...]:
    return t.ring_history.c.what == "ended", t.ring_history.c.at_us < before_us

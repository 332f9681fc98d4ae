"""Reads of a ledger on SQL, through SQLAlchemy Core: the same statements on every engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, text, tuple_
from sqlalchemy.engine import Engine

from features.codec import FeatureCodec
from features.schema import FeatureSchema
from ledger import tables as t
from ledger.cut_off import cut_off
from ledger.engine import errors
from ledger.personal import MasterKey, decode_event, encode
from ledger.ring_rows import RingReads
from ledger.rows import decode_alert, decode_reasons, stored_assessment
from ledger.store import Progress, StoredAssessment
from ledger.subject_keys import SubjectKeys
from ringwatch.model import Alert, Event, Label, Reason

_IDS_AT_ONCE = 500
_DIGESTED_AT_ONCE = 1000
_DIGESTED = (
    t.assessments, t.event_ids, t.event_entities, t.versions, t.alerts, t.alert_events, t.labels, t.sources, t.meta, t.rings,
    t.ring_history,
)  # fmt: skip
_OF_WRITING = ("timing", "change")
"""Columns that tell how something came to be written."""
OF_ID = and_(
    t.event_ids.c.seq == t.assessments.c.seq,
    t.event_ids.c.tenant == t.assessments.c.tenant,
    t.event_ids.c.event_id == t.assessments.c.event_id,
    t.event_ids.c.at_us == t.assessments.c.at_us,
)
"""By running number where that is the key, by key and so by partition where it is not."""

_BYTES = {
    "sqlite": text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": text("SELECT pg_database_size(current_database())"),
}


class SqlReads(RingReads):
    """Safe to call from several threads; every read has a connection of its own."""

    def __init__(self, engine: Engine, schema: FeatureSchema, master: MasterKey | None) -> None:
        self._engine = engine
        self._codec = FeatureCodec(schema)
        self._personal = SubjectKeys(master)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with errors(self._engine, "be read"), self._engine.connect() as connection, cut_off(connection):
            yield connection

    def progress(self, source_id: str) -> Progress | None:
        with self._reading() as connection:
            row = connection.execute(select(t.sources).where(t.sources.c.source_id == source_id)).mappings().first()
        return None if row is None else Progress(**{**row, "finished": bool(row["finished"])})

    def last_seq(self) -> int:
        with self._reading() as connection:
            tops = [connection.scalar(select(func.max(table.c.seq))) for table in (t.sources, t.assessments, t.labels)]
        return max((int(v) for v in tops if v is not None), default=-1)

    def watermark_us(self) -> int | None:
        with self._reading() as connection:
            value = connection.scalar(select(t.meta.c.value).where(t.meta.c.name == "watermark_us"))
        return None if value is None else int(value)

    def refusals(self) -> int:
        with self._reading() as connection:
            return _refusals(connection)

    def pending_labels(self, known_after_us: int, up_to_seq: int) -> Sequence[tuple[int, Label]]:
        events = select(func.max(t.assessments.c.seq)).where(t.assessments.c.seq <= up_to_seq)
        last_event = func.coalesce(events.scalar_subquery(), -1)
        waits = or_(t.labels.c.known_at_us > known_after_us, t.labels.c.seq > last_event)
        query = (
            select(t.labels).where(waits, t.labels.c.seq <= up_to_seq).order_by(t.labels.c.known_at_us, t.labels.c.seq)
        )
        with self._reading() as connection:
            return [(row["seq"], _label(row)) for row in connection.execute(query).mappings()]

    def replay(self, *, after_seq: int, chunk: int = 2000) -> Iterator[Sequence[tuple[int, Event | Label]]]:
        """Events and labels after a running number, in running order."""
        a, b = t.assessments.c, t.labels.c
        last = self.last_seq()
        while after_seq < last:
            some = select(a.seq, a.event).where(a.seq > after_seq, a.seq <= last).order_by(a.seq).limit(chunk)
            others = select(t.labels).where(b.seq > after_seq, b.seq <= last).order_by(b.seq).limit(chunk)
            with self._reading() as connection:
                events = connection.execute(some).all()
                labels = connection.execute(others).mappings().all()
                whole = self._personal.events(connection, [body for _, body in events])
            ends = [events[-1].seq] if len(events) == chunk else []
            ends += [labels[-1]["seq"]] if len(labels) == chunk else []
            upper = min(ends, default=last)
            numbered = zip((seq for seq, _ in events), whole, strict=True)
            items: list[tuple[int, Event | Label]] = [(seq, event) for seq, event in numbered if seq <= upper]
            items += [(row["seq"], _label(row)) for row in labels if row["seq"] <= upper]
            if items:
                yield sorted(items, key=lambda pair: pair[0])
            after_seq = upper

    def event_bodies(self, *, limit: int) -> Iterator[tuple[str, str, bytes]]:
        c = t.assessments.c
        first = select(c.seq).order_by(c.seq.desc()).offset(limit - 1).limit(1)
        query = select(c.tenant, c.event_id, c.body_hash).order_by(c.seq)
        with self._reading() as connection:
            first_seq = connection.scalar(first) if limit > 0 else None
            if first_seq is not None:
                query = query.where(c.seq >= first_seq)
            elif limit <= 0:
                return
            for row in connection.execution_options(yield_per=10_000).execute(query):
                yield row[0], row[1], row[2]

    def assessments(self, tenant: str, event_ids: Sequence[str]) -> dict[str, StoredAssessment]:
        found: dict[str, StoredAssessment] = {}
        a, v, i = t.assessments, t.versions, t.event_ids
        for some in _parts(event_ids):
            query = (
                select(a, v.c.content)
                .join(i, OF_ID)
                .join(v, v.c.version_id == a.c.version_id)
                .where(i.c.tenant == tenant, i.c.event_id.in_(some))
            )
            with self._reading() as connection:
                for stored in self._stored(connection, connection.execute(query).mappings().all()):
                    found[stored.event.event_id] = stored
        return found

    def _stored(self, connection: Connection, rows: Sequence[Any]) -> list[StoredAssessment]:
        events = self._personal.events(connection, [row["event"] for row in rows])
        return [stored_assessment(row, event, self._codec) for row, event in zip(rows, events, strict=True)]

    def reasons(self, tenant: str, event_ids: Sequence[str]) -> dict[str, tuple[Reason, ...]]:
        found: dict[str, tuple[Reason, ...]] = {}
        a, i = t.assessments, t.event_ids
        for some in _parts(event_ids):
            query = select(a.c.event_id, a.c.reasons).join(i, OF_ID).where(i.c.tenant == tenant, i.c.event_id.in_(some))
            with self._reading() as connection:
                found |= {e: decode_reasons(body) if body else () for e, body in connection.execute(query)}
        return found

    def labels_of(self, tenant: str, target_kind: str, target_ids: Sequence[str]) -> set[Label]:
        found: set[Label] = set()
        c = t.labels.c
        for some in _parts(target_ids):
            query = select(t.labels).where(c.tenant == tenant, c.target_kind == target_kind, c.target_id.in_(some))
            with self._reading() as connection:
                found |= {_label(row) for row in connection.execute(query).mappings()}
        return found

    def events_entities(self, tenant: str, event_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        a, i = t.assessments, t.event_ids
        for some in _parts(event_ids):
            query = select(a.c.event).join(i, OF_ID).where(i.c.tenant == tenant, i.c.event_id.in_(some))
            with self._reading() as connection:
                for (body,) in connection.execute(query):
                    e = decode_event(body)
                    found[e.event_id] = e.entities
        return found

    def alerts(
        self,
        *,
        tenant: str | None = None,
        level: str | None = None,
        since_us: int | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Sequence[Alert]:
        c = t.alerts.c
        query = select(c.content).order_by(c.last_at_us.desc(), c.alert_id.desc()).limit(limit)
        if tenant is not None:
            query = query.where(c.tenant == tenant)
        if level is not None:
            query = query.where(c.level == level)
        if since_us is not None:
            query = query.where(c.last_at_us >= since_us)
        with self._reading() as connection:
            if after is not None:
                at = connection.scalar(select(c.last_at_us).where(c.alert_id == after))
                if at is None:
                    return []
                query = query.where(tuple_(c.last_at_us, c.alert_id) < tuple_(at, after))
            return [decode_alert(content) for (content,) in connection.execute(query)]

    def open_alerts(self, *, active_since_us: int) -> Sequence[Alert]:
        query = select(t.alerts.c.content).where(t.alerts.c.last_at_us >= active_since_us)
        with self._reading() as connection:
            return [decode_alert(content) for (content,) in connection.execute(query)]

    def alert_events(self, alert_id: str, *, limit: int = 100) -> Sequence[str]:
        c = t.alert_events.c
        with self._reading() as connection:
            return list(connection.scalars(select(c.event_id).where(c.alert_id == alert_id).limit(limit)))

    def iterate(self, *, after_seq: int = -1, chunk: int = 1000) -> Iterator[Sequence[tuple[int, StoredAssessment]]]:
        a, v = t.assessments, t.versions
        while True:
            query = (
                select(a, v.c.content)
                .join(v, v.c.version_id == a.c.version_id)
                .where(a.c.seq > after_seq)
                .order_by(a.c.seq)
                .limit(chunk)
            )
            with self._reading() as connection:
                rows = connection.execute(query).mappings().all()
                stored = self._stored(connection, rows)
            if not rows:
                return
            yield [(row["seq"], one) for row, one in zip(rows, stored, strict=True)]
            after_seq = rows[-1]["seq"]

    def counts(self) -> dict[str, int]:
        with self._reading() as connection:
            found = {
                name: int(connection.scalar(select(func.count()).select_from(table)) or 0)
                for name, table in (("assessments", t.event_ids), ("alerts", t.alerts), ("labels", t.labels))
            }
            found["refusals"] = _refusals(connection)
            by_level = connection.execute(select(t.alerts.c.level, func.count()).group_by(t.alerts.c.level)).all()
            found.update({f"alerts.{level}": n for level, n in by_level})
            found["bytes"] = int(connection.scalar(_BYTES[self._engine.dialect.name]) or 0)
        return found

    def logical_digest(self) -> str:
        """Hash over everything the ledger says, in order, how it was computed and written aside: equal ledgers have equal digests, whatever their
        personal fields are sealed by."""
        digest = hashlib.sha256()
        with self._reading() as connection:
            for table in _DIGESTED:
                columns = [c for c in table.c if c.name not in _OF_WRITING]
                query = select(*columns).order_by(*table.primary_key.columns)
                for rows in connection.execute(query).mappings().partitions(_DIGESTED_AT_ONCE):
                    plain: Iterable[Any] = rows
                    if table is t.assessments:
                        events = self._personal.events(connection, [row["event"] for row in rows])
                        plain = [{**r, "event": encode(e)} for r, e in zip(rows, events, strict=True)]
                    for row in plain:
                        digest.update(repr(tuple(row.values())).encode())
        return digest.hexdigest()


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """No more at once than a statement takes."""
    return (ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE))


def _refusals(connection: Connection) -> int:
    return connection.scalar(select(t.meta.c.value).where(t.meta.c.name == "refusals")) or 0


def _label(row: Any) -> Label:
    return Label(row["target_kind"], row["target_id"], row["label"], row["known_at_us"], row["tenant"])

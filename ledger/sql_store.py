"""LedgerStore on SQL, through SQLAlchemy Core. SQLite (WAL, every commit flushed to disk) is the embedded product mode."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import numpy as np
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, func, insert, or_, select, tuple_
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from features.codec import FeatureCodec
from features.schema import FeatureSchema
from ledger import tables as t
from ledger.insert import Inserter
from ledger.rows import context_of, decode_event, decode_reasons, encode, stored_assessment
from ledger.sqlite_wal import PRAGMAS, WalCheckpoints
from ledger.store import LedgerWrite, Progress, StoredAssessment
from ringwatch.errors import Corrupt, Unavailable
from ringwatch.model import Alert, Event, Label, Reason, Versions
from scorers.decision import Decisions

_decode_alert = msgspec.msgpack.Decoder(Alert).decode
_IDS_AT_ONCE = 500


class SqlLedger:
    """One writer. `url` is an SQLAlchemy URL, for example `sqlite:///folder/ledger.sqlite`."""

    def __init__(self, url: str, schema: FeatureSchema) -> None:
        self._engine = _engine(url)
        self._codec = FeatureCodec(schema)
        self._schema = schema
        self._writer: Connection | None = None
        self._checkpoints = WalCheckpoints(self._engine)
        self._last_version: tuple[Versions, tuple[str, ...], int] | None = None

    def prepare(self) -> None:
        with self._errors("prepare"):
            config = Config()
            config.set_main_option("script_location", "ledger:migrations")
            with self._engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Errors of the database, through SQLAlchemy or from its driver, as ours."""
        driver: Any = self._engine.dialect.loaded_dbapi
        try:
            yield
        except (OperationalError, driver.OperationalError) as error:
            cause = getattr(error, "orig", error)
            if "no such table" in str(cause):
                raise Corrupt(
                    f"the ledger cannot {doing}: {cause}", hint="is this a ringwatch data folder? `ringwatch doctor`"
                ) from None
            raise Unavailable(
                f"the ledger cannot {doing}: {cause}", hint="free disk space or release the file, then run again"
            ) from None
        except (DatabaseError, driver.DatabaseError) as error:
            cause = getattr(error, "orig", error)
            raise Corrupt(f"the ledger cannot {doing}: {cause}", hint="restore the ledger from a backup") from None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._errors("be read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction on the connection that is kept for it."""
        if self._writer is None:
            self._writer = self._engine.connect()
        connection, self._writer = self._writer, None
        with ExitStack() as unless_committed:
            unless_committed.callback(connection.close)
            with connection.begin():
                yield connection
            unless_committed.pop_all()
        self._writer = connection

    def write(self, *writes: LedgerWrite) -> None:
        with self._errors("be written"), self._writing() as connection:
            insert_into = Inserter(connection)
            meta: dict[str, int] = {}
            progress: dict[str, Progress] = {}
            for write in writes:
                if write.decisions is not None and len(write.decisions):
                    self._write_decisions(connection, insert_into, write.decisions)
                if write.alerts:
                    insert_into(t.alerts, [_alert_row(a) for a in write.alerts], "replace")
                if write.alert_events:
                    insert_into(t.alert_events, write.alert_events, "leave")
                if write.labels:
                    insert_into(t.labels, [_label_row(seq, label) for seq, label in write.labels])
                if write.progress is not None:
                    progress[write.progress.source_id] = write.progress
                if write.refusals:
                    known = meta["refusals"] if "refusals" in meta else self._refusals(connection)
                    meta["refusals"] = known + len(write.refusals)
                if write.watermark_us is not None:
                    meta["watermark_us"] = write.watermark_us
            if progress:
                rows = [(p.source_id, p.name, p.position, p.seq, int(p.finished)) for p in progress.values()]
                insert_into(t.sources, rows, "replace")
            if meta:
                insert_into(t.meta, list(meta.items()), "replace")
        self._checkpoints.written(sum(len(write.decisions) for write in writes if write.decisions is not None))

    @staticmethod
    def _refusals(connection: Connection) -> int:
        return connection.scalar(select(t.meta.c.value).where(t.meta.c.name == "refusals")) or 0

    def _write_decisions(self, connection: Connection, insert_into: Inserter, d: Decisions) -> None:
        version_id = self._version_id(connection, d)
        timing = json.dumps({k: round(v, 2) for k, v in d.timing_us.items()})
        blobs = self._codec.pack(d.events, d.features)
        scores = np.ascontiguousarray(d.scores, dtype="<f8")
        rows, ids = [], []
        columns = zip(
            d.seq.tolist(), d.events, d.score.tolist(), d.level.tolist(), d.action.tolist(), blobs, strict=True
        )
        for i, (seq, e, score, level, action, blob) in enumerate(columns):
            body = encode(e)
            rows.append((
                seq, e.tenant, e.event_id, e.at_us, score, level, action, scores[i].tobytes(),
                encode(d.reasons[i]) if d.reasons[i] else None, blob, body,
                hashlib.blake2b(body, digest_size=16).digest(), version_id,
                ",".join(d.degraded[i]) or None, timing, context_of(d, i),
            ))  # fmt: skip
            ids.append((e.tenant, e.event_id, e.at_us, seq))
        insert_into(t.assessments, rows)
        insert_into(t.event_ids, ids)

    def _version_id(self, connection: Connection, d: Decisions) -> int:
        last = self._last_version
        if last is not None and last[0] is d.versions and last[1] == d.scorer_names:
            return last[2]
        content = json.dumps([msgspec.to_builtins(d.versions), list(d.scorer_names)], sort_keys=True)
        known = connection.scalar(select(t.versions.c.version_id).where(t.versions.c.content == content))
        if known is None:
            known = int(connection.scalar(select(func.count()).select_from(t.versions)) or 0) + 1
            connection.execute(insert(t.versions), {"version_id": known, "content": content})
        self._last_version = d.versions, d.scorer_names, known
        return known

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
            return self._refusals(connection)

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
        last = self.last_seq()
        while after_seq < last:
            upper = after_seq + chunk
            a, b = t.assessments.c, t.labels.c
            with self._reading() as connection:
                events = connection.execute(select(a.seq, a.event).where(a.seq > after_seq, a.seq <= upper)).all()
                labels = connection.execute(select(t.labels).where(b.seq > after_seq, b.seq <= upper)).mappings().all()
            items: list[tuple[int, Event | Label]] = [(seq, decode_event(body)) for seq, body in events]
            items += [(row["seq"], _label(row)) for row in labels]
            if items:
                yield sorted(items, key=lambda pair: pair[0])
            after_seq = upper

    def event_bodies(self, *, limit: int) -> Iterator[tuple[str, str, bytes]]:
        columns = (t.assessments.c.tenant, t.assessments.c.event_id, t.assessments.c.body_hash)
        with self._reading() as connection:
            total = connection.scalar(select(func.count()).select_from(t.assessments)) or 0
            query = select(*columns).order_by(t.assessments.c.seq).offset(max(0, total - limit))
            for row in connection.execution_options(yield_per=10_000).execute(query):
                yield row[0], row[1], row[2]

    def assessments(self, tenant: str, event_ids: Sequence[str]) -> dict[str, StoredAssessment]:
        found: dict[str, StoredAssessment] = {}
        a, v, i = t.assessments, t.versions, t.event_ids
        for some in _parts(event_ids):
            query = (
                select(a, v.c.content)
                .join(i, i.c.seq == a.c.seq)
                .join(v, v.c.version_id == a.c.version_id)
                .where(i.c.tenant == tenant, i.c.event_id.in_(some))
            )
            with self._reading() as connection:
                for row in connection.execute(query).mappings():
                    found[row["event_id"]] = self._stored(row)
        return found

    def _stored(self, row: Any) -> StoredAssessment:
        return stored_assessment(row, self._codec)

    def reasons(self, tenant: str, event_ids: Sequence[str]) -> dict[str, tuple[Reason, ...]]:
        found: dict[str, tuple[Reason, ...]] = {}
        a, i = t.assessments, t.event_ids
        for some in _parts(event_ids):
            query = (
                select(a.c.event_id, a.c.reasons)
                .join(i, i.c.seq == a.c.seq)
                .where(i.c.tenant == tenant, i.c.event_id.in_(some))
            )
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
            query = select(a.c.event).join(i, i.c.seq == a.c.seq).where(i.c.tenant == tenant, i.c.event_id.in_(some))
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
                query = query.where(tuple_(c.last_at_us, c.alert_id) < tuple_(at, after))
            return [_decode_alert(content) for (content,) in connection.execute(query)]

    def open_alerts(self, *, active_since_us: int) -> Sequence[Alert]:
        query = select(t.alerts.c.content).where(t.alerts.c.last_at_us >= active_since_us)
        with self._reading() as connection:
            return [_decode_alert(content) for (content,) in connection.execute(query)]

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
            if not rows:
                return
            yield [(row["seq"], self._stored(row)) for row in rows]
            after_seq = rows[-1]["seq"]

    def counts(self) -> dict[str, int]:
        with self._reading() as connection:
            found = {
                table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0)
                for table in (t.assessments, t.alerts, t.labels)
            }
            found["refusals"] = self._refusals(connection)
            by_level = connection.execute(select(t.alerts.c.level, func.count()).group_by(t.alerts.c.level)).all()
            found.update({f"alerts.{level}": n for level, n in by_level})
            if self._engine.dialect.name == "sqlite":
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0
                found["bytes"] = pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar() or 0)
        return found

    def logical_digest(self) -> str:
        """Hash over everything the ledger says, in order, times of computing aside: equal ledgers have equal digests."""
        digest = hashlib.sha256()
        with self._reading() as connection:
            for table in (
                t.assessments,
                t.event_ids,
                t.versions,
                t.alerts,
                t.alert_events,
                t.labels,
                t.sources,
                t.meta,
            ):
                columns = [c for c in table.c if c.name != "timing"]
                for row in connection.execute(select(*columns).order_by(*table.primary_key.columns)):
                    digest.update(repr(tuple(row)).encode())
        return digest.hexdigest()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._checkpoints.close()
        self._engine.dispose()


def _engine(url: str) -> Engine:
    """Not for SQLite in memory, whose connections do not share it."""
    engine = create_engine(url, poolclass=None if url.startswith("sqlite") else NullPool)
    if url.startswith("sqlite"):

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _: Any) -> None:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")

    return engine


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """No more at once than a statement takes."""
    return (ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE))


def _alert_row(alert: Alert) -> tuple[Any, ...]:
    return alert.alert_id, alert.tenant, alert.level, alert.last_at_us, encode(alert)


def _label_row(seq: int, label: Label) -> tuple[Any, ...]:
    return seq, label.tenant, label.target_kind, label.target_id, label.label, label.known_at_us


def _label(row: Any) -> Label:
    return Label(row["target_kind"], row["target_id"], row["label"], row["known_at_us"], row["tenant"])

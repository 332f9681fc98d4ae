"""One write transaction: what goes into which table, in the order that keeps writers from waiting for each other in a circle.

Every table is written at most once, tables always in the same order, and rows sorted by key; what all writers share
(`meta`) comes last, so that it is held for no longer than a commit takes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select

from features.codec import FeatureCodec
from ledger import tables as t
from ledger.insert import Rows, insert_into, inserter, next_number
from ledger.personal import encode
from ledger.ring_rows import put_history
from ledger.rows import assessment_rows, entity_rows
from ledger.store import IfKnown, LedgerWrite, Progress, Written
from ledger.subject_keys import Keys, SubjectKeys
from ringwatch.model import Alert, Label, Versions
from scorers.decision import Decisions

_IDS_AT_ONCE = 500
_NEVER = -(2**62)
_VERSION = select(t.versions.c.version_id).where(t.versions.c.content == bindparam("content"))


class Transaction:
    """Puts writes into the ledger. `versions` maps content to id: what is known to be committed."""

    def __init__(
        self, connection: Connection, codec: FeatureCodec, versions: dict[str, int], personal: SubjectKeys
    ) -> None:
        self._connection = connection
        self._codec = codec
        self._versions = versions
        self._personal = personal
        self._insert = inserter(connection)
        self.found: dict[str, int] = {}
        """Versions looked up or made, of use once this is committed."""
        self.keys: Keys = {}
        """Likewise: what personal fields were sealed by."""

    def put(self, writes: Sequence[LedgerWrite], if_known: IfKnown) -> Written:
        """`if_known`: see `LedgerStore.write`."""
        leave = if_known == "leave"
        read = self._read_to(writes) if leave else {}
        new = [w for w in writes if w.progress is None or w.progress.position >= read.get(w.progress.source_id, _NEVER)]
        written = self._decisions([w.decisions for w in new if w.decisions is not None and len(w.decisions)], leave)
        changed = self._alerts(new)
        labels = sorted((pair for w in new for pair in w.labels), key=lambda pair: pair[0])
        if labels:
            self._insert(t.labels, [_label_row(*pair) for pair in labels], "leave" if leave else "fail")
        self.progress([w.progress for w in new if w.progress is not None], leave=leave)
        put_history(self._connection, self._insert, [entry for w in new for entry in w.ring_history])
        self._changed(changed)
        self._meta([w for w in new if w.progress is None or w.progress.position != read.get(w.progress.source_id)])
        left = _events(writes) - _events(new)
        return replace(written, left=written.left + left)

    def _read_to(self, writes: Sequence[LedgerWrite]) -> dict[str, int]:
        """How far each source was read before; held against others until the end."""
        c = t.sources.c
        ids = sorted({w.progress.source_id for w in writes if w.progress is not None})
        query = select(c.source_id, c.position).where(c.source_id.in_(ids)).order_by(c.source_id).with_for_update()
        return {row[0]: row[1] for row in self._connection.execute(query)} if ids else {}

    def _decisions(self, pieces: Sequence[Decisions], leave: bool) -> Written:
        events = [event for d in pieces for event in d.events]
        if not events:
            return Written()
        body_of, self.keys = self._personal.sealing(self._connection, self._insert, events)
        rows: list[tuple[Any, ...]] = []
        for d in pieces:
            rows += assessment_rows(d, self._codec, self._version_ids(d), body_of)
        ids = sorted((tenant, event_id, at_us, seq) for seq, tenant, event_id, at_us, *_ in rows)
        if not leave:
            self._insert.bulk(t.assessments, rows)
            self._insert.bulk(t.event_ids, ids)
            self._insert.bulk(t.event_entities, entity_rows(events))
            return Written(added=len(rows))
        free = self._insert.claim(ids)
        mine: dict[tuple[str, str], int] = {}
        others = []
        for row in ids:
            id_ = row[:2]
            if id_ in free and id_ not in mine:
                mine[id_] = row[3]
            else:
                others.append(row)
        kept = [i for i in _once(rows) if mine.get(rows[i][1:3]) == rows[i][0]]
        self._insert.bulk(t.assessments, [rows[i] for i in kept])
        self._insert.bulk(t.event_entities, entity_rows(events[i] for i in kept))
        return self._told(others, added=len(mine))

    def _told(self, ids: Rows, *, added: int) -> Written:
        """What became of rows of `event_ids` that were not written."""
        there = self._there(ids)
        left = again = 0
        refused = []
        for tenant, event_id, at_us, seq in ids:
            known_at_us, known_seq = there.get((tenant, event_id), (None, None))
            if known_at_us == at_us:
                left += 1
                again += known_seq != seq
            else:
                refused.append((tenant, event_id))
        return Written(added, left, again, tuple(refused))

    def _there(self, ids: Rows) -> dict[tuple[str, str], tuple[int, int]]:
        found: dict[tuple[str, str], tuple[int, int]] = {}
        c = t.event_ids.c
        for tenant in sorted({row[0] for row in ids}):
            wanted = [row[1] for row in ids if row[0] == tenant]
            for start in range(0, len(wanted), _IDS_AT_ONCE):
                some = wanted[start : start + _IDS_AT_ONCE]
                query = select(c.event_id, c.at_us, c.seq).where(c.tenant == tenant, c.event_id.in_(some))
                found |= {(tenant, id_): (at_us, seq) for id_, at_us, seq in self._connection.execute(query)}
        return found

    def _version_ids(self, d: Decisions) -> list[int]:
        """Of each row."""
        ids = {key: self._version_id(v, d.scorer_names) for key, v in {id(v): v for v in d.versions}.items()}
        return [ids[id(v)] for v in d.versions]

    def _version_id(self, versions: Versions, scorer_names: Sequence[str]) -> int:
        content = json.dumps([msgspec.to_builtins(versions), list(scorer_names)], sort_keys=True)
        known = self._versions.get(content) or self.found.get(content)
        while known is None:
            known = self._connection.scalar(_VERSION, {"content": content})
            if known is None:
                new = insert_into(self._connection.dialect, t.versions).values(content=content)
                known = self._connection.scalar(new.on_conflict_do_nothing().returning(t.versions.c.version_id))
        self.found[content] = known
        return known

    def _alerts(self, writes: Sequence[LedgerWrite]) -> list[str]:
        """Ids of those that were written."""
        alerts = {a.alert_id: a for a in sorted((a for w in writes for a in w.alerts), key=lambda a: a.events)}
        if alerts:
            self._insert(t.alerts, [_alert_row(alerts[id_]) for id_ in sorted(alerts)], "grown")
        pairs = sorted({pair for w in writes for pair in w.alert_events})
        if pairs:
            self._insert(t.alert_events, pairs, "leave")
        return sorted(alerts)

    def _changed(self, alerts: Sequence[str]) -> None:
        """One number for all of them."""
        if alerts:
            change = next_number(self._connection, "alert_changes")
            self._insert(t.alert_changes, [(id_, change) for id_ in alerts], "replace")

    def progress(self, progress: Sequence[Progress], *, leave: bool) -> None:
        """How far sources are read; with `leave`, never backwards."""
        last = {p.source_id: (p.source_id, p.name, p.position, p.seq, int(p.finished)) for p in progress}
        if last:
            self._insert(t.sources, [last[id_] for id_ in sorted(last)], "forward" if leave else "replace")

    def _meta(self, writes: Sequence[LedgerWrite]) -> None:
        refusals = sum(len(w.refusals) for w in writes)
        if refusals:
            self._insert(t.meta, [("refusals", refusals)], "add")
        newest_us = max((w.watermark_us for w in writes if w.watermark_us is not None), default=None)
        if newest_us is not None:
            self._insert(t.meta, [("watermark_us", newest_us)], "raise")


def _events(writes: Sequence[LedgerWrite]) -> int:
    return sum(len(w.decisions) for w in writes if w.decisions is not None)


def _once(rows: Rows) -> list[int]:
    """Of rows of assessments with the same event id and running number, the index of the first."""
    first: dict[tuple[Any, ...], int] = {}
    for i, row in enumerate(rows):
        first.setdefault(row[:3], i)
    return list(first.values())


def _alert_row(alert: Alert) -> tuple[Any, ...]:
    return alert.alert_id, alert.tenant, alert.level, alert.last_at_us, encode(alert), alert.events


def _label_row(seq: int, label: Label) -> tuple[Any, ...]:
    return seq, label.tenant, label.target_kind, label.target_id, label.label, label.known_at_us

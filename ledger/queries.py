"""What the API reads of the ledger: pages of alerts with filters, one alert with its events, counts of a tenant.

Reads beside the writer, on connections of its own. Always of one tenant: there is no read without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import BigInteger, func, literal, select, tuple_

from ledger import tables as t
from ledger.entity_queries import EntityQueries, Place
from ledger.erasure import Eraser
from ledger.personal import decode_event
from ledger.rows import decode_alert, schema_of
from ledger.store import Peers, StoredAssessment
from ringwatch.model import DAY_US, Alert, Level

CALM_WITHIN = 50_000
"""Running numbers before an event that are looked at for calm ones."""
SCANNED = 20_000
"""Alerts looked at for one page; a page may be short and still name the next."""


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """All that are given must hold."""

    level: str | None = None
    pattern: str | None = None
    ring: str | None = None
    kind: str | None = None
    entity: str | None = None
    account: str | None = None
    delivery: str | None = None
    since_us: int | None = None
    until_us: int | None = None

    def holds(self, alert: Alert) -> bool:
        """Of what the table has no columns for."""
        return (
            (self.pattern is None or self.pattern in alert.patterns)
            and (self.ring is None or self.ring == alert.ring)
            and (self.kind is None or self.kind == alert.kind)
            and (self.entity is None or self.entity == alert.entity)
            and (
                self.account is None
                or self.account in alert.accounts
                or (alert.kind, alert.entity) == ("user", self.account)
            )
            and (self.delivery is None or self.delivery == alert.delivery)
        )


class LedgerQueries(EntityQueries):
    """Reads for people. Safe to call from several threads."""

    def eraser(self) -> Eraser:
        return Eraser(self._engine)

    def alert_page(
        self, tenant: str, wanted: AlertFilter, *, limit: int, after: Place | None
    ) -> tuple[list[Alert], Place | None]:
        """Newest last event first, and where to go on; None at the end. An alert that grows moves to the front."""
        c = t.alerts.c
        query = select(c.content).where(c.tenant == tenant).order_by(c.last_at_us.desc(), c.alert_id.desc())
        if wanted.level is not None:
            query = query.where(c.level == wanted.level)
        if wanted.since_us is not None:
            query = query.where(c.last_at_us >= wanted.since_us)
        if wanted.until_us is not None:
            query = query.where(c.last_at_us < wanted.until_us)
        if after is not None:
            query = query.where(tuple_(c.last_at_us, c.alert_id) < tuple_(*after))
        found: list[Alert] = []
        seen, last = 0, None
        with self._reading() as connection:
            for (content,) in connection.execution_options(yield_per=500).execute(query.limit(SCANNED + 1)):
                if len(found) == limit or seen == SCANNED:
                    return found, last
                alert = decode_alert(content)
                last = (alert.last_at_us, alert.alert_id)
                seen += 1
                if wanted.holds(alert):
                    found.append(alert)
        return found, None

    def newest_change(self) -> int:
        """The number of the last write of alerts; 0 before the first."""
        c = t.counters.c
        with self._reading() as connection:
            return int(connection.scalar(select(c.value).where(c.name == "alert_changes")) or 0)

    def alerts_changed(self, after: Place, *, limit: int, tenant: str | None = None) -> list[tuple[Place, Alert]]:
        """Of one tenant or all, in the order they were written, each as it is now; `after`: the place of the last one that is known, (0, "") for
        none. An alert that changes again comes again."""
        c = t.alert_changes.c
        query = select(c.change, c.alert_id, t.alerts.c.content).join(t.alerts, t.alerts.c.alert_id == c.alert_id)
        query = query.where(tuple_(c.change, c.alert_id) > tuple_(*after)).order_by(c.change, c.alert_id).limit(limit)
        query = query if tenant is None else query.where(t.alerts.c.tenant == tenant)
        with self._reading() as connection:
            return [((change, id_), decode_alert(content)) for change, id_, content in connection.execute(query)]

    def alert(self, tenant: str, alert_id: str) -> Alert | None:
        c = t.alerts.c
        with self._reading() as connection:
            content = connection.scalar(select(c.content).where(c.alert_id == alert_id, c.tenant == tenant))
        return None if content is None else decode_alert(content)

    def alerts_by_id(self, tenant: str, ids: Sequence[str]) -> list[Alert]:
        """Those of them that there are, in no order."""
        c = t.alerts.c
        with self._reading() as connection:
            found = connection.scalars(select(c.content).where(c.alert_id.in_(ids), c.tenant == tenant))
            return [decode_alert(content) for content in found]

    def events_of(self, alert: Alert, *, limit: int) -> list[StoredAssessment]:
        """The alert's events in order of time, at most so many; its first and its highest scored are among them."""
        ids = dict.fromkeys((alert.top_event_id, alert.first_event_id, *self.alert_events(alert.alert_id, limit=limit)))
        stored = self.assessments(alert.tenant, [i for i in ids if i][:limit])
        return sorted(stored.values(), key=lambda s: (s.event.at_us, s.event.event_id))

    def tenant_counts(self, tenant: str) -> dict[str, int]:
        """assessments, alerts, labels, and alerts by level ("alerts.HIGH")."""
        with self._reading() as connection:
            found = {
                name: int(connection.scalar(select(func.count()).where(table.c.tenant == tenant)) or 0)
                for name, table in (("assessments", t.event_ids), ("alerts", t.alerts), ("labels", t.labels))
            }
            levels = connection.execute(
                select(t.alerts.c.level, func.count()).where(t.alerts.c.tenant == tenant).group_by(t.alerts.c.level)
            )
            found |= {f"alerts.{level}": n for level, n in levels}
        return found

    def alerts_by_day(self, tenant: str, since_us: int) -> list[tuple[int, str, int]]:
        """(day since 1970 of the last event, level, alerts) of alerts since a time, the latest day first."""
        c = t.alerts.c
        day = c.last_at_us // literal(DAY_US, BigInteger)
        query = select(day, c.level, func.count()).where(c.tenant == tenant, c.last_at_us >= since_us)
        with self._reading() as connection:
            rows = connection.execute(query.group_by(day, c.level).order_by(day.desc(), c.level))
            return [(int(at), level, n) for at, level, n in rows]

    def stored(self, tenant: str, event_id: str) -> StoredAssessment | None:
        return self.assessments(tenant, [event_id]).get(event_id)

    def calm_before(self, tenant: str, event_id: str, *, limit: int) -> Peers:
        """Events of level LOW that were decided before one, the latest first; looked for among the last so many numbers. Those of
        another feature schema, or whose features were not kept, are left out."""
        a, ids, v = t.assessments.c, t.event_ids.c, t.versions.c
        with self._reading() as connection:
            seq = connection.scalar(select(ids.seq).where(ids.tenant == tenant, ids.event_id == event_id))
            before = -1 if seq is None else seq
            near = a.tenant == tenant, a.seq < before, a.seq >= before - CALM_WITHIN, a.level == int(Level.LOW)
            found = select(a.event, a.features, a.version_id).where(*near).order_by(a.seq.desc()).limit(limit)
            rows = connection.execute(found).all()
            of = select(v.version_id, v.content).where(v.version_id.in_(sorted({row.version_id for row in rows})))
            mine = {id_ for id_, content in connection.execute(of) if schema_of(content) == self._codec.schema.hash}
        rows = [row for row in rows if row.version_id in mine]
        features = np.empty((len(rows), self._codec.schema.size), np.float32)
        for i, row in enumerate(rows):
            features[i] = self._codec.unpack(row.features)
        kept = ~np.isnan(features).all(axis=1)
        return Peers(tuple(decode_event(rows[i].event).type for i in np.flatnonzero(kept)), features[kept])

    def alerts_of_ring(self, tenant: str, ring_id: str, *, limit: int) -> Sequence[Alert]:
        return self.alert_page(tenant, AlertFilter(ring=ring_id), limit=limit, after=None)[0]

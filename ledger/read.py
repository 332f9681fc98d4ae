"""Short looks into a ledger that another process may hold."""

from __future__ import annotations

from features.schema import FeatureSchema
from ledger.postgres import PostgresAccess
from ledger.sql_store import SqlLedger
from rings.as_of import latest
from rings.entry import RingEntry
from ringwatch.model import Alert, Level, Reason


def read_alerts(
    url: str, *, limit: int, level: str | None, severest: bool = False, access: PostgresAccess | None = None
) -> list[tuple[Alert, tuple[Reason, ...]]]:
    """Alerts of a ledger that another process may hold, newest or severest first, each with the reasons of its top event."""
    ledger = SqlLedger(url, FeatureSchema(), access)
    try:
        alerts = list(ledger.alerts(limit=100_000 if severest else limit, level=level))
        if severest:
            alerts = sorted(alerts, key=lambda a: (-Level[a.level], -a.score, -a.events, a.alert_id))[:limit]
        reasons = {
            t: ledger.reasons(t, [a.top_event_id for a in alerts if a.tenant == t]) for t in {a.tenant for a in alerts}
        }
        return [(a, reasons[a.tenant].get(a.top_event_id, ())) for a in alerts]
    finally:
        ledger.close()


def read_history(
    url: str, tenant: str, ring_id: str, *, most: int, access: PostgresAccess | None = None
) -> list[RingEntry]:
    """The last entries of a ring's history, oldest first."""
    ledger = SqlLedger(url, FeatureSchema(), access)
    try:
        return latest(lambda after: ledger.ring_history(tenant, ring_id, after=after), most)
    finally:
        ledger.close()

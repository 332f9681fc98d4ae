"""Alerts are numbered as they change. Those that are there get number 0: whoever follows begins with them."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import alert_changes, alerts, counters

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for table in (alert_changes, counters):
        table.create(op.get_bind(), checkfirst=True)
    there = sa.select(alerts.c.alert_id, sa.literal(0)).where(
        alerts.c.alert_id.not_in(sa.select(alert_changes.c.alert_id))
    )
    op.get_bind().execute(alert_changes.insert().from_select(["alert_id", "change"], there))

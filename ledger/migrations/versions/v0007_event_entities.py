"""The events of each entity, and the alert of an event. Earlier events get no rows: to read every event takes longer than a start may."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import alert_events, event_entities

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    bind = op.get_bind()
    event_entities.create(bind, checkfirst=True)
    present = {index["name"] for index in sa.inspect(bind).get_indexes("alert_events")}
    for index in alert_events.indexes:
        if index.name not in present:
            index.create(bind)

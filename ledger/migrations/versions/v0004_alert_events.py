"""Alerts remember how many events they have: of two states the one with fewer is the older."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("alerts")}
    if "events" not in present:
        op.add_column("alerts", sa.Column("events", sa.Integer, nullable=False, server_default="0"))

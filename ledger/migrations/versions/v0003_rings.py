"""Rings as the ring keeper tells them."""

from alembic import op

from ledger.tables import rings

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    rings.create(op.get_bind(), checkfirst=True)

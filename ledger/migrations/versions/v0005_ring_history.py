"""What happened to rings, entry by entry."""

from alembic import op

from ledger.tables import ring_history

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    ring_history.create(op.get_bind(), checkfirst=True)

"""What happened to rings, entry by entry."""

from alembic import op

from ledger.tables import ring_history

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    ring_history.create(op.get_bind(), checkfirst=True)

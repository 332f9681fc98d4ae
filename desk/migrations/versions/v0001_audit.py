"""The audit trail."""

from alembic import op

from desk.tables import audit, audit_heads

revision = "0001"
down_revision = None


def upgrade() -> None:
    for table in (audit, audit_heads):
        table.create(op.get_bind(), checkfirst=True)

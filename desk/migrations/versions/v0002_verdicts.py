"""What people decided: block, watch, allow."""

from alembic import op

from desk.tables import acts, numbers, verdicts

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table in (acts, verdicts, numbers):
        table.create(op.get_bind(), checkfirst=True)

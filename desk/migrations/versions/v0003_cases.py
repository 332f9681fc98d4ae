"""Cases."""

from alembic import op

from desk.tables import case_accounts, case_alerts, case_notes, cases, positions, snoozes

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for table in (cases, case_alerts, case_accounts, case_notes, snoozes, positions):
        table.create(op.get_bind(), checkfirst=True)

"""Keys that personal fields are sealed under. What was written before stays plain."""

from alembic import op

from ledger.tables import personal_keys

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    personal_keys.create(op.get_bind(), checkfirst=True)

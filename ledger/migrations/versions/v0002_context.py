"""Assessments remember the ring and the patterns."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("assessments")}
    if "context" not in present:
        op.add_column("assessments", sa.Column("context", sa.LargeBinary))

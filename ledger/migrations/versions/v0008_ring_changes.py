"""Entries of the history of rings are numbered as they are written. Those that are there get no number: whoever follows begins behind them."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import ring_history

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    there = sa.inspect(op.get_bind())
    if "change" not in {column["name"] for column in there.get_columns("ring_history")}:
        op.add_column("ring_history", sa.Column("change", sa.BigInteger))
    present = {index["name"] for index in there.get_indexes("ring_history")}
    for index in ring_history.indexes:
        if index.name not in present:
            index.create(op.get_bind())

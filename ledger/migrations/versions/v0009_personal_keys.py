"""Keys that personal fields are sealed under. What was written before stays plain."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import counters, personal_keys

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    bind = op.get_bind()
    personal_keys.create(bind, checkfirst=True)
    there = sa.select(counters.c.name).where(counters.c.name == "erasures")
    if bind.execute(there).first() is None:
        bind.execute(counters.insert().values(name="erasures", value=0))

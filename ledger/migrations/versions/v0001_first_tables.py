"""The first tables; on PostgreSQL cut by month, by TimescaleDB where the database has it."""

import sqlalchemy as sa
from alembic import op

from ledger.tables import assessments, metadata, partitioned_assessments
from ringwatch.model import DAY_US

revision = "0001"
down_revision = None

_HAS_LZ4 = sa.text("SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'")
_LZ4 = sa.text(
    "ALTER TABLE assessments ALTER features SET COMPRESSION lz4, ALTER event SET COMPRESSION lz4,"
    " ALTER reasons SET COMPRESSION lz4, ALTER timing SET COMPRESSION lz4"
)
"""As small as the default, for a quarter of the server's time less."""


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        metadata.create_all(bind)
        return
    metadata.create_all(bind, tables=[table for table in metadata.sorted_tables if table is not assessments])
    extension = bind.scalar(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"))
    partitioned_assessments(by_month=extension is None).create(bind)
    if bind.scalar(_HAS_LZ4):
        bind.execute(_LZ4)
    if extension is not None:
        bind.execute(
            sa.text("SELECT create_hypertable('assessments', 'at_us', chunk_time_interval => CAST(:span AS bigint))"),
            {"span": 30 * DAY_US},
        )

"""Alembic's entry: runs on the connection handed in by `SqlLedger.prepare`."""

from alembic import context

from ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

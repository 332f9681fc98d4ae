"""Alembic's entry: runs on the connection handed in by `Desk.prepare`. Its own table of versions: the ledger may be in the same database."""

from alembic import context

from desk.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table="desk_version"
)
with context.begin_transaction():
    context.run_migrations()

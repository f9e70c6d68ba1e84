"""Alembic's entry: runs the migrations on the connection that :mod:`infra.postgres.schema_version` opened."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()

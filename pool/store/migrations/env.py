"""Alembic's entry: migrates the connection that `pool.store.schema` passes, in the transaction it has begun."""

from __future__ import annotations

from alembic import context

from pool.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can do DDL in a transaction too: a migration cut short leaves nothing behind.
    transactional_ddl=True,
    # SQLite cannot alter most of a table in place; batch mode copies it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

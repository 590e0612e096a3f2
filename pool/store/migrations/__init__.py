"""Alembic's revisions of the store's schema; `pool.store.schema` runs them."""

"""The revisions, numbered in order; the newest is `pool.store.tables.SCHEMA`."""

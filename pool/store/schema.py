"""Brings a database to the schema of this version, or refuses one of a newer version.

A new revision is written with `warmpool`'s own environment (no alembic.ini is needed)::

    python -c "from pool.store import schema; schema.write_revision('what changes', 'sqlite:///at-the-old-schema.sqlite')"
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import Connection

from pool.core.errors import StoreFailed
from pool.store.tables import SCHEMA, USABLE_FROM

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.get_logger("warmpool.store")

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK = 0x7761726D_706F6F6C
"""Two daemons that open one PostgreSQL database at once migrate it one after the other."""


def migrate(connection: Connection, where: str) -> None:
    """Bring the database to `tables.SCHEMA`, in the transaction that has begun; quick if it is there already.

    Args:
        connection: in a transaction that the caller commits.
        where: the store, for sentences.

    Raises:
        StoreFailed: this version cannot use the schema (see `check`).
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    found = check(connection, where)
    if found is not None and found >= SCHEMA:
        return
    # Imported here because most starts find nothing to migrate, and it takes longer than the rest of the start.
    from alembic import command

    command.upgrade(_config(connection), "head")
    # In the same transaction: code that cannot use the new schema must never find it unmarked.
    connection.exec_driver_sql(f"UPDATE meta SET usable_from = '{USABLE_FROM}'")  # noqa: S608 - a constant


def check(connection: Connection, where: str) -> str | None:
    """Return the schema of the database, None if it has none yet; change nothing.

    A newer schema is fine if the code that made it says that this version can use it.

    Raises:
        StoreFailed: it cannot, or the database is another program's.
    """
    found = _revision(connection, where)
    if found is None or found <= SCHEMA:
        return found
    usable_from = connection.exec_driver_sql("SELECT usable_from FROM meta").scalar()
    if not usable_from or usable_from > SCHEMA:
        raise StoreFailed(
            f"The store {where} has schema {found}, and this version of warmpool knows schemas up to {SCHEMA}.",
            remedy="Install the newer warmpool again, or restore a backup from before the upgrade.",
        )
    log.info(
        f"the store {where} has schema {found}, newer than {SCHEMA} of this version, which can use it",
        found=found,
        known=SCHEMA,
    )
    return found


def _revision(connection: Connection, where: str) -> str | None:
    names = set(inspect(connection).get_table_names())
    if "alembic_version" not in names:
        if names:
            raise StoreFailed(
                f"The store {where} holds tables of another program ({', '.join(sorted(names)[:3])}).",
                remedy="Give the daemon a database of its own.",
            )
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def write_revision(message: str, database_url: str) -> None:
    """Write the revision that leads from the schema of a database to `tables.metadata` (for developers)."""
    from alembic import command

    number = f"{int(SCHEMA) + 1:04d}"
    engine = create_engine(database_url)
    with engine.begin() as connection:
        command.revision(_config(connection), message, autogenerate=True, rev_id=number)
    engine.dispose()

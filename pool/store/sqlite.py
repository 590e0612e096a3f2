"""SQLite: a whole transaction is one visit to the connection's thread.

SQLAlchemy's adapter visits the thread three times for each statement, and each visit may wait for the interpreter's
lock while the event loop is busy. So its engine owns the connection, and transactions run on the driver directly.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import URL, Dialect
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pool.store.link import Tx

T = TypeVar("T")

_PRAGMAS = (
    # Readers do not wait for the writer, and a commit is one append.
    "PRAGMA journal_mode = WAL",
    # Every commit is on the disk before anybody is told of it, also when the power goes.
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA cache_size = -16384",
)


class _Transaction:
    """A `Tx` on the connection's own thread."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
        return self._connection.execute(statement, values).fetchall()

    def write(self, statement: str, *values: Any) -> int:
        return self._connection.execute(statement, values).rowcount

    def write_all(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._connection.executemany(statement, rows)


class _Driver(aiosqlite.Connection):
    """aiosqlite's connection, with whole transactions as one visit to its thread."""

    async def transact(self, job: Callable[[Tx], T]) -> T:
        """Run `job` between BEGIN and COMMIT. Once begun it ends by itself, also if the caller goes away."""
        result: T = await self._execute(self._transaction, job)  # type: ignore[no-untyped-call]
        return result

    def _transaction(self, job: Callable[[Tx], T]) -> T:
        connection = self._conn
        # IMMEDIATE takes the write lock at once: what the job reads cannot change before it writes.
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = job(_Transaction(connection))
            connection.execute("COMMIT")
        except BaseException:
            # SQLite itself has rolled back after some errors (a full disk, for one).
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result


class SqliteLink:
    """A `Link` to one SQLite file."""

    def __init__(self, engine: AsyncEngine, connection: AsyncConnection, driver: _Driver) -> None:
        self._engine = engine
        self._connection = connection
        self._driver = driver

    @classmethod
    async def open(cls, url: URL) -> SqliteLink:
        """Open the file of `url`, which must exist unless it is ``:memory:``."""

        async def connect() -> _Driver:
            # Autocommit as far as Python is concerned: every BEGIN and COMMIT is written out above.
            driver = _Driver(partial(sqlite3.connect, url.database or ":memory:", isolation_level=None), 64)
            driver._thread.daemon = True
            await driver
            try:
                for pragma in _PRAGMAS:
                    async with driver.execute(pragma):
                        pass
            except BaseException:
                await driver.close()
                raise
            return driver

        engine = create_async_engine(url, async_creator=connect, pool_reset_on_return=None)
        try:
            connection = await engine.connect()
            driver = (await connection.get_raw_connection()).driver_connection
        except BaseException:
            await engine.dispose()
            raise
        assert isinstance(driver, _Driver)  # noqa: S101
        return cls(engine, connection, driver)

    @property
    def dialect(self) -> Dialect:
        """SQLite's."""
        return self._engine.dialect

    async def run(self, job: Callable[[Tx], T]) -> T:
        """Run `job` in one transaction (see `Link.run`)."""
        return await self._driver.transact(job)

    async def run_sync(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in one transaction of SQLAlchemy's."""

        def transaction(connection: Connection) -> T:
            # Python's sqlite3 begins no transaction for DDL: a migration cut short would leave half of itself.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return job(connection)

        async with self._connection.begin():
            return await self._connection.run_sync(transaction)

    async def close(self) -> None:
        """Close the connection."""
        await asyncio.shield(self._close())

    async def _close(self) -> None:
        await self._connection.close()
        await self._engine.dispose()


def make_file(url: URL) -> Path | None:
    """Make the database file, readable by its user only, and its directories; return it, None if in memory.

    Raises:
        OSError: it cannot be made.
    """
    if not url.database or url.database == ":memory:":
        return None
    path = Path(url.database)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its journal the same mode.
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return path

"""SQLite: a whole transaction is one visit to the connection's thread.

SQLAlchemy's adapter visits the thread three times for each statement, and each visit may wait for the interpreter's
lock while the event loop is busy. So its engine owns the connection, and transactions run on the driver directly.

Copying the log back into the file (a checkpoint) takes as long as several commits. A second connection does it, so
that no commit waits for it; the writer's own checkpoint remains as a bound on the log, and finds little left to do.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import lru_cache, partial
from itertools import chain
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
    # In pages of 4 KiB: the log stays under about 20 MB.
    "PRAGMA wal_autocheckpoint = 4000",
)
_COMMITS_PER_CHECKPOINT = 128

_ROWS_AT_ONCE = (64, 32, *range(16, 0, -1))
"""How many rows one statement writes: one statement for a small commit, and few enough sizes that all stay prepared.

Each step of a statement lets go of the interpreter's lock, and a busy event loop gives it back only after a while
(`pool.interpreter.SWITCH_S`). Row by row, that wait is most of what a commit takes.
"""


@lru_cache(maxsize=128)
def _for_rows(statement: str, count: int) -> str:
    """Return an INSERT of one row as one of `count` rows."""
    head, values, tail = statement.partition(" VALUES ")
    row, end, rest = tail.partition(")")
    return f"{head}{values}{', '.join([row + end] * count)}{rest}"


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
        if " VALUES " not in statement:
            self._connection.executemany(statement, rows)
            return
        done = 0
        for size in _ROWS_AT_ONCE:
            while len(rows) - done >= size:
                some = rows[done : done + size]
                self._connection.execute(_for_rows(statement, size), tuple(chain.from_iterable(some)))
                done += size


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

    def __init__(
        self, engine: AsyncEngine, connection: AsyncConnection, driver: _Driver, checkpointer: _Driver | None
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._driver = driver
        self._checkpointer = checkpointer
        self._checkpoint: asyncio.Task[None] | None = None
        self._commits = 0

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

        async with AsyncExitStack() as undo:
            engine = create_async_engine(url, async_creator=connect, pool_reset_on_return=None)
            undo.push_async_callback(engine.dispose)
            connection = await undo.enter_async_context(engine.connect())
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, _Driver)  # noqa: S101
            checkpointer = None if in_memory(url) else await connect()
            undo.pop_all()
        return cls(engine, connection, driver, checkpointer)

    @property
    def dialect(self) -> Dialect:
        """SQLite's."""
        return self._engine.dialect

    async def run(self, job: Callable[[Tx], T]) -> T:
        """Run `job` in one transaction (see `Link.run`)."""
        result = await self._driver.transact(job)
        self._commits += 1
        if self._commits % _COMMITS_PER_CHECKPOINT == 0 and (self._checkpoint is None or self._checkpoint.done()):
            self._checkpoint = asyncio.ensure_future(self._copy_log())
        return result

    async def _copy_log(self) -> None:
        # What fails here is still in the log, and the writer's own checkpoint tells of it.
        if self._checkpointer is not None:
            with suppress(sqlite3.Error):
                await self._checkpointer.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")

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
        if self._checkpoint is not None:
            await asyncio.gather(self._checkpoint, return_exceptions=True)
        if self._checkpointer is not None:
            await self._checkpointer.close()
        await self._connection.close()
        await self._engine.dispose()


def in_memory(url: URL) -> bool:
    """Tell whether the database is no file."""
    return not url.database or url.database == ":memory:"


def make_file(url: URL) -> Path | None:
    """Make the database file, readable by its user only, and its directories; return it, None if in memory.

    Raises:
        OSError: it cannot be made.
    """
    if in_memory(url):
        return None
    path = Path(url.database or "")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its journal the same mode.
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return path

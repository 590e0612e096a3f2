"""PostgreSQL: one connection, transactions one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import URL, Dialect
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pool.store.link import Tx
from pool.store.turn import session_settings

T = TypeVar("T")


class _Transaction:
    """A `Tx` on a connection of SQLAlchemy's."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
        return self._connection.exec_driver_sql(statement, values).fetchall()

    def write(self, statement: str, *values: Any) -> int:
        return self._connection.exec_driver_sql(statement, values).rowcount

    def write_all(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._connection.exec_driver_sql(statement, list(rows))


class PostgresLink:
    """A `Link` to one PostgreSQL database."""

    def __init__(self, engine: AsyncEngine, connection: AsyncConnection) -> None:
        self._engine = engine
        self._connection = connection
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def open(cls, url: URL) -> PostgresLink:
        """Connect to the database of `url`."""
        engine = create_async_engine(url)
        try:
            connection = await engine.connect()
            async with connection.begin():
                await connection.exec_driver_sql(session_settings())
            return cls(engine, connection)
        except BaseException:
            await engine.dispose()
            raise

    @property
    def dialect(self) -> Dialect:
        """PostgreSQL's."""
        return self._engine.dialect

    async def run(self, job: Callable[[Tx], T]) -> T:
        """Run `job` in one transaction (see `Link.run`)."""
        return await self.run_sync(lambda connection: job(_Transaction(connection)))

    async def run_sync(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in one transaction of SQLAlchemy's."""
        # A task of its own, so that a cancelled caller leaves no transaction half way.
        return await asyncio.shield(asyncio.ensure_future(self._transaction(job)))

    async def _transaction(self, job: Callable[[Connection], T]) -> T:
        async with self._one_at_a_time, self._connection.begin():
            return await self._connection.run_sync(job)

    async def close(self) -> None:
        """Close the connection once the transaction under way has ended."""
        await asyncio.shield(self._close())

    async def _close(self) -> None:
        async with self._one_at_a_time:
            await self._connection.close()
            await self._engine.dispose()

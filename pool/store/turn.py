"""Whose turn it is to write a PostgreSQL database: a lock that the server takes back when its session ends.

The lock tells who is to be the writer, so that a second daemon stands by instead of taking over. It fences nobody: what
may be written is checked by every commit (the store's generation), also where two believe that it is their turn.

The session is one of its own, so that no long transaction holds it up. It ends with its process at once. A host that is
gone or cut off is noticed by TCP, a process that stands still by its silence: both let go after a bounded time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from pool.core.errors import NotTheWriter
from pool.store.faults import translate

log = structlog.get_logger("warmpool.store")

TRY_EVERY_S = 0.5
"""How often who stands by tries to take the lock. Not one call that blocks: it would hold up the server's vacuum."""

CHECK_EVERY_S = 2.0
CHECK_WITHIN_S = 8.0
"""How often the writer looks whether it has the lock, and how long the answer may take.

Together less than the server takes to give up a host that does not answer: who is cut off ends before another begins.
"""

SILENT_S = 20
"""After so long without a word from its process the server ends a session, and a transaction, of the writer's."""

_CONNECT_S = 15.0
_LOCK = 0x7761726D_77726974
_TRY = f"SELECT pg_try_advisory_lock({_LOCK})"
_HELD = f"""
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
               AND (classid::bigint << 32) | objid::bigint = {_LOCK})
"""  # noqa: S608 - a number
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


def session_settings() -> str:
    """Return the query that has the server notice soon that the other end of a session is gone.

    Set by a query and not as the connection begins: poolers refuse what they do not know there.
    """
    settings = {
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 11_000,
        # A row that a dead host has locked would hold up the next writer.
        "idle_in_transaction_session_timeout": SILENT_S * 1000,
    }
    return _setting(settings)


def _setting(settings: dict[str, int]) -> str:
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())


class Turn:
    """This process's turn to be the writer of a database, or its wait for it.

    Args:
        url: of the database.
        where: the store, for sentences.
    """

    def __init__(self, url: URL, where: str) -> None:
        self._url = url
        self._where = where
        self._session: asyncpg.Connection[Any] | None = None

    async def wait(self, told: Callable[[str], None]) -> None:
        """Return once it is this process's turn.

        A server that is away for a while is waited for, but for the very first time.

        Args:
            told: called with who the writer is, whenever it is another than before.

        Raises:
            PoolError: if the database cannot be reached at all.
        """
        said = ""
        away = False
        while True:
            try:
                session = self._session = self._session or await self._begin()
                if await session.fetchval(_TRY, timeout=CHECK_WITHIN_S):
                    return
                who, away = await self._writer(session), False
            except _FAILURES as error:
                self.close()
                failure = translate(error, self._where)
                if not said:
                    raise failure from error
                if not away:
                    log.warning("the store cannot be reached while standing by, trying again", error=failure.detail)
                away = True
            else:
                if who != said:
                    told(who)
                    said = who
            await asyncio.sleep(TRY_EVERY_S)

    async def _begin(self) -> asyncpg.Connection[Any]:
        made: Any = dialect  # without types
        _, options = made().create_connect_args(self._url)
        session = await asyncpg.connect(**options, timeout=_CONNECT_S)
        try:
            await session.execute(session_settings(), timeout=CHECK_WITHIN_S)
            await session.execute(_setting({"idle_session_timeout": SILENT_S * 1000}), timeout=CHECK_WITHIN_S)
        except BaseException:
            session.terminate()
            raise
        return session

    async def _writer(self, session: asyncpg.Connection[Any]) -> str:
        try:
            who = await session.fetchval("SELECT opened_by FROM meta", timeout=CHECK_WITHIN_S)
        except asyncpg.UndefinedTableError:
            who = None
        return str(who or "another daemon")

    async def keep(self) -> None:
        """Look again and again whether it still is this process's turn; return never.

        Raises:
            NotTheWriter: it is not, or that cannot be said.
        """
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            why = "the lock is not this session's any more"
            try:
                if self._session is not None and await self._session.fetchval(_HELD, timeout=CHECK_WITHIN_S):
                    continue
            except _FAILURES as error:
                why = str(error).partition("\n")[0] or type(error).__name__
            raise NotTheWriter(
                f"The session that makes this daemon the writer of the store {self._where} ended: {why}.",
                remedy="Start it again: it becomes the writer, or stands by for the one that did.",
            )

    def close(self) -> None:
        """Give the turn up; doing it again does nothing."""
        session, self._session = self._session, None
        if session is not None:
            # Nothing is under way whose end would matter, and a server that is gone would keep a goodbye waiting.
            session.terminate()

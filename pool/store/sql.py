"""The real store: a SQLite file by default, a PostgreSQL database where several replicas stand by."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pool.core.decisions import Change
from pool.core.errors import NotTheWriter, StoreConflict, StoreFailed
from pool.core.model import Cluster, Lease
from pool.store import loading, schema, tables
from pool.store.base import RESTORE_STEP, USED_BEFORE, Loaded
from pool.store.batch import Batch, reduce
from pool.store.books import DAY_S, Account, Books, Draft, Entries, Sum, added, booked, entries
from pool.store.faults import translate
from pool.store.link import Link, Tx
from pool.store.lock import WriterLock
from pool.store.mapping import Row, cluster_row, clusters_of, lease_row, leases_of, pool_row, waiter_row
from pool.store.statements import CHUNK_ROWS, PAGE_ROWS, Statements

if TYPE_CHECKING:
    from pool.store.turn import Turn

T = TypeVar("T")
_H = TypeVar("_H", Lease, Cluster)

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
KEY_IDS_SINCE = "0003"
_FAILURES = (SQLAlchemyError, sqlite3.Error, OSError, OverflowError, UnicodeError)


class SqlStore:
    """Durable state in a SQL database (a `pool.store.base.Store`)."""

    def __init__(self, url: str | URL, *, restored: bool = False, key_id: str = "") -> None:
        """Name the store; nothing is opened yet.

        Args:
            url: ``sqlite:///relative.sqlite``, ``sqlite:////absolute.sqlite`` or
                ``postgresql://user:password@host/database``.
            restored: the database comes from a backup (see `open`).
            key_id: tells the key that this daemon makes tokens of from others; empty does not compare.

        Raises:
            StoreFailed: the URL is not one of these.
        """
        self._url = _checked(url)
        self._restored = restored
        self._key_id = key_id
        self._where = self._url.database or "in memory"
        if self._url.host:
            self._where = f"{self._url.database} on {self._url.host}"
        self._link: Link | None = None
        self._lock: WriterLock | None = None
        self._turn: Turn | None = None
        self._sql: Statements
        self._generation = 0
        self._books = Books()
        # What a commit enters is read with what is booked by it, or without either.
        self._entering = asyncio.Lock()

    def __repr__(self) -> str:
        state = f"generation {self._generation}" if self._link else "closed"
        return f"<SqlStore {self._url.render_as_string(hide_password=True)} [{state}]>"

    async def stand_by(self, told: Callable[[str], None]) -> None:
        """Return once no other daemon is the writer of a PostgreSQL database (see `pool.store.base.Store.stand_by`).

        Whether this daemon could use the database is looked at before it waits. On SQLite it returns at once: `open`
        refuses a second daemon.
        """
        if self._url.get_backend_name() == "sqlite":
            return
        from pool.store.postgres import PostgresLink
        from pool.store.turn import Turn

        with self._errors():
            link = await PostgresLink.open(self._url)
            try:
                found = await link.run_sync(partial(schema.check, where=self._where))
                if found is not None and found >= KEY_IDS_SINCE:
                    await link.run(partial(self._check_key, Statements(link.dialect).key_id))
            finally:
                await link.close()
            self._turn = Turn(self._url, self._where)
            await self._turn.wait(told)

    async def keep(self) -> None:
        """Return never (see `pool.store.base.Store.keep`)."""
        if self._turn is None:
            await asyncio.Event().wait()
        else:
            await self._turn.keep()

    def _check_key(self, statement: str, tx: Tx) -> None:
        for (key_id,) in tx.rows(statement):
            self._refuse_other_key(key_id)

    def _refuse_other_key(self, key_id: str) -> None:
        if key_id and self._key_id and key_id != self._key_id and not self._restored:
            raise StoreFailed(
                f"The store {self._where} belongs to daemons with another tokens.key than this one's.",
                remedy="Give this daemon their tokens.key; if it is lost, start with --restored: it replaces clusters.",
            )

    async def open(self, now: float) -> Loaded:
        """Become the writer and return what is there (see `pool.store.base.Store.open`).

        A missing file is made, readable by its user only; an older schema is migrated. A second daemon on a SQLite
        file is refused; on PostgreSQL it takes over, and the first one's next commit raises `NotTheWriter`: so let
        it `stand_by` first.

        With `restored`, epochs, cluster numbers and the generation first rise by `RESTORE_STEP`: what the lost
        database handed out after the backup was made is never handed out again. Its live leases are taken as
        renewed lately, so that their holders have a full ttl to show themselves.
        """
        if self._link is not None:
            raise RuntimeError(f"{self!r} is open already")
        try:
            with self._errors():
                return await self._open(now)
        except BaseException:
            await self.close()
            raise

    async def _open(self, now: float) -> Loaded:
        if self._url.get_backend_name() == "sqlite":
            from pool.store.sqlite import SqliteLink, make_file

            file = make_file(self._url)
            if file is not None:
                self._lock = WriterLock(file)
            self._link = await SqliteLink.open(self._url)
        else:
            from pool.store.postgres import PostgresLink

            self._link = await PostgresLink.open(self._url)
        await self._link.run_sync(partial(schema.migrate, where=self._where))
        self._sql = Statements(self._link.dialect)
        loaded = await self._link.run(partial(self._take_over, now))
        self._generation = loaded.generation
        return loaded

    def _take_over(self, now: float, tx: Tx) -> Loaded:
        sql = self._sql
        found = tx.rows(sql.identity)
        if not found:
            tx.write(sql.add_meta, 1, uuid.uuid4().hex[:16], 0, "", 0.0, tables.USABLE_FROM, self._key_id)
            found = tx.rows(sql.identity)
        store_id, generation, previous_opened_at, key_id = found[0]
        self._refuse_other_key(key_id)
        generation += 1
        if self._restored:
            generation += RESTORE_STEP
            for statement in (sql.raise_epochs, sql.raise_seqs, sql.raise_renewals):
                tx.write(statement, RESTORE_STEP)
        who = f"process {os.getpid()} on {os.uname().nodename}"
        tx.write(sql.take_over, generation, who, now, self._key_id or key_id)
        self._books.begin((id_, booked(*what)) for id_, *what in tx.rows(sql.live_booked))
        return loading.load(tx, sql, self._where, Loaded(store_id, generation, previous_opened_at))

    async def commit(self, changes: Sequence[Change]) -> None:
        """Persist the durable ones of `changes` (see `pool.store.base.Store.commit`)."""
        batch = reduce(changes)
        async with self._entering:
            draft = self._books.draft(changes)
            writes = self._writes(batch, draft)

            def write(tx: Tx) -> None:
                self._fence(tx)
                self._refuse_used(tx, batch)
                for statement, rows in writes:
                    tx.write_all(statement, rows)

            await self._run(write)
            self._books.take(draft)

    def _refuse_used(self, tx: Tx, batch: Batch) -> None:
        # A request id that is used up is refused as it queues: as it was granted, the conflict would be of the event
        # that freed the cluster.
        for waiter in batch.waiters.values():
            if waiter is not None:
                found = tx.rows(self._sql.lease_by_request, waiter.caller, waiter.request_id)
                if any(lease.id != waiter.id for lease in leases_of(found)):
                    raise StoreConflict(USED_BEFORE)

    def _writes(self, batch: Batch, draft: Draft) -> list[tuple[str, list[tuple[Any, ...]]]]:
        sql = self._sql
        marks = {id_: (was.state.value, was.since) for id_, was in draft.booked.items() if was is not None}
        every = (
            (sql.delete_waiter, [(id_,) for id_, w in batch.waiters.items() if w is None]),
            (sql.delete_pool, [(digest,) for digest, p in batch.pools.items() if p is None]),
            (sql.upserts[tables.pools], [pool_row(p) for p in batch.pools.values() if p is not None]),
            (sql.upserts[tables.clusters], [cluster_row(c, *marks.get(id_, ())) for id_, c in batch.clusters.items()]),
            (sql.book, [(*mark, id_) for id_, mark in marks.items() if id_ not in batch.clusters]),
            (sql.enter, [(*account, *added) for account, added in draft.entries.items()]),
            (sql.upserts[tables.leases], [lease_row(lease) for lease in batch.leases.values()]),
            (sql.upserts[tables.waiters], [waiter_row(w) for w in batch.waiters.values() if w is not None]),
        )
        return [(statement, rows) for statement, rows in every if rows]

    def _fence(self, tx: Tx) -> None:
        generation, owner = tx.rows(self._sql.fence)[0]
        if generation != self._generation:
            raise NotTheWriter(f"The store {self._where} was opened after this daemon by {owner}.")

    async def find_request(self, caller: str, request_id: str) -> Lease | None:
        """Return the lease that this caller's request id once made, ended or not."""
        rows = await self._rows(self._sql.lease_by_request, caller, request_id)
        return next(iter(leases_of(rows)), None)

    async def find_lease(self, lease_id: str) -> Lease | None:
        """Return a lease, ended or not, as long as history keeps it."""
        rows = await self._rows(self._sql.lease_by_id, lease_id)
        return next(iter(leases_of(rows)), None)

    async def find_cluster(self, cluster_id: str) -> Cluster | None:
        """Return a cluster, stopped or not, as long as history keeps it."""
        rows = await self._rows(self._sql.cluster_by_id, cluster_id)
        return next(iter(clusters_of(rows)), None)

    async def history(
        self,
        kind: type[_H],
        *,
        since: float = 0.0,
        until: float = math.inf,
        after: tuple[float, str] | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[_H]:
        """Yield leases (by `asked_at`) or clusters (by `created_at`), live and ended, of a span of time.

        Rows are read in pages, so that commits go on between them.
        """
        pages, decode = (self._sql.lease_pages, leases_of) if kind is Lease else (self._sql.cluster_pages, clusters_of)
        statement = pages.newest_first if newest_first else pages.oldest_first
        place: tuple[float, str] = after or (math.inf if newest_first else -math.inf, "")
        left = math.inf if limit is None else limit
        while left > 0:
            rows = await self._rows(statement, since, until, *place)
            for record in decode(rows):
                if left > 0:
                    yield record  # type: ignore[misc]
                left -= 1
            if len(rows) < PAGE_ROWS:
                return
            place = (record.asked_at if isinstance(record, Lease) else record.created_at, record.id)

    async def ledger(self, since_day: int, until_day: int, now: float, *, by_day: bool = True) -> Entries:
        """Return what was entered in the ledger for some days (see `pool.store.base.Store.ledger`)."""
        statement = self._sql.ledger_days if by_day else self._sql.ledger_total
        async with self._entering:
            rows = await self._rows(statement, since_day, until_day)
            living = self._books.unbooked(now)
        found = entries()
        for *account, count, seconds in rows:
            found[Account(*account)] = Sum(count, seconds)
        return added(found, living, since_day, until_day, by_day=by_day)

    async def keep_learned(self, rows: Mapping[str, str | None]) -> None:
        """Keep what was learned (see `pool.store.base.Store.keep_learned`)."""
        gone = [(name,) for name, told in rows.items() if told is None]
        kept = [(name, told) for name, told in rows.items() if told is not None]

        def write(tx: Tx) -> None:
            self._fence(tx)
            for statement, values in ((self._sql.delete_learned, gone), (self._sql.upserts[tables.learned], kept)):
                if values:
                    tx.write_all(statement, values)

        await self._run(write)

    async def prune(self, before: float) -> int:
        """Delete leases that ended and clusters that stopped before that time; return how many.

        With them go the ledger's days that ended before it.

        Goes in steps of a few hundred rows, so that commits go on between them.
        """
        total = 0
        for statement in (self._sql.prune_leases, self._sql.prune_clusters):
            gone = CHUNK_ROWS
            while gone == CHUNK_ROWS:
                gone = await self._run(partial(self._prune_some, statement, before))
                total += gone
        await self._run(partial(self._prune_some, self._sql.prune_ledger, before // DAY_S))
        return total

    def _prune_some(self, statement: str, before: float, tx: Tx) -> int:
        self._fence(tx)
        return tx.write(statement, before)

    async def close(self) -> None:
        """Let go of the store; doing it again does nothing."""
        link, self._link = self._link, None
        lock, self._lock = self._lock, None
        turn, self._turn = self._turn, None
        try:
            if link is not None:
                with self._errors():
                    await link.close()
        finally:
            # Last, when nothing of this daemon's is under way any more.
            if lock is not None:
                lock.release()
            if turn is not None:
                turn.close()

    async def _rows(self, statement: str, *values: Any) -> Sequence[Row]:
        return await self._run(lambda tx: tx.rows(statement, *values))

    async def _run(self, job: Callable[[Tx], T]) -> T:
        if self._link is None:
            raise StoreFailed(f"The store {self._where} is not open.", remedy="Open it first.")
        with self._errors():
            return await self._link.run(job)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise translate(error, self._where) from error


def _checked(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
        return parsed.set(drivername=_DRIVERS[parsed.get_backend_name()])
    except (ArgumentError, KeyError):
        # The URL is not repeated: it may hold a password.
        raise StoreFailed(
            "The store's URL is neither of SQLite nor of PostgreSQL.",
            remedy="Write sqlite:////absolute/path.sqlite or postgresql://user:password@host/database.",
        ) from None

"""The SQL of the store: built with SQLAlchemy once per open store, and then used as text with positional values.

A commit runs a handful of statements; going through SQLAlchemy's execution for each would cost more than SQLite does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Dialect,
    Select,
    Table,
    asc,
    bindparam,
    cast,
    delete,
    desc,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.expression import ClauseElement, ColumnElement

from pool.core.model import ClusterState, LeaseState
from pool.store.base import ENDED_LOADED, STARTS_LOADED
from pool.store.tables import clusters, learned, leases, ledger, meta, pools, waiters

_IDENTITY = {"id", "digest", "key", "caller", "request_id", "pool", "tenant", "asked_at", "created_at"}
"""Columns that a record never changes; naming them in an update would rewrite their indexes at each one."""

PAGE_ROWS = 1_000
CHUNK_ROWS = 500
"""How many rows a history page holds, and how many a step of pruning deletes: a few milliseconds for the writer."""


def _one_of(column: ColumnElement[Any], *values: str) -> ColumnElement[bool]:
    # Literals, so that the planner may use the index on the state.
    return column.in_([literal_column(f"'{value}'") for value in values])


def _at_most(rows: Select[Any], count: int) -> Select[Any]:
    # Not `limit`: for SQLite that adds an OFFSET with a value of its own.
    return rows.suffix_with(sql(f"LIMIT {count}"))


_LIVE_LEASE = _one_of(leases.c.state, *(s.value for s in LeaseState if s is not LeaseState.ENDED))
_LIVE_CLUSTER = _one_of(clusters.c.state, *(s.value for s in ClusterState if s is not ClusterState.STOPPED))
_ENDED_LEASE = _one_of(leases.c.state, LeaseState.ENDED.value)
_STOPPED_CLUSTER = _one_of(clusters.c.state, ClusterState.STOPPED.value)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of history: values are since, until, time and id of the last row seen."""

    oldest_first: str
    newest_first: str


class Statements:
    """All statements as text of one dialect. The comment behind each names its positional values."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        text = self._text

        self.add_meta = text(insert(meta))  # the columns of meta
        self.key_id = text(select(meta.c.key_id))
        # Locks the row where the dialect can; in SQLite the transaction itself is the lock.
        self.fence = text(select(meta.c.generation, meta.c.opened_by).with_for_update())
        self.identity = text(
            select(meta.c.store_id, meta.c.generation, meta.c.opened_at, meta.c.key_id).with_for_update()
        )
        self.take_over = text(  # generation, by whom, when, with which key
            update(meta).values(
                generation=bindparam("g"), opened_by=bindparam("who"), opened_at=bindparam("now"), key_id=bindparam("k")
            )
        )

        self.raise_epochs = text(update(clusters).values(epoch=clusters.c.epoch + bindparam("step")))  # step
        self.raise_renewals = text(update(leases).values(renewed_in=leases.c.renewed_in + bindparam("step")))  # step
        self.raise_seqs = text(update(pools).values(next_seq=pools.c.next_seq + bindparam("step")))  # step

        kept = pools, clusters, leases, waiters, learned
        self.upserts = {table: self._upsert(table) for table in kept}  # the columns of the table
        self.delete_waiter = text(delete(waiters).where(waiters.c.id == bindparam("gone")))  # id
        self.delete_pool = text(delete(pools).where(pools.c.digest == bindparam("gone")))  # digest

        self.delete_learned = text(delete(learned).where(learned.c.name == bindparam("gone")))  # name

        self.learned = text(select(learned.c.name, learned.c.told))
        self.live_pools = text(select(pools).order_by(pools.c.created_at, pools.c.digest))
        self.live_waiters = text(select(waiters).order_by(waiters.c.rank, waiters.c.asked_at, waiters.c.id))
        self.live_clusters = text(select(clusters).where(_LIVE_CLUSTER).order_by(clusters.c.changed_at, clusters.c.id))
        self.live_booked = text(
            select(
                *(clusters.c[name] for name in ("id", "pool", "tenant", "state", "changed_at")),
                clusters.c.booked_state,
                clusters.c.booked_at,
            ).where(_LIVE_CLUSTER)
        )
        self.live_leases = text(select(leases).where(_LIVE_LEASE))
        self.last_ended = text(
            _at_most(
                select(leases).where(_ENDED_LEASE).order_by(leases.c.ended_at.desc(), leases.c.id.desc()), ENDED_LOADED
            )
        )
        self.last_starts = text(
            _at_most(
                select(clusters.c.pool, clusters.c.ready_at - clusters.c.created_at)
                .where(clusters.c.ready_at.is_not(None))
                .order_by(clusters.c.created_at.desc(), clusters.c.id.desc()),
                STARTS_LOADED,
            )
        )

        self.lease_by_id = text(select(leases).where(leases.c.id == bindparam("wanted")))  # id
        self.cluster_by_id = text(select(clusters).where(clusters.c.id == bindparam("wanted")))  # id
        self.lease_by_request = text(  # caller, request id
            select(leases).where(leases.c.caller == bindparam("who"), leases.c.request_id == bindparam("request"))
        )

        self.book = text(  # state, until when, id
            update(clusters)
            .values(booked_state=bindparam("state_"), booked_at=bindparam("at"))
            .where(clusters.c.id == bindparam("booked"))
        )
        self.enter = self._enter()  # the columns of the ledger
        self.ledger_days = self._ledger(ledger.c.day)  # first day, day after the last
        self.ledger_total = self._ledger(literal_column("0"))  # likewise
        self.prune_ledger = text(delete(ledger).where(ledger.c.day < bindparam("before")))  # first day kept

        self.lease_pages = self._pages(leases, leases.c.asked_at)
        self.cluster_pages = self._pages(clusters, clusters.c.created_at)
        self.prune_leases = self._prune(leases, _ENDED_LEASE & (leases.c.ended_at < bindparam("before")))
        self.prune_clusters = self._prune(clusters, _STOPPED_CLUSTER & (clusters.c.changed_at < bindparam("before")))

    def _text(self, statement: ClauseElement) -> str:
        return str(statement.compile(dialect=self._dialect))

    def _upsert(self, table: Table) -> str:
        maker = sqlite.insert if self._dialect.name == "sqlite" else postgresql.insert
        statement = maker(table)
        changing = {c.name: statement.excluded[c.name] for c in table.c if c.name not in _IDENTITY}
        return self._text(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changing))

    def _enter(self) -> str:
        maker = sqlite.insert if self._dialect.name == "sqlite" else postgresql.insert
        statement = maker(ledger)
        more = {name: ledger.c[name] + statement.excluded[name] for name in ("count", "seconds")}
        return self._text(statement.on_conflict_do_update(index_elements=list(ledger.primary_key), set_=more))

    def _ledger(self, day: ColumnElement[Any]) -> str:
        columns = ledger.c.pool, ledger.c.tenant, ledger.c.kind, ledger.c.what, ledger.c.reason
        # A sum of whole numbers is a decimal in PostgreSQL.
        sums = cast(func.sum(ledger.c["count"]), BigInteger), func.sum(ledger.c.seconds)
        days = (ledger.c.day >= bindparam("since")) & (ledger.c.day < bindparam("until"))
        by = columns if day is not ledger.c.day else (day, *columns)
        return self._text(select(day, *columns, *sums).where(days).group_by(*by))

    def _pages(self, table: Table, time: ColumnElement[float]) -> Page:
        place = tuple_(time, table.c.id)
        seen = tuple_(bindparam("seen", type_=time.type), bindparam("seen_id", type_=table.c.id.type))

        def page(beyond: ColumnElement[bool], order: Any) -> str:
            span = (time >= bindparam("since")) & (time < bindparam("until"))
            rows = select(table).where(span, beyond).order_by(order(time), order(table.c.id))
            return self._text(_at_most(rows, PAGE_ROWS))

        return Page(oldest_first=page(place > seen, asc), newest_first=page(place < seen, desc))

    def _prune(self, table: Table, old: ColumnElement[bool]) -> str:
        # before
        chosen = _at_most(select(table.c.id).where(old), CHUNK_ROWS)
        return self._text(delete(table).where(table.c.id.in_(chosen)))

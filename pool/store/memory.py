"""The simulated store: the same promises as the real one, kept in memory, with faults on demand.

`MemoryState` is what a disk would hold; each `MemoryStore` over it is one daemon's handle. A restart is a new handle:
the old one's commits then raise `NotTheWriter`, as a paused daemon's would.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pool.core.decisions import Change
from pool.core.errors import NotTheWriter, PoolError, StoreConflict, StoreFailed
from pool.core.model import Cluster, ClusterState, Lease, LeaseState, Pool, Waiter
from pool.store.base import ENDED_LOADED, RESTORE_STEP, STARTS_LOADED, USED_BEFORE, Loaded, stored
from pool.store.batch import Batch, reduce
from pool.store.books import DAY_S, Booked, Books, Draft, Entries, added, entries

_H = TypeVar("_H", Lease, Cluster)


@dataclass(slots=True)
class MemoryState:
    """What a disk would hold: the rows, by id, live and ended.

    Attributes:
        requests: lease id by (caller, request id): the unique constraint.
        ledger: what was entered.
        booked: of living clusters, what is in the ledger.
        learned: what was learned, by name.
    """

    store_id: str = "0000000000000000"
    generation: int = 0
    opened_at: float = 0.0
    pools: dict[str, Pool] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    waiters: dict[str, Waiter] = field(default_factory=dict)
    requests: dict[tuple[str, str], str] = field(default_factory=dict)
    ledger: Entries = field(default_factory=entries)
    booked: dict[str, Booked] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """A commit that fails.

    Attributes:
        error: what it raises.
        written: the changes took effect all the same, as when the disk wrote but the answer was lost.
    """

    error: PoolError
    written: bool = False


class MemoryStore:
    """One daemon's handle on a `MemoryState` (a `pool.store.base.Store`).

    Attributes:
        state: the rows, shared by all handles.
        fail_next: asked at each commit; what it returns happens to that commit.
    """

    def __init__(self, state: MemoryState | None = None, *, restored: bool = False, keeps_books: bool = True) -> None:
        self.state = state if state is not None else MemoryState()
        self._books = Books() if keeps_books else None
        self.fail_next: Callable[[Sequence[Change]], Fault | None] | None = None
        self._restored = restored
        self._generation: int | None = None

    def __repr__(self) -> str:
        state = "closed" if self._generation is None else f"generation {self._generation}"
        return f"<MemoryStore {self.state.store_id} [{state}]>"

    async def stand_by(self, told: Callable[[str], None]) -> None:
        """Return at once: in memory a new writer takes over (see `pool.store.base.Store.stand_by`)."""

    async def keep(self) -> None:
        """Return never (see `pool.store.base.Store.keep`): the next commit tells."""
        await asyncio.Event().wait()

    async def open(self, now: float) -> Loaded:
        """Become the writer and return what is there (see `pool.store.base.Store.open`)."""
        state = self.state
        if self._restored:
            _raise_after_restore(state)
        state.generation += 1
        previous, state.opened_at = state.opened_at, now
        self._generation = state.generation
        if self._books is not None:
            self._books.begin(state.booked.items())
        started = sorted(
            (c.created_at, c.id, c.pool, c.ready_at) for c in state.clusters.values() if c.ready_at is not None
        )
        ended = [lease for lease in state.leases.values() if lease.state is LeaseState.ENDED]
        ended.sort(key=lambda lease: (_ended_at(lease), lease.id))
        live = [c for c in state.clusters.values() if c.state is not ClusterState.STOPPED]
        return Loaded(
            state.store_id,
            state.generation,
            previous,
            pools=sorted(state.pools.values(), key=lambda p: (p.created_at, p.digest)),
            clusters=[stored(c) for c in sorted(live, key=lambda c: (c.changed_at, c.id))],
            leases=[lease for lease in state.leases.values() if lease.state is not LeaseState.ENDED],
            waiters=sorted(state.waiters.values(), key=lambda w: (w.rank, w.asked_at, w.id)),
            ended=ended[-ENDED_LOADED:],
            starts=[(pool, ready_at - created_at) for created_at, _, pool, ready_at in started[-STARTS_LOADED:]],
            learned=dict(state.learned),
        )

    async def commit(self, changes: Sequence[Change]) -> None:
        """Persist the durable ones of `changes` (see `pool.store.base.Store.commit`)."""
        batch = reduce(changes)
        self._fence()
        draft = self._books.draft(changes) if self._books is not None else None
        if not batch and not (draft is not None and draft.booked):
            return
        fault = self.fail_next(changes) if self.fail_next is not None else None
        if fault is not None and not fault.written:
            raise fault.error
        self._write(batch, draft)
        if fault is not None:
            raise fault.error
        if self._books is not None and draft is not None:
            self._books.take(draft)

    def _write(self, batch: Batch, draft: Draft | None) -> None:
        state = self.state
        asked: dict[tuple[str, str], str] = {}
        for lease in batch.leases.values():
            if lease.id not in state.leases:
                request = (lease.caller, lease.request_id)
                if request in state.requests or asked.setdefault(request, lease.id) != lease.id:
                    raise StoreConflict(USED_BEFORE)
        for waiter in batch.waiters.values():
            if waiter is not None:
                _refuse_used(waiter, state.requests.get((waiter.caller, waiter.request_id)))
        state.requests.update(asked)
        state.clusters.update(batch.clusters)
        state.leases.update(batch.leases)
        _replace(state.pools, batch.pools)
        _replace(state.waiters, batch.waiters)
        if draft is not None:
            added(state.ledger, draft.entries)
            _replace(state.booked, draft.booked)

    def _fence(self) -> None:
        if self._generation is None:
            raise StoreFailed("The store is not open.", remedy="Open it first.")
        if self._generation != self.state.generation:
            raise NotTheWriter("The store was opened after this daemon by another one.")

    async def find_request(self, caller: str, request_id: str) -> Lease | None:
        """Return the lease that this caller's request id once made, ended or not."""
        lease_id = self.state.requests.get((caller, request_id))
        return None if lease_id is None else self.state.leases[lease_id]

    async def find_lease(self, lease_id: str) -> Lease | None:
        """Return a lease, ended or not, as long as history keeps it."""
        return self.state.leases.get(lease_id)

    async def find_cluster(self, cluster_id: str) -> Cluster | None:
        """Return a cluster, stopped or not, as long as history keeps it."""
        return self.state.clusters.get(cluster_id)

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
        """Yield leases or clusters of a span of time (see `pool.store.base.Store.history`)."""
        rows: list[tuple[float, str, Lease | Cluster]]
        if kind is Lease:
            rows = [(lease.asked_at, lease.id, lease) for lease in self.state.leases.values()]
        else:
            rows = [(cluster.created_at, cluster.id, cluster) for cluster in self.state.clusters.values()]
        rows = sorted((row for row in rows if since <= row[0] < until), key=lambda row: row[:2], reverse=newest_first)
        if after is not None:
            rows = [row for row in rows if (row[:2] < after if newest_first else row[:2] > after)]
        for _, _, record in rows[:limit]:
            yield record  # type: ignore[misc]

    async def ledger(self, since_day: int, until_day: int, now: float, *, by_day: bool = True) -> Entries:
        """Return what was entered in the ledger for some days (see `pool.store.base.Store.ledger`)."""
        found = added(entries(), self.state.ledger, since_day, until_day, by_day=by_day)
        living = self._books.unbooked(now) if self._books is not None else {}
        return added(found, living, since_day, until_day, by_day=by_day)

    async def keep_learned(self, rows: Mapping[str, str | None]) -> None:
        """Keep what was learned (see `pool.store.base.Store.keep_learned`)."""
        self._fence()
        _replace(self.state.learned, rows)

    async def prune(self, before: float) -> int:
        """Delete leases that ended and clusters that stopped before that time; return how many."""
        self._fence()
        state = self.state
        leases = [x for x in state.leases.values() if x.state is LeaseState.ENDED and _ended_at(x) < before]
        stopped = [c for c in state.clusters.values() if c.state is ClusterState.STOPPED and c.changed_at < before]
        for lease in leases:
            del state.leases[lease.id], state.requests[lease.caller, lease.request_id]
        for cluster in stopped:
            del state.clusters[cluster.id]
        for account in [account for account in state.ledger if account.day < before // DAY_S]:
            del state.ledger[account]
        return len(leases) + len(stopped)

    async def close(self) -> None:
        """Let go of the store; what it holds stays in its state."""
        self._generation = None


def _refuse_used(waiter: Waiter, lease_id: str | None) -> None:
    if lease_id is not None and lease_id != waiter.id:
        raise StoreConflict(USED_BEFORE)


_T = TypeVar("_T")


def _replace(rows: dict[str, _T], changed: Mapping[str, _T | None]) -> None:
    for id_, record in changed.items():
        if record is None:
            rows.pop(id_, None)
        else:
            rows[id_] = record


def _ended_at(lease: Lease) -> float:
    return math.inf if lease.ended_at is None else lease.ended_at


def _raise_after_restore(state: MemoryState) -> None:
    state.generation += RESTORE_STEP
    state.clusters = {id_: c._replace(epoch=c.epoch + RESTORE_STEP) for id_, c in state.clusters.items()}
    state.pools = {id_: p._replace(next_seq=p.next_seq + RESTORE_STEP) for id_, p in state.pools.items()}
    state.leases = {id_: x._replace(renewed_in=x.renewed_in + RESTORE_STEP) for id_, x in state.leases.items()}

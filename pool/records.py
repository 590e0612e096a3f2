"""What the store keeps and no decision waits for: leases and clusters that are gone, the ledger, what was learned."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from pool.clock import Clock
from pool.core import snapshot
from pool.core.errors import PoolError
from pool.core.model import Cluster, Lease
from pool.core.state import State
from pool.store.base import Store
from pool.store.books import Entries

log = structlog.get_logger("warmpool.records")

LEARNED_AT_ONCE = 500
"""So many classes of what was learned are kept at once: some milliseconds."""


class Records:
    """Reads, keeps and deletes it.

    Args:
        store: where they are.
        state: returns what the pool knows now.
        clock: tells the time.
    """

    def __init__(self, store: Store, state: Callable[[], State], clock: Clock) -> None:
        self._store = store
        self._state = state
        self._clock = clock

    async def find_lease(self, lease_id: str) -> Lease | None:
        """Return a lease, live or ended, as long as history keeps it."""
        state = self._state()
        live = state.leases.get(lease_id) or state.ended.get(lease_id)
        return live or await self._store.find_lease(lease_id)

    async def find_cluster(self, cluster_id: str) -> Cluster | None:
        """Return a cluster, live or stopped, as long as history keeps it."""
        return self._state().clusters.get(cluster_id) or await self._store.find_cluster(cluster_id)

    async def history(self, since: float, until: float, after: tuple[float, str] | None, limit: int) -> list[Lease]:
        """Return leases, live and ended, asked for from `since` to before `until`, first asked first, `limit` at most.

        Args:
            since: seconds since the epoch.
            until: likewise.
            after: time and id of the last one that was seen; None begins at the first.
            limit: the most that are read.
        """
        found = self._store.history(Lease, since=since, until=until, after=after, limit=limit)
        return [lease async for lease in found]

    async def ledger(self, since_day: int, until_day: int, *, by_day: bool) -> Entries:
        """Return what was entered in the ledger for some days, with what lives up to now.

        Args:
            since_day: first day, counted from the epoch (UTC).
            until_day: the day after the last.
            by_day: False adds the days up.
        """
        return await self._store.ledger(since_day, until_day, self._clock.now(), by_day=by_day)

    async def keep_learned(self) -> int:
        """Have the store keep some of what was learned since it last did; return how much.

        A failure is told, and what it concerns is tried again: the daemon goes on without.
        """
        state = self._state()
        rows = snapshot.changed(state, self._clock.now(), LEARNED_AT_ONCE)
        if not rows:
            return 0
        try:
            await self._store.keep_learned(rows)
        except PoolError as error:
            snapshot.again(state, rows)
            log.warning("what was learned could not be kept, trying again", error=error.detail)
            return 0
        return len(rows)

    async def prune(self, before: float) -> int:
        """Delete history that ended before that time; return how many rows went.

        With it goes what was learned so long ago that it no longer counts.
        """
        self._state().gaps.forget(self._clock.now())
        return await self._store.prune(before)

"""What the daemon needs of durable state. `pool.store.sql` is the real one; `pool.store.memory` the simulated."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pool.core.decisions import Change
from pool.core.model import Cluster, ClusterState, Lease, Pool, Waiter
from pool.core.recover import restore
from pool.core.settings import Rules
from pool.core.state import State
from pool.store.books import Entries

_H = TypeVar("_H", Lease, Cluster)

RESTORE_STEP = 1_000_000
"""By how much epochs, cluster numbers and the generation rise when a backup is restored."""

USED_BEFORE = "The request id was used before by another lease."

ENDED_LOADED = 2_000
STARTS_LOADED = 500
"""How much of the recent past `Loaded` holds."""


def stored_state(c: Cluster) -> ClusterState:
    """Return the state to keep: what is clean for its group alone is to be reset in full by a restart."""
    return ClusterState.RESETTING if c.group_only and c.state is ClusterState.IDLE else c.state


def stored(c: Cluster) -> Cluster:
    """Return a cluster as it is found after a restart."""
    c = c._replace(state=stored_state(c))
    return c._replace(
        grown_at=0.0, phase="", group_only=False, degraded="", degraded_at=0.0, resident=(), wear=None, slow=False
    )


@dataclass(slots=True)
class Loaded:
    """All that lives, and the recent past.

    Attributes:
        previous_opened_at: when the generation before this one opened the store, 0 if this is the first.
        clusters: by `changed_at`, longest unchanged first.
        waiters: by `rank`.
        ended: recently ended leases, oldest first (for request ids, `explain`, and estimates of lease times).
        starts: (pool digest, seconds from created to ready) of recent starts, oldest first.
        learned: what `Store.keep_learned` was given.
    """

    store_id: str
    generation: int
    previous_opened_at: float = 0.0
    pools: list[Pool] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    ended: list[Lease] = field(default_factory=list)
    starts: list[tuple[str, float]] = field(default_factory=list)
    learned: dict[str, str] = field(default_factory=dict)

    def state(self, rules: Rules, now: float) -> State:
        """Return what a daemon knows that opened the store at `now`. See `pool.core.recover.restore`."""
        return restore(
            rules,
            now,
            generation=self.generation,
            previous_opened_at=self.previous_opened_at,
            pools=self.pools,
            clusters=self.clusters,
            leases=self.leases,
            waiters=self.waiters,
            ended=self.ended,
            starts=self.starts,
            learned=self.learned,
        )


class Store(Protocol):
    """Durable state with one writer at a time."""

    async def stand_by(self, told: Callable[[str], None]) -> None:
        """Return once no other daemon is the writer; where there can be no second one, at once.

        Args:
            told: called with who the writer is, whenever it is another than before.

        Raises:
            StoreFailed: this daemon could not become the writer, whenever its turn came.
        """

    async def keep(self) -> None:
        """Return never, and end with an error once another daemon may become the writer.

        Raises:
            NotTheWriter: what made this daemon the writer is gone.
        """

    async def open(self, now: float) -> Loaded:
        """Become the writer (a new generation, opened at `now`) and return what is there.

        Raises:
            StoreFailed: if it cannot be read, with what to do.
        """

    async def commit(self, changes: Sequence[Change]) -> None:
        """Persist the durable ones of `changes`, in order, in one transaction that also checks the generation.

        Without any there is still the check: who is no longer the writer must not act either. What clusters did and
        leases were granted is entered in the ledger by the same transaction, also of changes that are not durable.

        Raises:
            NotTheWriter: another daemon opened the store; nothing was written.
            StoreConflict: a constraint refused it (a lease or a waiter of a request id that another lease used);
                nothing was written, and other changes may succeed.
            StoreFailed: the store itself failed.
        """

    async def find_request(self, caller: str, request_id: str) -> Lease | None:
        """Return the lease that this caller's request id once made, ended or not."""

    async def find_lease(self, lease_id: str) -> Lease | None:
        """Return a lease, ended or not, as long as history keeps it."""

    async def find_cluster(self, cluster_id: str) -> Cluster | None:
        """Return a cluster, stopped or not, as long as history keeps it."""

    def history(
        self,
        kind: type[_H],
        *,
        since: float = 0.0,
        until: float = math.inf,
        after: tuple[float, str] | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[_H]:
        """Yield leases (by `asked_at`) or clusters (by `created_at`), live and ended, with since <= time < until.

        With `after`, the time and the id of the last one that was seen, those that follow it.
        """

    async def ledger(self, since_day: int, until_day: int, now: float, *, by_day: bool = True) -> Entries:
        """Return what was entered in the ledger, with the seconds of what lives up to `now`.

        Args:
            since_day: first day, counted from the epoch (UTC).
            until_day: the day after the last.
            now: seconds since the epoch.
            by_day: False adds the days up, as of day 0.
        """

    async def keep_learned(self, rows: Mapping[str, str | None]) -> None:
        """Keep what was learned, by name, in place of what was kept before; None deletes.

        Raises:
            NotTheWriter: another daemon opened the store; nothing was written.
            StoreFailed: the store itself failed.
        """

    async def prune(self, before: float) -> int:
        """Delete history that ended before that time, and the ledger's days before it; return how many records went."""

    async def close(self) -> None:
        """Let go of the store."""

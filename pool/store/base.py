"""What the daemon needs of durable state. `pool.store.sql` is the real one; `pool.store.memory` the simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pool.core.events import Change
from pool.core.model import Cluster, Lease, Pool, Waiter


@dataclass(slots=True)
class Loaded:
    """All that lives, and the recent past.

    Attributes:
        ended: recently ended leases, oldest first (for request ids, `explain`, and estimates of lease times).
        starts: (pool digest, seconds from created to ready) of recent starts, oldest first.
    """

    store_id: str
    generation: int
    pools: list[Pool] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    ended: list[Lease] = field(default_factory=list)
    starts: list[tuple[str, float]] = field(default_factory=list)


class Store(Protocol):
    """Durable state with one writer at a time."""

    async def open(self) -> Loaded:
        """Become the writer (a new generation) and return what is there.

        Raises:
            StoreFailed: if it cannot be read, with what to do.
        """

    async def commit(self, changes: Sequence[Change]) -> None:
        """Persist the durable ones of `changes`, in order, in one transaction that also checks the generation.

        Raises:
            NotTheWriter: another daemon opened the store; nothing was written.
            StoreConflict: a constraint refused it; nothing was written, and other changes may succeed.
            StoreFailed: the store itself failed.
        """

    async def find_request(self, caller: str, request_id: str) -> Lease | None:
        """Return the lease that this caller's request id once made, ended or not."""

    async def find_lease(self, lease_id: str) -> Lease | None:
        """Return a lease, ended or not, as long as history keeps it."""

    async def find_cluster(self, cluster_id: str) -> Cluster | None:
        """Return a cluster, stopped or not, as long as history keeps it."""

    async def prune(self, before: float) -> int:
        """Delete history that ended before that time; return how many rows went."""

    async def close(self) -> None:
        """Let go of the store."""

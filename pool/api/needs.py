"""What the API needs of a daemon. `pool.daemon.Daemon` is the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pool.core.decisions import Decision, Granted, Queued, Rejected, Reply
from pool.core.events import Acquire, Event
from pool.core.key import ClusterKey
from pool.core.model import Cluster, Lease, Waiter
from pool.core.state import State
from pool.store.books import Entries
from pool.tokens import Tokens


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Return seconds since the epoch."""


class Records(Protocol):
    """What the store keeps besides. `pool.records.Records` is the real one."""

    async def find_lease(self, lease_id: str) -> Lease | None:
        """Return a lease from memory or from history."""

    async def find_cluster(self, cluster_id: str) -> Cluster | None:
        """Return a cluster from memory or from history."""

    async def history(self, since: float, until: float, after: tuple[float, str] | None, limit: int) -> list[Lease]:
        """Return leases asked for from `since` to before `until`, those after the one named, `limit` at most."""

    async def ledger(self, since_day: int, until_day: int, *, by_day: bool) -> Entries:
        """Return what was entered in the ledger for some days, all as of day 0 unless `by_day`."""


class Daemon(Protocol):
    """The single writer, as the API sees it."""

    @property
    def state(self) -> State:
        """For reading."""

    @property
    def records(self) -> Records:
        """What is gone, and the ledger."""

    @property
    def tokens(self) -> Tokens:
        """Of leases and clusters."""

    @property
    def clock(self) -> Clock:
        """The daemon's."""

    @property
    def ready(self) -> bool:
        """Whether it decides events."""

    @property
    def standing_by(self) -> str:
        """Who the writer is, while this daemon waits for its turn; else empty."""

    @property
    def failed(self) -> str:
        """Why it stopped, empty if it did not."""

    def observe(self, observer: Callable[[Decision], None]) -> None:
        """Have `observer` called with every decision after its commit."""

    async def submit(self, event: Event) -> Reply:
        """Decide and commit an event."""

    async def acquire(self, event: Acquire, wait_s: float) -> Granted | Queued | Rejected:
        """Decide and commit an acquire, and wait for the grant up to `wait_s`."""

    def check(self, key: ClusterKey) -> None:
        """Raise a `PoolError` if a cluster of `key` can never be made."""

    def cluster_token(self, cluster_id: str) -> str:
        """Return the token of a cluster, for its holder."""

    def explain_waiter(self, waiter: Waiter) -> Queued:
        """Return where a waiter stands now."""

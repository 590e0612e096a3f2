"""What a way to run clusters must do for the daemon. Small on purpose: six verbs, a check and a trail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pool.core.decisions import Span
from pool.core.errors import PoolError, StartFailed
from pool.core.events import Degraded, Listing, Lost, Readmit, Shrunk, Started
from pool.core.key import ClusterKey
from pool.core.model import Cluster, Wear

News = Lost | Degraded | Readmit
"""What a backend tells by itself of a cluster that was ready."""

Report = Callable[[str], None]
"""Called with the phase a start has come to: ``starting head``, ``waiting for the dashboard``, ``workers 1 of 2``."""


@dataclass(frozen=True, slots=True)
class Clean:
    """The result of a reset.

    Attributes:
        clean: only if it was proven.
        left: what was found otherwise.
        removed: what had to be removed from inside the cluster, a phrase each.
        full: proven for everybody of the tenant; else for the group that used it last.
        wear: how much the cluster has grown; None where that was not measured. It says nothing about clean or not.
        evidence: all that was found otherwise, a phrase each; `left` sums it up.
    """

    clean: bool
    left: str = ""
    removed: tuple[str, ...] = ()
    full: bool = True
    wear: Wear | None = field(default=None, compare=False)
    evidence: tuple[str, ...] = field(default=(), compare=False)


class Backend(Protocol):
    """One way to run clusters.

    Every cluster that a backend makes carries the id of the store, and a backend lists, stops and adopts only
    clusters that carry it. All verbs may be called again after a crash: they look at the world first.
    """

    cluster_type: str

    async def open(
        self,
        store_id: str,
        token_for: Callable[[str], str],
        tell: Callable[[News], None],
        known: Sequence[tuple[Cluster, ClusterKey]] = (),
    ) -> None:
        """Begin to work for the store `store_id`.

        Args:
            store_id: what clusters are marked with.
            token_for: gives the secret token of a cluster by its id; the same one at every call, also after a
                restart of the daemon.
            tell: called (in the event loop) when a cluster that was ready broke, or is not what its key says.
            known: the clusters that the store knows, each with its key.
        """

    def token(self, cluster_id: str) -> str:
        """Return the token of a cluster, for its holder; empty if it is not known."""

    async def close(self) -> None:
        """Stop watching. Clusters go on."""

    def check(self, key: ClusterKey) -> None:
        """Raise `ShapeTooLarge` or `InvalidKey` if a cluster of `key` can never be made here."""

    async def start(self, cluster: Cluster, key: ClusterKey, report: Report, resident_share: float = 0.5) -> Started:
        """Start `cluster` and return when it is ready; adopt it if it runs already.

        Ready means: a job can be submitted, a driver can connect, all nodes asked for are alive, and a call without
        the token is refused.

        Args:
            cluster: what to start.
            key: of its pool.
            report: is told how far the start is.
            resident_share: of each node's object store that resident data may take. It goes with the environment of
                the cluster's processes (`pool.inside.owner.SHARE_VARIABLE`), where they are the backend's to start.

        Raises:
            pool.core.errors.StartFailed: with the reason and the tail of the log. Whatever was begun may be left
                behind; the daemon calls `stop` next.
        """

    async def stop(self, cluster_id: str) -> None:
        """Stop the cluster and everything of it; return once it is seen gone. Unknown ids are gone already."""

    async def reset(self, cluster: Cluster, key: ClusterKey, *, full: bool = True, span: Span | None = None) -> Clean:
        """Stop what a holder left (jobs, drivers, actors, processes) and prove the cluster free of it.

        Args:
            cluster: whose lease has ended.
            key: of its pool.
            full: not only as far as the next holder of the same group needs it: no jobs, drivers, actors and placement
                groups. A backend that is as fast with all of it may always do all of it.
            span: the time of that lease, where only what began in it may be touched.
        """

    async def shrink(self, cluster: Cluster, key: ClusterKey) -> Shrunk:
        """Let the workers of an idle cluster go, but for those that hold objects, and return once they are seen gone.

        The head goes on as it is. Only asked of a key that can let workers go (`ClusterKey.warm_head_price`), where the
        backend can (its configuration refuses `workers_idle_ttl` otherwise).

        Raises:
            pool.core.errors.PoolError: if it cannot be told, or they do not go in time; the daemon calls it again.
        """

    async def grow(self, cluster: Cluster, key: ClusterKey, report: Report) -> Started:
        """Give a cluster its workers back; return when it is ready as after a start, with the same head.

        Raises:
            pool.core.errors.StartFailed: as `start` does. The daemon calls `stop` or `shrink` next.
        """

    async def list(self) -> Listing:
        """Return every cluster of this store, also half-started and half-stopped ones.

        The daemon sets `started_at` and `busy`; a backend sets `complete` and `seen`.
        """


class KeepsWorkers:
    """What a backend extends whose clusters cannot let their workers go: it is never asked to."""

    async def shrink(self, cluster: Cluster, key: ClusterKey) -> Shrunk:
        """Refuse.

        Raises:
            pool.core.errors.PoolError: always.
        """
        raise PoolError(f"{cluster.id} cannot let its workers go here.", remedy="Take workers_idle_ttl out.")

    async def grow(self, cluster: Cluster, key: ClusterKey, report: Report) -> Started:
        """Refuse.

        Raises:
            pool.core.errors.StartFailed: always.
        """
        raise StartFailed(f"{cluster.id} cannot get workers back here.", remedy="Take workers_idle_ttl out.")


BackendFactory = Callable[[], Awaitable[Backend]]

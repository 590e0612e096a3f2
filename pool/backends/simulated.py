"""Clusters that exist in memory only: for speed, for faults, and for trying policies in simulated time.

It keeps the backend contract in every respect that the daemon can see. The world (`SimulatedWorld`) is apart from the
backend, as real clusters are apart from the daemon: a restarted daemon opens a new backend on the same world.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pool.backends.base import Clean, News, Report
from pool.core import errors
from pool.core.decisions import Span
from pool.core.events import Listing, Lost, Seen, Shrunk, Started
from pool.core.key import ClusterKey
from pool.core.model import Cluster
from pool.core.reasons import Reason


@dataclass(slots=True)
class SimulatedCluster:
    """One cluster of the world.

    Attributes:
        workers: how many nodes it has of each worker group.
        resizes: the latest of the daemon's growths and shrinkings that it has seen.
        dirty: what its last holder left and a reset cannot remove.
    """

    id: str
    store_id: str
    boot: int
    workers: Mapping[str, int] = field(default_factory=dict)
    resizes: int = 0
    ready: bool = False
    broken: bool = False
    dirty: str = ""

    @property
    def boot_id(self) -> str:
        """Identity of the running head, empty until it runs."""
        return f"boot-{self.id}-{self.boot}" if self.ready else ""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How long things take, in seconds (uniform between the two), and how often they fail (0 to 1)."""

    start_s: tuple[float, float] = (1.0, 3.0)
    grow_s: tuple[float, float] = (0.5, 1.5)
    shrink_s: tuple[float, float] = (0.1, 0.5)
    stop_s: tuple[float, float] = (0.1, 0.5)
    reset_s: tuple[float, float] = (0.05, 0.2)
    list_s: tuple[float, float] = (0.0, 0.02)
    start_fails: float = 0.0
    grow_fails: float = 0.0
    shrink_fails: float = 0.0
    worker_holds: float = 0.0
    stop_fails: float = 0.0
    reset_dirty: float = 0.0
    list_fails: float = 0.0


INSTANT = Behaviour(start_s=(0, 0), grow_s=(0, 0), shrink_s=(0, 0), stop_s=(0, 0), reset_s=(0, 0), list_s=(0, 0))


@dataclass(slots=True)
class SimulatedWorld:
    """What exists, whoever looks at it."""

    random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 simulation, not a secret
    behaviour: Behaviour = field(default_factory=Behaviour)
    clusters: dict[str, SimulatedCluster] = field(default_factory=dict)
    unreachable: bool = False
    boots: int = 0
    most: int = 0


class SimulatedBackend:
    """A backend over a `SimulatedWorld`."""

    def __init__(self, world: SimulatedWorld | None = None, *, cluster_type: str = "ray") -> None:
        self.cluster_type = cluster_type
        self.world = world or SimulatedWorld()
        self._store_id = ""
        self._tell: Callable[[News], None] | None = None
        self._token_for: Callable[[str], str] | None = None

    async def open(
        self,
        store_id: str,
        token_for: Callable[[str], str],
        tell: Callable[[News], None],
        known: Sequence[tuple[Cluster, ClusterKey]] = (),
    ) -> None:
        """Work for a store from now on."""
        self._store_id = store_id
        self._tell = tell
        self._token_for = token_for

    def token(self, cluster_id: str) -> str:
        """Return the token that the store's daemon made for it."""
        return self._token_for(cluster_id) if self._token_for is not None else ""

    async def close(self) -> None:
        """Stop watching."""
        self._tell = None

    def check(self, key: ClusterKey) -> None:
        """Accept every key."""

    async def start(self, cluster: Cluster, key: ClusterKey, report: Report, resident_share: float = 0.5) -> Started:
        """Start a cluster, or wait for one that was begun before.

        Raises:
            StartFailed: as often as the world's behaviour says.
        """
        world = self.world
        self._reach()
        found = world.clusters.get(cluster.id)
        if found is None:
            world.boots += 1
            found = SimulatedCluster(cluster.id, self._store_id, world.boots, _workers(key))
            world.clusters[cluster.id] = found
            world.most = max(world.most, len(world.clusters))
        if not found.ready:
            report("starting head")
            await self._spend(world.behaviour.start_s)
            self._reach()
            if world.random.random() < world.behaviour.start_fails:
                raise errors.StartFailed("The simulated head exited with code 1.")
            if world.clusters.get(cluster.id) is not found:
                raise errors.StartFailed("The simulated cluster vanished while it started.")
            found.ready = True
        return _started(found)

    async def shrink(self, cluster: Cluster, key: ClusterKey) -> Shrunk:
        """Let workers go, each that does not hold something.

        Raises:
            PoolError: as often as the world's behaviour says; the workers may be gone then.
        """
        behaviour, chance = self.world.behaviour, self.world.random.random
        self._reach()
        await self._spend(behaviour.shrink_s)
        self._reach()
        found = self.world.clusters.get(cluster.id)
        if found is None or found.resizes > cluster.resizes:
            raise errors.PoolError("the simulated cluster is not there, or was resized since")
        if found.resizes < cluster.resizes:
            stay = {g: sum(chance() < behaviour.worker_holds for _ in range(n)) for g, n in found.workers.items()}
            self.world.clusters[cluster.id] = found = replace(found, workers=stay, resizes=cluster.resizes)
        if chance() < behaviour.shrink_fails:
            raise errors.PoolError("the simulated workers do not go", reason=Reason.INTERNAL)
        left = tuple((group, count) for group, count in found.workers.items() if count)
        return Shrunk(cluster.id, left, "simulated workers hold objects" if left else "")

    async def grow(self, cluster: Cluster, key: ClusterKey, report: Report) -> Started:
        """Give a cluster its workers back.

        Raises:
            StartFailed: as often as the world's behaviour says.
        """
        world = self.world
        self._reach()
        found = world.clusters.get(cluster.id)
        if found is None or found.resizes > cluster.resizes:
            raise errors.StartFailed("The simulated cluster vanished before it grew, or was resized since.")
        report("growing")
        if found.resizes < cluster.resizes:
            world.clusters[cluster.id] = found = replace(found, workers=_workers(key), resizes=cluster.resizes)
        await self._spend(world.behaviour.grow_s)
        self._reach()
        if world.random.random() < world.behaviour.grow_fails:
            why = world.random.choice([Reason.NO_CAPACITY, Reason.START_FAILED])
            raise errors.StartFailed("A simulated worker found no node.", reason=why)
        now = world.clusters.get(cluster.id)
        if now is None or now.resizes != cluster.resizes:
            raise errors.StartFailed("The simulated cluster vanished while it grew.")
        return _started(now)

    async def stop(self, cluster_id: str) -> None:
        """Stop a cluster; it is gone on return."""
        self._reach()
        await self._spend(self.world.behaviour.stop_s)
        self._reach()
        if self.world.random.random() < self.world.behaviour.stop_fails:
            raise errors.PoolError("the simulated stop failed", reason=Reason.INTERNAL)
        found = self.world.clusters.get(cluster_id)
        if found is not None and found.store_id == self._store_id:
            del self.world.clusters[cluster_id]

    async def reset(self, cluster: Cluster, key: ClusterKey, *, full: bool = True, span: Span | None = None) -> Clean:
        """Report clean, or what was left."""
        self._reach()
        await self._spend(self.world.behaviour.reset_s)
        found = self.world.clusters.get(cluster.id)
        if found is None or found.broken:
            return Clean(False, "The simulated cluster does not answer.")
        if found.dirty or self.world.random.random() < self.world.behaviour.reset_dirty:
            return Clean(False, found.dirty or "A simulated actor is left.")
        return Clean(True, full=full)

    async def list(self) -> Listing:
        """Return this store's clusters as they were at the beginning of the call."""
        self._reach()
        mine = [c for c in self.world.clusters.values() if c.store_id == self._store_id]
        seen = tuple(Seen(c.id, c.boot_id) for c in mine)
        await self._spend(self.world.behaviour.list_s)
        if self.world.random.random() < self.world.behaviour.list_fails:
            return Listing(0.0, False, seen[: len(seen) // 2])
        return Listing(0.0, True, seen)

    def lose(self, cluster_id: str, *, told: bool = True) -> None:
        """Break a cluster; `told` says whether the watch notices, else only the next listing does."""
        found = self.world.clusters.pop(cluster_id, None)
        if found is not None and told and found.ready and self._tell is not None:
            self._tell(Lost(cluster_id, found.boot_id, Reason.PROCESS_GONE, "The simulated head died."))

    def replace(self, cluster_id: str) -> None:
        """Replace a head silently by an empty one, as KubeRay does."""
        found = self.world.clusters.get(cluster_id)
        if found is not None and found.ready:
            self.world.boots += 1
            found.boot = self.world.boots

    def _reach(self) -> None:
        if self.world.unreachable:
            raise ConnectionError("the simulated backend is unreachable")

    async def _spend(self, between_s: tuple[float, float]) -> None:
        if between_s[1] > 0:
            await asyncio.sleep(self.world.random.uniform(*between_s))


def _workers(key: ClusterKey) -> dict[str, int]:
    return {group.name: group.replicas for group in key.shape.workers}


def _started(found: SimulatedCluster) -> Started:
    host = f"{found.id}.invalid"
    return Started(found.id, found.boot_id, f"{host}:6379", dashboard_url=f"http://{host}:8265")

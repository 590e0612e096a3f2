"""Where a simulated run happens: rules, the clusters that really exist, the disk, and what its holders believe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from policies.eviction import GreedyDual
from policies.grant_order import LatestToRetire, LeastRecentlyUsed, Locality, MostRecentlyUsed, SoonestToRetire
from policies.queue_order import EarliestDeadline, FairShare, PriorityWithAging
from policies.reclaim import FixedTTL, NeverKeep
from policies.sizing import FloorAndBuffer
from pool.backends.simulated import SimulatedCluster
from pool.core.capacity import as_large, over
from pool.core.decisions import Change, Granted
from pool.core.key import ClusterKey, Footprint, footprint_of, key_from
from pool.core.model import ClusterState
from pool.core.settings import Ceiling, PoolSettings, Rules
from pool.store.base import Loaded
from pool.store.memory import MemoryState, MemoryStore
from tests.simulation.loop import SimLoop

EPOCH = 1_750_000_000.0


class SimClock:
    """The time of the loop, as seconds since the epoch."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return EPOCH + self._loop.time()


def make_keys() -> list[ClusterKey]:
    """Two tenants; a small and a large shape of one image; others with workers; one whose holders share."""

    def key(image: str, tenant: str, cpu: int, workers: int = 0) -> ClusterKey:
        groups = [{"name": "w", "cpu": 1, "replicas": workers}] if workers else []
        return key_from({"image": image, "tenant": tenant, "shape": {"head": {"cpu": cpu}, "workers": groups}})

    return [
        key("image:1", "a/dev", 1),
        key("image:1", "a/dev", 2, workers=1),
        key("image:1", "b/dev", 1, workers=1),
        key("image:2", "a/dev", 1, workers=1),
        key("image:3", "a/dev", 1, workers=2),
        key("shared:1", "b/dev", 1, workers=1),
    ]


def make_ttl(rng: random.Random) -> FixedTTL:
    return FixedTTL(rng.choice([5.0, 20.0, 40.0]), 0.1, rng.choice([0.0, 0.3, 2.0]))


def make_rules(rng: random.Random, keys: Sequence[ClusterKey]) -> Rules:
    """Draw settings and ceilings: tight ones, so that they matter."""
    chosen: dict[str, PoolSettings] = {}
    queue_order = rng.choice([PriorityWithAging(), FairShare(), EarliestDeadline()])
    for key in keys:
        chosen[key.digest] = PoolSettings(
            key.image,
            rng.choice([MostRecentlyUsed(), LeastRecentlyUsed(), SoonestToRetire(), LatestToRetire(), Locality()]),
            queue_order,
            FloorAndBuffer(buffer=rng.choice([0, 0, 0, 1])),
            NeverKeep() if rng.random() < 0.1 else make_ttl(rng),
            ceiling=Ceiling(clusters=rng.choice([None, 1, 2, 3])),
            lease_ttl_s=rng.choice([6.0, 12.0]),
            max_lease_s=rng.choice([0.0, 0.0, 0.0, 25.0]),
            pickup_s=4.0,
            hold_s=rng.choice([0.0, 0.0, 5.0]),
            hold_yield_s=3.0,
            locality_wait_s=rng.choice([0.0, 2.0]),
            max_uses=rng.choice([0, 0, 1, 3]),
            max_lifetime_s=rng.choice([0.0, 0.0, 40.0]),
            start_timeout_s=10.0,
            reset_timeout_s=3.0,
            backoff_s=0.5,
            backoff_max_s=4.0,
            breaker_failures=rng.choice([2, 4]),
            breaker_open_s=8.0,
            quarantine_s=rng.choice([0.0, 0.0, 4.0]),
            max_leases_per_cluster=2 if key.image.startswith("shared") else 1,
            serve_larger=rng.random() < 0.5,
        )
    tenant = Ceiling(clusters=rng.choice([None, 1, 2, 4]), milli_cpu=rng.choice([None, 4000]))
    daemon = Ceiling(clusters=rng.choice([None, 2, 4, 6]), milli_cpu=rng.choice([None, 5000]))
    return Rules(
        settings_for=lambda key: chosen[key.digest],
        daemon=daemon,
        tenant_ceiling=lambda _: tenant,
        max_starting=rng.choice([1, 2, 4]),
        eviction=rng.choice([None, GreedyDual()]),
    )


class RealClusters(dict[str, SimulatedCluster]):
    """What exists in the world, measured against the ceilings whenever something comes to be, and watched as it goes.

    Problems are told and not raised: whoever starts or stops clusters takes an error for one of the backend's.
    """

    def __init__(
        self, rules: Rules, keys: Sequence[ClusterKey], disk: MemoryState, problem: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._rules = rules
        self._disk = disk
        self._problem = problem
        self._keys = {key.digest: key for key in keys}

    def key_of(self, cluster_id: str) -> ClusterKey:
        return self._keys[cluster_id.split("-")[1]]

    def __setitem__(self, cluster_id: str, cluster: SimulatedCluster) -> None:
        before = self.get(cluster_id)
        if before is None:
            self._measure(cluster_id, cluster)
        elif before.boot != cluster.boot:
            self._problem(f"{cluster_id} was started twice")
        else:
            self._resized(cluster_id, before, cluster)
        super().__setitem__(cluster_id, cluster)

    def _measure(self, cluster_id: str, cluster: SimulatedCluster) -> None:
        """See that what comes to be is within the ceilings, together with all that is there."""
        key, rules = self.key_of(cluster_id), self._rules
        others = [(self.key_of(id_), other) for id_, other in self.items() if id_ != cluster_id]
        for whose, ceiling, used in (
            (f"pool {key.digest}", rules.settings_for(key).ceiling, [o for o in others if o[0].digest == key.digest]),
            (key.tenant, rules.tenant_ceiling(key.tenant), [o for o in others if o[0].tenant == key.tenant]),
            ("the daemon", rules.daemon, others),
        ):
            usage = sum((footprint_of(k.shape, other.workers) for k, other in used), Footprint())
            if text := over(ceiling, usage, footprint_of(key.shape, cluster.workers)):
                self._problem(f"the world is over the ceiling of {whose}: {text}")

    def _resized(self, cluster_id: str, before: SimulatedCluster, cluster: SimulatedCluster) -> None:
        """See that the store knows, and counts what comes to be: also once it was decided to stop meanwhile."""
        known = self._disk.clusters[cluster_id]
        grows = sum(cluster.workers.values()) > sum(before.workers.values())
        begun = known.state in (ClusterState.GROWING if grows else ClusterState.SHRINKING, ClusterState.STOPPING)
        if not begun or not as_large(known.footprint, footprint_of(self.key_of(cluster_id).shape, cluster.workers)):
            self._problem(f"the workers of {known} became {cluster.workers}, and the store knows nothing of it")
        self._measure(cluster_id, cluster)

    def __delitem__(self, cluster_id: str) -> None:
        known = self._disk.clusters.get(cluster_id)
        if known is not None and known.state not in (ClusterState.STOPPING, ClusterState.STOPPED):
            self._problem(f"{known} was stopped, and the store knows nothing of it")
        super().__delitem__(cluster_id)


class SimStore(MemoryStore):
    """A handle on the disk that takes its time, so that a daemon can die before or after a commit took effect.

    Attributes:
        gate: commits wait for it: a disk that hangs.
    """

    def __init__(self, disk: MemoryState, rng: random.Random, opened: Callable[[Loaded], None]) -> None:
        super().__init__(disk)
        self.gate = asyncio.Event()
        self.gate.set()
        self._rng = rng
        self._opened = opened

    async def open(self, now: float) -> Loaded:
        await asyncio.sleep(self._rng.uniform(0.0, 0.05))
        loaded = await super().open(now)
        self._opened(loaded)
        await asyncio.sleep(self._rng.uniform(0.0, 0.05))
        return loaded

    async def commit(self, changes: Sequence[Change]) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, 0.01))
        await self.gate.wait()
        await super().commit(changes)
        await asyncio.sleep(self._rng.uniform(0.0, 0.01))


@dataclass(slots=True)
class Belief:
    """What a holder was told: the cluster is mine until then."""

    holder: str
    cluster: str
    tenant: str
    until: float
    gone: bool = False
    """The holder let go of the cluster: it released it, or it was never told of it."""


@dataclass
class Oracle:
    """Knows of the leases only what holders were told, and so cannot be wrong in the way that the daemon is."""

    shared: Callable[[str], bool]
    now: Callable[[], float]
    beliefs: dict[str, Belief] = field(default_factory=dict)
    by_cluster: dict[str, list[Belief]] = field(default_factory=dict)

    def granted(self, holder: str, tenant: str, told: Granted) -> None:
        """A holder learns of its grant, perhaps not for the first time."""
        lease, now = told.lease, self.now()
        before = self.beliefs.get(lease.id)
        if before is not None:
            before.until = max(before.until, lease.expires_at)
            return
        mine = Belief(holder, lease.cluster, tenant, lease.expires_at)
        for other in self.by_cluster.setdefault(lease.cluster, []):
            assert other.tenant == tenant, f"{lease.cluster} went from {other.tenant} to {tenant}"
            if other.gone or self.shared(lease.cluster):
                continue
            assert other.until <= now, f"{holder} and {other.holder} both hold {lease.cluster}"
            raise AssertionError(f"{lease.cluster} went from {other.holder}, not seen gone, to {holder}")
        self.by_cluster[lease.cluster].append(mine)
        self.beliefs[lease.id] = mine

    def renewed(self, lease_id: str, until: float) -> None:
        """A holder learns that it may go on."""
        self.beliefs[lease_id].until = until

    def let_go(self, lease_id: str) -> None:
        """A holder is about to release, or never learned of its grant."""
        if lease_id in self.beliefs:
            self.beliefs[lease_id].gone = True

"""How pools behave: plain values, resolved per key by `Rules`. The YAML file is read in `pool.config`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pool.core.key import ClusterKey, Footprint

if TYPE_CHECKING:
    from pool.core.policy import Eviction, GrantOrder, LookAhead, Prewarm, QueueOrder, Reclaim, Sizing


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that may exist at once; None for no limit. Everything not yet seen gone counts."""

    clusters: int | None = None
    milli_cpu: int | None = None
    memory_bytes: int | None = None
    gpu: int | None = None


NO_CEILING = Ceiling()


@dataclass(frozen=True, slots=True)
class Prices:
    """What an hour costs, in any one currency: of a resource that nobody uses, and of somebody who waits.

    Attributes:
        cpu: of one logical CPU.
        memory: of one GiB.
        gpu: of one GPU.
        waiting: of one waiter.
        cluster: of any cluster, whatever its size.
    """

    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    waiting: float = 0.0
    cluster: float = 0.0

    def idle(self, footprint: Footprint) -> float:
        """Return what an hour of a cluster of this size costs."""
        cpus, gib = footprint.milli_cpu / 1000, footprint.memory_bytes / 2**30
        return self.cluster + self.cpu * cpus + self.memory * gib + self.gpu * footprint.gpu

    def start_worth(self, footprint: Footprint) -> float:
        """Return how many idle seconds of such a cluster cost as much as a second of its start, with who waits for it.

        Returns:
            0 where there are no prices to tell.
        """
        idle = self.idle(footprint)
        return (idle + self.waiting) / idle if idle and self.waiting else 0.0


FREE = Prices()

USUAL = Footprint(clusters=1, milli_cpu=1000, memory_bytes=4 * 2**30, gpu=0)
"""What clusters cost is told against one of this size."""

ROUGHLY = Prices(cpu=0.04, memory=0.005, gpu=1.0)
"""About what clouds charge: without prices it says which of two shapes costs more, and by how much."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Clusters that somebody else runs: as many are taken as there are, kept, and none is started or stopped.

    Attributes:
        clusters: how many of exactly this key there are; 0 where only larger ones may serve it.
        any_image: they serve requests for any image.
        readmit: after a lease that ended without its holder being seen gone, one serves again as soon as it is proven
            clean; else only once its owner or an operator has seen to it.
    """

    clusters: int = 0
    any_image: bool = False
    readmit: bool = False


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Everything that an operator can set for a pool.

    Attributes:
        name: of the configured pool.
        ceiling: for each pool (each key) that matches.
        lease_ttl_s: a lease not renewed for so long expires.
        max_lease_s: a lease ends after so long however often renewed; 0 for never.
        pickup_s: a grant that is not claimed (renewed once) within it expires.
        max_wait_s: the longest an acquire may wait.
        max_waiting: length of the queue; further acquires are refused.
        wait_target_s, queue_target: a longer wait, and more waiters, are alerted; 0 for no alert. No decision looks
            at them.
        aging_s: a waiter gains one step of priority per so many seconds (used by the queue order).
        hold_s: hold after a release when the lease does not say; `hold_max_s` bounds what a lease may ask.
        group_rest_s: for so long after a release a cluster may be clean for its group alone, which takes less time to
            prove, before it is reset in full; 0 resets in full at once.
        hold_yield_s: under a ceiling a hold older than this may be evicted.
        locality_wait_s: how long a waiter waits for the busy cluster that holds its group's data.
        max_uses: grants before a cluster retires; 0 for no limit.
        max_lifetime_s: age before it retires, 0 for no limit; `lifetime_jitter` shortens each by up to that share.
        max_head_memory_bytes, max_open_files, max_store_left_bytes: a cluster that a reset finds grown beyond one of
            them retires (see `pool.core.model.Wear`); 0 for no limit.
        start_timeout_s, reset_timeout_s: bounds of an effect.
        reset_wait_s: who waits has a cluster started rather than wait longer than this for one that is being reset.
        backoff_s, backoff_max_s: first and longest pause after failed starts (doubling, with jitter).
        breaker_failures: so many failed starts in a row open the breaker for `breaker_open_s`.
        quarantine_s: how long a cluster that could not be proven clean is kept for a look; 0 stops it at once.
        max_leases_per_cluster: 1, unless holders of one tenant may share.
        serve_larger: a larger idle cluster of the tenant may serve a smaller request.
        resident_share: of each node's object store that resident data may take, of clusters started from then on.
        floor_for_s: `min_idle` and `buffer` of a pool nobody used for so long no longer apply, unless `pinned`.
        pinned: the configuration names this very key.
        standing: the clusters are somebody else's; None where they are started and stopped.
        prices: what idle clusters and waiting cost; for the ledger.
        prewarm: when a cluster is made ready ahead of the pool's next use; None for never.
        look_ahead: when one is made ready for the next step of a workflow; None for never.
    """

    name: str
    grant_order: GrantOrder
    queue_order: QueueOrder
    sizing: Sizing
    reclaim: Reclaim
    ceiling: Ceiling = NO_CEILING
    lease_ttl_s: float = 30.0
    max_lease_s: float = 0.0
    pickup_s: float = 15.0
    max_wait_s: float = 3600.0
    max_waiting: int = 10_000
    wait_target_s: float = 300.0
    queue_target: int = 20
    aging_s: float = 60.0
    hold_s: float = 0.0
    hold_max_s: float = 600.0
    group_rest_s: float = 30.0
    hold_yield_s: float = 60.0
    locality_wait_s: float = 3.0
    max_uses: int = 0
    max_lifetime_s: float = 0.0
    lifetime_jitter: float = 0.1
    max_head_memory_bytes: int = 0
    max_open_files: int = 0
    max_store_left_bytes: int = 0
    start_timeout_s: float = 120.0
    reset_timeout_s: float = 20.0
    reset_wait_s: float = 10.0
    backoff_s: float = 2.0
    backoff_max_s: float = 60.0
    breaker_failures: int = 3
    breaker_open_s: float = 60.0
    quarantine_s: float = 0.0
    max_leases_per_cluster: int = 1
    serve_larger: bool = False
    resident_share: float = 0.5
    floor_for_s: float = 86_400.0
    pinned: bool = False
    standing: Standing | None = None
    prices: Prices = FREE
    prewarm: Prewarm | None = None
    look_ahead: LookAhead | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The whole configuration as the core sees it.

    Attributes:
        settings_for: settings of a key's pool (the first configured pool that matches).
        daemon: ceiling of everything.
        tenant_ceiling: ceiling of a tenant.
        tenant_weight: of a tenant, more than 0: what it gets where tenants share room.
        max_starting: clusters that may be starting at once, over all pools.
        eviction: which idle cluster makes room for a waiter; None for what has been idle for longest.
        floors: `min_idle` by configured pool name from schedule windows open now.
        pinned: keys that the configuration names; their pools exist from the start.
    """

    settings_for: Callable[[ClusterKey], PoolSettings]
    daemon: Ceiling = NO_CEILING
    tenant_ceiling: Callable[[str], Ceiling] = lambda tenant: NO_CEILING
    tenant_weight: Callable[[str], float] = lambda tenant: 1.0
    max_starting: int = 4
    eviction: Eviction | None = None
    floors: Mapping[str, int] = field(default_factory=dict)
    pinned: tuple[ClusterKey, ...] = ()

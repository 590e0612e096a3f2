"""All that the pool knows now: the records, and the indexes derived from them.

`apply` puts a change into effect, `revert` takes changes back (a commit that failed). Nothing else alters the state,
but for estimates (`Typical`, `Gaps`, `Load`, `Habits`, `Workflows`, `Uses`, `Expected`) and timers, which are corrected
when they are looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pool.core import by_bytes
from pool.core.ages import Ages
from pool.core.aims import Aims
from pool.core.by_bytes import ByBytes
from pool.core.decisions import Change
from pool.core.gaps import Gaps
from pool.core.habits import Habits
from pool.core.idle_times import IdleTimes
from pool.core.index import Ids, PoolIndex
from pool.core.kept import Kept
from pool.core.key import NOTHING, ClusterKey, Footprint
from pool.core.larger import Sizes
from pool.core.model import (
    ENDED,
    GROWING,
    IDLE,
    LEASED,
    QUARANTINED,
    SHRINKING,
    STARTING,
    STOPPED,
    STOPPING,
    WARM_HEAD,
    Cluster,
    ClusterState,
    Lease,
    Pool,
    Waiter,
)
from pool.core.settings import PoolSettings, Rules
from pool.core.shares import Shares
from pool.core.timers import Timers
from pool.core.workflows import Workflows

ENDED_KEPT = 5_000
"""Ended leases kept in memory, for answers to holders that come late. Older ones are found in the store."""


UNUSED = (IDLE, WARM_HEAD)
"""States in which nobody uses a cluster and nothing is done to it: it may be evicted."""

ASIDE = (STOPPING, SHRINKING, QUARANTINED)
"""States in which a cluster counts for the ceilings and serves nobody."""

COMING_UP = (STARTING, GROWING)
"""States in which a cluster takes one of the slots for starts."""


class _Settings(dict[str, PoolSettings]):
    """The settings of each pool, found once: every decision looks at them a dozen times."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def __missing__(self, digest: str) -> PoolSettings:
        found = self[digest] = self._state.rules.settings_for(self._state.pools[digest].key)
        return found


class State:
    """The daemon's memory. Its dictionaries are for reading; only `apply` and `revert` write."""

    def __init__(self, rules: Rules, generation: int = 0) -> None:
        self.rules = rules
        self.generation = generation
        self.pools: dict[str, Pool] = {}
        self.clusters: dict[str, Cluster] = {}
        self.leases: dict[str, Lease] = {}
        self.waiters: dict[str, Waiter] = {}
        self.ended: OrderedDict[str, Lease] = OrderedDict()
        self.requests: dict[tuple[str, str], str] = {}
        self.index: dict[str, PoolIndex] = {}
        self.usage = Footprint()
        self.tenant_usage: dict[str, Footprint] = {}
        self.evictable: Ids = OrderedDict()
        self.evictable_by_tenant: dict[str, Ids] = {}
        # Idle clusters that have a group's data, by tenant and group, over all pools.
        self.with_data: dict[tuple[str, str], ByBytes] = {}
        self.starting = 0
        self.stopping: Ids = OrderedDict()
        self.shrinking: Ids = OrderedDict()
        self.quarantined: Ids = OrderedDict()
        # Every cluster was asked to stop: nothing starts any more.
        self.closing = False
        self.waiting_pools: Ids = OrderedDict()
        # Pools that want to start a cluster and may not, for a ceiling or the number of starts: an estimate that is
        # looked at when room comes free, and made anew by every reconcile.
        self.blocked: Ids = OrderedDict()
        # What the backend last had no room for (all that was there, and one cluster more), and until when that is
        # believed: an estimate too.
        self.no_room_for: Footprint | None = None
        self.no_room_until = 0.0
        self.timers = Timers()
        self.gaps = Gaps()
        self.workflows = Workflows()
        # Pools that were used since the last snapshot of when they were.
        self.unsaved_uses: dict[str, None] = {}
        # Leases and waiters for which a cluster was made ready, or kept: they took none that stand for others.
        self.foreseen: set[str] = set()
        self.shares = Shares()
        self.idle_times = IdleTimes()
        self.ages = Ages()
        self.aims = Aims()
        self.habits = Habits()
        # What else than gaps a restart takes over, by the name of its kind.
        self.kept: dict[str, Kept] = {
            "shares": self.shares, "minutes": self.idle_times, "aims": self.aims, "habits": self.habits,
        }  # fmt: skip
        self.sizes = Sizes()
        self._settings = _Settings(self)
        # Of a known pool, by its digest. Not a method: it is called more often than any.
        self.settings: Callable[[str], PoolSettings] = self._settings.__getitem__
        # How a record of each type takes the place of another: what `apply` does, for those who have no change yet.
        self.replace: dict[type, Callable[[Any, Any], None]] = {
            Cluster: self._replace_cluster,
            Lease: self._replace_lease,
            Waiter: self._replace_waiter,
            Pool: self._replace_pool,
        }

    def __repr__(self) -> str:
        counts = dict.fromkeys(ClusterState, 0)
        for index in self.index.values():
            for state, count in index.counts.items():
                counts[state] += count
        shown = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no clusters"
        return f"<State {len(self.pools)} pools [{shown} | {len(self.waiters)} waiting]>"

    # --- reading ---------------------------------------------------------------------------------------------------

    def set_rules(self, rules: Rules) -> None:
        """Replace the rules as a whole."""
        self.rules = rules
        self._settings.clear()
        self.sizes.clear()
        for pool in self.pools.values():
            self.sizes.put(pool, self.settings(pool.digest))
            index = self.index[pool.digest]
            index.reserve = index.in_reserve = None
        # Which leased clusters have room depends on the settings.
        for cluster in self.clusters.values():
            if cluster.state is LEASED:
                index = self.index[cluster.pool]
                index.drop_cluster(cluster)
                index.take_cluster(cluster, self.settings(cluster.pool).max_leases_per_cluster)

    def key_of(self, cluster: Cluster) -> ClusterKey:
        """Return the key of a cluster."""
        return self.pools[cluster.pool].key

    def queue(self, digest: str) -> list[Waiter]:
        """Return the waiters of a pool in the order in which they will be served."""
        index = self.index.get(digest)
        return [self.waiters[id_] for *_, id_ in index.queue] if index else []

    def next_in_line(self, digest: str) -> list[str]:
        """Return the ids of the waiters that the clusters now starting will likely serve, first served first."""
        index = self.index[digest]
        return [id_ for *_, id_ in index.queue[: len(index.starting)]]

    def typical_start_s(self, digest: str) -> float | None:
        """Return the median of recent start times of a pool, None if none was seen."""
        index = self.index.get(digest)
        return index.start_s.value_s if index else None

    def typical_grow_s(self, digest: str) -> float | None:
        """Return the median of the times in which a pool's warm heads got their workers back, None if none was seen."""
        index = self.index.get(digest)
        return index.grow_s.value_s if index else None

    def typical_lease_s(self, digest: str) -> float | None:
        """Return the median of recent lease times of a pool, None if none was seen."""
        index = self.index.get(digest)
        return index.lease_s.value_s if index else None

    def counts(self) -> dict[tuple[str, ClusterState], int]:
        """Return clusters by configured pool name and state."""
        out: dict[tuple[str, ClusterState], int] = {}
        for digest, index in self.index.items():
            name = self.pools[digest].name
            for state, count in index.counts.items():
                if state is not STOPPED:
                    out[name, state] = out.get((name, state), 0) + count
        return out

    def queue_lengths(self) -> dict[str, int]:
        """Return the number of waiters by configured pool name."""
        out: dict[str, int] = {}
        for digest, index in self.index.items():
            name = self.pools[digest].name
            out[name] = out.get(name, 0) + len(index.queue)
        return out

    def evictable_ids(self, tenant: str | None) -> Iterator[str]:
        """Yield idle clusters and warm heads of a tenant (of all if None), longest so first."""
        ids = self.evictable if tenant is None else self.evictable_by_tenant.get(tenant)
        return iter(ids or ())

    # --- writing ---------------------------------------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """Put one change into effect."""
        old, new, _ = change
        self.replace[type(old if new is None else new)](old, new)

    def revert(self, changes: Iterable[Change]) -> None:
        """Take changes back, the last one first."""
        for change in reversed(list(changes)):
            self.apply(Change(change.new, change.old))

    def _replace_pool(self, old: Pool | None, new: Pool | None) -> None:
        if new is not None:
            self.pools[new.digest] = new
            if new.digest not in self.index:
                self.index[new.digest] = PoolIndex()
                self.sizes.put(new, self.settings(new.digest))
            elif old is not None and (old.cordoned, old.min_idle) != (new.cordoned, new.min_idle):
                self.sizes.forget_reserve(new)
        elif old is not None:
            self.sizes.drop(old)
            del self.pools[old.digest]
            del self.index[old.digest]
            self._settings.pop(old.digest, None)
            # Not undone with a decision that made the pool, and was refused.
            self.blocked.pop(old.digest, None)

    def _replace_cluster(self, old: Cluster | None, new: Cluster | None) -> None:
        if old is not None and old.state is STOPPED:
            old = None
        if new is not None and new.state is STOPPED:
            new = None
        if old is not None:
            state = old.state
            self.index[old.pool].drop_cluster(old)
            if state in UNUSED:
                if new is None or new.state not in UNUSED:
                    self._drop_evictable(old)
            elif state in COMING_UP:
                self.starting -= 1
            elif state in ASIDE:
                self._set_aside(state).pop(old.id, None)
            if old.resident and _has_data(old):
                by_bytes.pop(self.with_data, (old.tenant, old.group), old.id)
            if new is None:
                del self.clusters[old.id]
                self.ages.forget(old.id)
                self._use(old, NOTHING - old.footprint)
        if new is not None:
            state = new.state
            if old is None:
                self.ages.used(new.id)
                self._use(new, new.footprint)
            elif old.footprint is not new.footprint:
                self._use(new, new.footprint - old.footprint)
            self.clusters[new.id] = new
            self.index[new.pool].take_cluster(new, self._settings[new.pool].max_leases_per_cluster)
            if state in UNUSED:
                if new.id not in self.evictable:
                    self.evictable[new.id] = None
                    self.evictable_by_tenant.setdefault(new.tenant, OrderedDict())[new.id] = None
            elif state in COMING_UP:
                self.starting += 1
            elif state in ASIDE:
                self._set_aside(state)[new.id] = None
            if new.resident and _has_data(new):
                by_bytes.put(self.with_data, (new.tenant, new.group), new)

    def _set_aside(self, state: ClusterState) -> Ids:
        if state is STOPPING:
            return self.stopping
        return self.shrinking if state is SHRINKING else self.quarantined

    def _drop_evictable(self, cluster: Cluster) -> None:
        if self.evictable.pop(cluster.id, self) is None:
            ids = self.evictable_by_tenant[cluster.tenant]
            del ids[cluster.id]
            if not ids:
                del self.evictable_by_tenant[cluster.tenant]

    def _use(self, cluster: Cluster, more: Footprint) -> None:
        self.usage += more
        self.index[cluster.pool].usage += more
        self.tenant_usage[cluster.tenant] = self.tenant_usage.get(cluster.tenant, NOTHING) + more

    def _replace_lease(self, old: Lease | None, new: Lease | None) -> None:
        was_live = old is not None and old.state is not ENDED
        is_live = new is not None and new.state is not ENDED
        if old is not None:
            if was_live and not is_live:
                del self.leases[old.id]
                self.index[old.pool].drop_lease(old.granted_at)
            elif not was_live:
                self.ended.pop(old.id, None)
            if new is None:
                self.requests.pop((old.caller, old.request_id), None)
        if new is not None:
            if is_live:
                self.leases[new.id] = new
                if not was_live:
                    self.index[new.pool].take_lease(new.granted_at)
            else:
                self.ended[new.id] = new
                if len(self.ended) > ENDED_KEPT:
                    _, oldest = self.ended.popitem(last=False)
                    self.requests.pop((oldest.caller, oldest.request_id), None)
            if old is None:
                self.requests[new.caller, new.request_id] = new.id

    def _replace_waiter(self, old: Waiter | None, new: Waiter | None) -> None:
        if old is not None and new is not None:
            self.waiters[new.id] = new
            self.index[new.pool].update_waiter(old, new)
            return
        if old is not None:
            index = self.index[old.pool]
            index.drop_waiter(old)
            del self.waiters[old.id]
            if not index.queue:
                self.waiting_pools.pop(old.pool, None)
            if self.requests.get((old.caller, old.request_id)) == old.id and old.id not in self.leases:
                del self.requests[old.caller, old.request_id]
        if new is not None:
            self.waiters[new.id] = new
            self.index[new.pool].take_waiter(new)
            self.waiting_pools[new.pool] = None
            self.requests[new.caller, new.request_id] = new.id


def _has_data(cluster: Cluster) -> bool:
    """Tell whether a cluster with resident data may be granted to the group that left it."""
    return cluster.state is IDLE and cluster.grantable and bool(cluster.group)

"""What must hold of every state and of every decision, whatever happened: the design's invariants, as code.

`check` looks at one state; a `Watch` follows the decisions of one daemon and sees what only shows over time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pool.core import learning
from pool.core.capacity import over
from pool.core.decisions import Answer, Change, Decision, Grow, Reset, Shrink, Start, Stop, StopOrphan
from pool.core.grant import data_is_busy
from pool.core.index import PoolIndex
from pool.core.key import Footprint, dominates, footprint_of
from pool.core.life import Limits
from pool.core.lifecycle import CLUSTER_TABLE
from pool.core.model import Cluster, ClusterState, Lease, LeaseState, Pool, Waiter
from pool.core.reasons import Reason
from pool.core.settings import Ceiling, Rules
from pool.core.state import COMING_UP, UNUSED, State
from pool.core.timers import Kind
from pool.daemon import DUE_AGAIN_S

INDEXES = ("counts", "free", "held", "wanted", "resting", "degraded", "slow", "by_group", "busy_by_group", "roomy",
           "shrunk", "shrunk_by_group", "starting", "waiters_by_group", "granted", "takers", "creators", "local",
           "usage", "grants")  # fmt: skip
BY_RELEASE = {Reason.RELEASED, Reason.CANCELLED, Reason.UNDELIVERED}
"""Ends after which the holder is known to be gone: the only ones that a reset may follow."""
MOVES = {(old, new) for (old, _), new in CLUSTER_TABLE.items()} | {(s, s) for s in ClusterState}


def rebuilt(state: State) -> State:
    """Return a state made of the same records from scratch."""
    fresh = State(state.rules, state.generation)
    records: list[Any] = [*state.pools.values(), *state.clusters.values(), *state.ended.values()]
    for record in [*records, *state.leases.values(), *state.waiters.values()]:
        fresh.apply(Change(None, record))
    return fresh


def view(state: State) -> dict[str, Any]:
    """Return everything in a state that its records decide, in a form that compares."""
    return {
        "pools": state.pools,
        "clusters": state.clusters,
        "leases": state.leases,
        "waiters": state.waiters,
        "ended": dict(state.ended),
        "requests": state.requests,
        "index": {digest: _index_view(index) for digest, index in state.index.items()},
        "usage": state.usage,
        # A tenant that has nothing and one that never had are the same.
        "tenant_usage": {t: u for t, u in state.tenant_usage.items() if u != Footprint()},
        "evictable": set(state.evictable),
        "evictable_by_tenant": {t: set(ids) for t, ids in state.evictable_by_tenant.items()},
        "with_data": {of: set(ids) for of, ids in state.with_data.items()},
        "starting": state.starting,
        "stopping": set(state.stopping),
        "shrinking": set(state.shrinking),
        "quarantined": set(state.quarantined),
        "waiting_pools": set(state.waiting_pools),
    }


def _index_view(index: PoolIndex) -> dict[str, Any]:
    out: dict[str, Any] = {"queue": {(rank, asked_at, id_) for rank, asked_at, _, id_ in index.queue}}
    for name in INDEXES:
        value = getattr(index, name)
        if name in ("free", "held", "wanted", "resting", "degraded", "slow", "roomy", "shrunk", "starting"):
            value = set(value)
        elif name in ("by_group", "busy_by_group", "shrunk_by_group", "waiters_by_group"):
            value = {group: set(ids) for group, ids in value.items()}
        out[name] = value
    return out


def same(one: dict[str, Any], other: dict[str, Any], what: str) -> None:
    """Assert that two views are equal; name what differs."""
    for name, value in one.items():
        assert value == other[name], f"{what}: {name} differs: {value} != {other[name]}"


def check(state: State, now: float) -> None:
    """Assert every invariant that shows in one state, as it is between two decisions."""
    same(view(state), view(rebuilt(state)), "the indexes do not follow from the records")
    for cluster in state.clusters.values():
        _check_cluster(state, cluster)
    for lease in state.leases.values():
        assert lease.state is not LeaseState.ENDED, lease
        assert lease.id in state.clusters[lease.cluster].leases, f"{lease} is not on its cluster"
        assert lease.tenant == state.pools[lease.pool].key.tenant, lease
        assert not lease.max_until or lease.expires_at <= lease.max_until, f"{lease} outlives its max_lease"
    for lease in state.ended.values():
        assert lease.state is LeaseState.ENDED, lease
        assert lease.end_reason is not None, lease
    for waiter in state.waiters.values():
        assert waiter.id not in state.leases, f"{waiter} was answered and still waits"
        assert waiter.id not in state.ended, f"{waiter} was answered and still waits"
    for pool in state.pools.values():
        _check_queue(state, pool, now)
    _check_timers(state, now)


def _check_cluster(state: State, cluster: Cluster) -> None:
    assert cluster.state is not ClusterState.STOPPED, cluster
    assert (cluster.state is ClusterState.LEASED) == bool(cluster.leases), f"{cluster} and its leases disagree"
    assert len(set(cluster.leases)) == len(cluster.leases), cluster
    key = state.pools[cluster.pool].key
    assert cluster.tenant == key.tenant, cluster
    whole, head = key.footprint, footprint_of(key.shape, {})
    if cluster.state is ClusterState.WARM_HEAD:
        assert cluster.footprint != whole, f"{cluster} let nothing go"
        assert over_none(head, cluster.footprint), f"{cluster} counts for less than its head"
        assert over_none(cluster.footprint, whole), f"{cluster} counts for more than all of it"
    elif cluster.state is not ClusterState.STOPPING:
        assert cluster.footprint == whole, f"{cluster} does not count for all of it"
    epochs = set()
    for lease_id in cluster.leases:
        lease = state.leases[lease_id]
        assert lease.cluster == cluster.id, (lease, cluster)
        assert lease.tenant == cluster.tenant, f"{lease} of another tenant is on {cluster}"
        assert lease.epoch <= cluster.epoch, (lease, cluster)
        assert not cluster.group_only or lease.group == cluster.group, f"{lease} is on {cluster} of another group"
        assert dominates(key, state.pools[lease.pool].key), f"{lease} is on {cluster}, which cannot serve its key"
        epochs.add(lease.epoch)
    assert len(epochs) == len(cluster.leases), f"two leases of {cluster} have one epoch"


def over_none(part: Footprint, whole: Footprint) -> bool:
    """Tell whether `part` takes no more of anything than `whole`."""
    left = whole - part
    return min(left.clusters, left.milli_cpu, left.memory_bytes, left.gpu) >= 0


def _check_queue(state: State, pool: Pool, now: float) -> None:
    index = state.index[pool.digest]
    if index.life is not None:
        assert {cluster.id for cluster in index.life.soonest(Limits(0, 0.0, now))} == set(index.free), pool
    queue = index.queue
    assert queue == sorted(queue), f"the queue of {pool} is not in order"
    if pool.cordoned:
        return
    waiters = [state.waiters[id_] for *_, id_ in queue]
    takers = [w for w in waiters if not w.local_until]
    for cluster_id in [*index.free, *index.roomy]:
        assert not takers, f"{state.clusters[cluster_id]} is free while {takers[0]} waits"
    for cluster_id in index.held:
        cluster = state.clusters[cluster_id]
        for waiter in waiters:
            if waiter.group == cluster.group:
                patient = waiter.local_until and data_is_busy(state, index, waiter.group)
                assert patient, f"{cluster} is held while its group waits"


def _check_timers(state: State, now: float) -> None:
    armed = state.timers._armed

    def promised(kind: Kind, id_: str, at: float, record: object) -> None:
        # What could not be committed when it was due is tried again a little later.
        looks_at = armed.get((kind, id_), float("inf"))
        assert looks_at <= max(at, now + DUE_AGAIN_S), f"nobody will look at {kind} of {record}"

    for lease in state.leases.values():
        promised(Kind.LEASE, lease.id, lease.expires_at, lease)
    for waiter in state.waiters.values():
        promised(Kind.DEADLINE, waiter.id, waiter.deadline, waiter)
        promised(Kind.SEEN, waiter.id, waiter.seen_until, waiter)
        if waiter.local_until:
            promised(Kind.LOCAL, waiter.id, waiter.local_until, waiter)
    soon = 1e300
    for cluster in state.clusters.values():
        settings = state.settings(cluster.pool)
        start_timeout_at = max(soon, cluster.changed_at + settings.start_timeout_s)
        if cluster.state in UNUSED:
            # Some are kept for ever, as far as their policy goes.
            promised(Kind.KEEP, cluster.id, max(soon, learning.keep_until(state, cluster, now)), cluster)
            pool = state.pools[cluster.pool]
            price = pool.key.warm_head_price
            if cluster.state is ClusterState.IDLE and price < 1:
                workers_until = settings.reclaim.workers_until(cluster, pool, price, now)
                promised(Kind.WORKERS, cluster.id, max(soon, workers_until), cluster)
            if cluster.hold_until:
                promised(Kind.HOLD, cluster.id, cluster.hold_until, cluster)
            if cluster.retires_at:
                promised(Kind.RETIRE, cluster.id, cluster.retires_at, cluster)
        elif cluster.state in COMING_UP:
            promised(Kind.START, cluster.id, start_timeout_at, cluster)
        elif cluster.state is ClusterState.RESETTING:
            promised(Kind.RESET, cluster.id, max(soon, cluster.changed_at + settings.reset_timeout_s), cluster)
        elif cluster.state is ClusterState.SHRINKING:
            promised(Kind.SHRINK, cluster.id, start_timeout_at, cluster)
        elif cluster.state is ClusterState.QUARANTINED:
            promised(Kind.QUARANTINE, cluster.id, soon, cluster)


@dataclass
class Watch:
    """Follows the committed decisions of one daemon, from what its store held when it opened.

    Attributes:
        tainted: clusters on which a lease ended without its holder being seen gone.
        answered: waiters that were told the end of their waiting.
    """

    pools: dict[str, Pool] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    waiters: dict[str, Waiter] = field(default_factory=dict)
    tainted: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)

    def load(self, records: Iterable[Pool | Cluster | Lease | Waiter]) -> None:
        """Begin with what a store held."""
        for record in records:
            self._put(None, record)

    def decision(self, decision: Decision, rules: Rules) -> None:
        """Assert what must hold of one decision after all that came before."""
        ended: dict[str, list[Lease]] = {}
        gone: set[str] = set()
        for change in decision.changes:
            old, new = change.old, change.new
            if isinstance(new, Lease):
                self._check_lease(old, new)
                if new.state is LeaseState.ENDED:
                    ended.setdefault(new.cluster, []).append(new)
                    if new.end_reason not in BY_RELEASE:
                        self.tainted.add(new.cluster)
            elif isinstance(new, Cluster):
                self._check_cluster(old, new, ended.get(new.id, []), rules)  # type: ignore[arg-type]
            elif isinstance(old, Waiter) and new is None:
                assert old.id in self.waiters, f"{old} left the queue twice"
                gone.add(old.id)
            self._put(old, new)
        self._check_effects(decision, gone)

    def _check_lease(self, old: object, new: Lease) -> None:
        known = self.leases.get(new.id)
        if known is None:
            assert new.state is LeaseState.GRANTED, new
        else:
            assert known.state is not LeaseState.ENDED, f"{known} ended and changed again"
            assert known.epoch == new.epoch, new
            assert known.cluster == new.cluster, new

    def _check_cluster(self, old: Cluster | None, new: Cluster, ended: list[Lease], rules: Rules) -> None:
        if old is None:
            assert new.state is ClusterState.STARTING, new
            assert new.id not in self.clusters, f"{new} was started twice"
            self._check_ceilings(new, rules)
            return
        assert new.epoch >= old.epoch, f"the epoch of {new} fell from {old.epoch}"
        if new.leases != old.leases:
            assert new.epoch > old.epoch, f"the leases of {new} changed under one epoch"
        assert (old.state, new.state) in MOVES, f"{old} became {new}"
        if set(new.leases) - set(old.leases):
            shares = rules.settings_for(self.pools[new.pool].key).max_leases_per_cluster
            assert len(new.leases) <= shares, f"{new} has more leases than its pool allows"
            assert new.id not in self.tainted, f"{new} was granted though a holder was not seen gone"
            assert new.doom is None, f"{new} was granted though doomed"
        if old.state is ClusterState.LEASED and new.state is not ClusterState.LEASED:
            assert not new.leases, f"{new} left its leases behind"
        standing = rules.settings_for(self.pools[new.pool].key).standing
        if new.state is ClusterState.RESETTING and old.state is ClusterState.LEASED:
            assert ended or (standing and new.doom), f"{new} is reset, but nobody released it"
            # What cannot be replaced is cleaned, and serves again only by rule or when somebody says so.
            assert new.id not in self.tainted or standing, f"{new} is reset though a holder was not seen gone"
        readmitted = old.state is ClusterState.QUARANTINED and old.doom is not None and new.doom is None
        if standing and (standing.readmit or readmitted):
            self.tainted.discard(new.id)
        if new.state is ClusterState.IDLE and old.state is not ClusterState.IDLE:
            assert new.id not in self.tainted, f"{new} serves again though a holder was not seen gone"
        self._check_size(old, new, rules)
        if new.state is ClusterState.STOPPING and old.state is ClusterState.LEASED:
            assert ended or not old.leases, f"{old} was stopped under its holder"
            assert new.reason not in (Reason.IDLE_TTL, Reason.EVICTED, Reason.SURPLUS), f"{old} was reclaimed"

    def _check_size(self, old: Cluster, new: Cluster, rules: Rules) -> None:
        moved = old.state, new.state
        if moved == (ClusterState.IDLE, ClusterState.SHRINKING):
            assert not old.hold_until, f"{old} let its workers go though it was held"
            assert not old.group_only, f"{old} let its workers go though it was not clean for everybody"
        if moved == (ClusterState.WARM_HEAD, ClusterState.GROWING):
            self._check_ceilings(new, rules)
        elif new.footprint != old.footprint:
            assert moved == (ClusterState.SHRINKING, ClusterState.WARM_HEAD), f"{old} counts for less as {new}"
        begins = {ClusterState.SHRINKING, ClusterState.GROWING} - {old.state}
        assert new.resizes == old.resizes + (new.state in begins), f"{new} does not count how often it was resized"

    def _check_ceilings(self, new: Cluster, rules: Rules) -> None:
        pool = self.pools[new.pool]
        own = rules.settings_for(pool.key).ceiling
        if pool.max_clusters is not None:
            own = Ceiling(pool.max_clusters, own.milli_cpu, own.memory_bytes, own.gpu)
        live = [c for c in self.clusters.values() if c.id != new.id]
        for whose, ceiling, used in (
            (repr(pool), own, [c for c in live if c.pool == new.pool]),
            (new.tenant, rules.tenant_ceiling(new.tenant), [c for c in live if c.tenant == new.tenant]),
            ("the daemon", rules.daemon, live),
        ):
            usage = sum((c.footprint for c in used), Footprint())
            assert not (text := over(ceiling, usage, new.footprint)), f"{new} is over the ceiling of {whose}: {text}"
        starting = sum(c.state in COMING_UP for c in live)
        assert starting < rules.max_starting, f"{starting} start already"

    def _check_effects(self, decision: Decision, gone: set[str]) -> None:
        for effect in decision.effects:
            if isinstance(effect, Answer):
                assert effect.lease_id not in self.answered, f"waiter {effect.lease_id} was answered twice"
                self.answered.add(effect.lease_id)
                assert effect.lease_id in gone, f"waiter {effect.lease_id} was answered and still waits"
                gone.discard(effect.lease_id)
            elif isinstance(effect, Start):
                assert effect.cluster.state is ClusterState.STARTING, effect
            elif isinstance(effect, Grow):
                assert effect.cluster.state is ClusterState.GROWING, effect
            elif isinstance(effect, Shrink):
                assert effect.cluster.state is ClusterState.SHRINKING, effect
            elif isinstance(effect, Reset):
                assert effect.cluster.state is ClusterState.RESETTING, effect
            elif isinstance(effect, Stop):
                known = self.clusters.get(effect.cluster_id)
                assert known is not None, effect
                assert known.state is ClusterState.STOPPING, effect
            elif isinstance(effect, StopOrphan):
                assert effect.cluster_id not in self.clusters, f"{effect} kills a cluster of ours"
        assert not gone, f"waiters {gone} left the queue without an answer"

    def _put(self, old: object, new: object) -> None:
        record = new if new is not None else old
        if isinstance(record, Pool):
            self.pools[record.digest] = record
        elif isinstance(record, Cluster):
            if record.state is ClusterState.STOPPED:
                self.clusters.pop(record.id, None)
            else:
                self.clusters[record.id] = record
        elif isinstance(record, Lease):
            self.leases[record.id] = record
        elif isinstance(record, Waiter):
            if new is None:
                del self.waiters[record.id]
            else:
                self.waiters[record.id] = record

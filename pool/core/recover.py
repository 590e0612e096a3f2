"""A state made of what the store kept. A restart is a case like any other, not an accident."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from pool.core import ahead, learning, snapshot
from pool.core.decisions import Change
from pool.core.model import Cluster, ClusterState, Lease, Pool, Record, Waiter
from pool.core.settings import Rules
from pool.core.state import COMING_UP, UNUSED, State
from pool.core.timers import Kind

UNDER_WAY = (*COMING_UP, ClusterState.RESETTING, ClusterState.SHRINKING)
"""States in which something is done to a cluster, for a bounded time."""


def restore(
    rules: Rules,
    now: float,
    *,
    generation: int = 0,
    previous_opened_at: float = 0.0,
    pools: Iterable[Pool] = (),
    clusters: Iterable[Cluster] = (),
    leases: Iterable[Lease] = (),
    waiters: Iterable[Waiter] = (),
    ended: Sequence[Lease] = (),
    starts: Iterable[tuple[str, float]] = (),
    learned: Mapping[str, str] = MappingProxyType({}),
) -> State:
    """Return the state as of a restart at `now`.

    Renewals are not stored, so a live lease is given its full ttl again, as etcd's lessor does when it is promoted.
    A lease that was not renewed while the generation before this one served had its extension then, and gets no
    second one. A waiter is given time to ask again. No effect is issued here: the first listing of the backend finds
    what is under way and what was lost.
    """
    state = State(rules, generation)
    timers = state.timers

    def take(record: Record) -> None:
        state.apply(Change(None, record))

    for pool in pools:
        take(pool)
    for cluster in clusters:
        if cluster.state in UNDER_WAY:
            # The time without a daemon does not count against what is under way.
            cluster = cluster._replace(changed_at=now)
        take(cluster)
        if cluster.grow_s is not None:
            state.index[cluster.pool].grow_s.add(cluster.grow_s)
        _watch(state, cluster, now)
    for lease in leases:
        if lease.renewed_in >= generation - 1:
            expires_at = now + lease.ttl_s
        else:
            expires_at = max(lease.expires_at, previous_opened_at + lease.ttl_s)
        if lease.max_until:
            expires_at = min(expires_at, lease.max_until)
        take(lease._replace(expires_at=expires_at))
        timers.arm(Kind.LEASE, lease.id, expires_at)
    for waiter in waiters:
        take(waiter._replace(seen_until=now + waiter.ttl_s))
        timers.arm(Kind.DEADLINE, waiter.id, waiter.deadline)
        timers.arm(Kind.SEEN, waiter.id, now + waiter.ttl_s)
        if waiter.local_until:
            timers.arm(Kind.LOCAL, waiter.id, waiter.local_until)
    for lease in ended:
        if lease.pool in state.index:
            take(lease)
            _learn(state, lease)
    for digest, start_s in starts:
        if digest in state.index:
            state.index[digest].start_s.add(start_s)
    snapshot.restore(state, learned, now)
    learning.relive(state, [*ended, *state.leases.values()], state.waiters.values())
    for digest in state.index:
        ahead.look_at_rhythm(state, digest, now)
    return state


def _learn(state: State, lease: Lease) -> None:
    index = state.index[lease.pool]
    index.last_asked_at = max(index.last_asked_at, lease.asked_at)
    if lease.ended_at is not None:
        index.lease_s.add(lease.ended_at - lease.granted_at)


def _watch(state: State, cluster: Cluster, now: float) -> None:
    """Arm whatever may become due for a cluster: a look too many costs nothing."""
    timers = state.timers
    if cluster.state in UNUSED:
        timers.arm(Kind.KEEP, cluster.id, now)
        timers.arm(Kind.WORKERS, cluster.id, now)
        if cluster.hold_until:
            timers.arm(Kind.HOLD, cluster.id, cluster.hold_until)
        if cluster.retires_at:
            timers.arm(Kind.RETIRE, cluster.id, cluster.retires_at)
    elif cluster.state in COMING_UP:
        timers.arm(Kind.START, cluster.id, now)
    elif cluster.state is ClusterState.RESETTING:
        timers.arm(Kind.RESET, cluster.id, now)
    elif cluster.state is ClusterState.SHRINKING:
        timers.arm(Kind.SHRINK, cluster.id, now)
    elif cluster.state is ClusterState.QUARANTINED:
        timers.arm(Kind.QUARANTINE, cluster.id, now)

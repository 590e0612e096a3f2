"""Which waiter gets which cluster."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from pool.core import fairness, learning, standing
from pool.core.decisions import Answer, Granted
from pool.core.events import Acquire
from pool.core.index import PoolIndex
from pool.core.larger import larger_of, smaller_of
from pool.core.life import ByLife, Limits
from pool.core.lifecycle import ClusterMove
from pool.core.model import (
    GROWING,
    IDLE,
    LEASED,
    RESETTING,
    SHRINKING,
    STARTING,
    WARM_HEAD,
    Cluster,
    Lease,
    LeaseState,
    Outcome,
    Pool,
    Waiter,
)
from pool.core.reasons import Reason
from pool.core.state import State
from pool.core.timers import Kind
from pool.core.turn import Turn

Ask = Acquire | Waiter

WORTH_A_WAIT_BYTES = 50_000_000
"""Less is read from a durable copy sooner than a busy cluster comes free."""

LOOKED_AT = 64
"""Of so many clusters that rest, those with least data are reset for others; of more, if more are needed."""


class Idle:
    """The idle clusters of one pool that one group may have (the `IdleView` of policies)."""

    def __init__(self, state: State, pool: Pool, group: str, now: float) -> None:
        self._state = state
        self._pool = pool
        self._group = group
        self._now = now
        self._index = state.index[pool.digest]
        self._own = self._index.by_group.get(group) if group else None

    def __len__(self) -> int:
        return len(self._index.free) + sum(id_ in self._index.held for id_ in self._own or ())

    def __bool__(self) -> bool:
        return bool(self._index.free) or any(id_ in self._index.held for id_ in self._own or ())

    def of_group(self) -> Iterator[Cluster]:
        """Yield those that the group used last, the most resident data first, then the most recently idle."""
        for id_ in self._own or ():
            yield self._state.clusters[id_]

    def elsewhere(self) -> Iterator[Cluster]:
        """Yield those of larger keys that have data of the group, the most first."""
        there = self._state.with_data.get((self._pool.key.tenant, self._group)) if self._group else None
        if there is not None and larger_of(self._state, self._pool.digest):
            for id_ in there:
                cluster = self._state.clusters[id_]
                if _may_have(self._state, cluster, self._pool, self._group):
                    yield cluster

    def newest(self) -> Iterator[Cluster]:
        """Yield those that are not held, most recently idle first."""
        for id_ in reversed(self._index.free):
            yield self._state.clusters[id_]

    def oldest(self) -> Iterator[Cluster]:
        """Yield those that are not held, longest idle first."""
        for id_ in self._index.free:
            yield self._state.clusters[id_]

    def soonest(self) -> Iterator[Cluster]:
        """Yield those that are not held, what retires first first."""
        return self._by_life().soonest(self._limits())

    def latest(self) -> Iterator[Cluster]:
        """Yield those that are not held, what retires last first."""
        return self._by_life().latest(self._limits())

    def _by_life(self) -> ByLife:
        index = self._index
        if index.life is None:
            # Kept from now on: pools whose policy never asks for it need not pay for it.
            index.life = ByLife(self._state.clusters[id_] for id_ in index.free)
        return index.life

    def _limits(self) -> Limits:
        settings = self._state.settings(self._pool.digest)
        return Limits(settings.max_uses, self._index.lease_s.value_s or 0.0, self._now)


def pick(state: State, pool: Pool, group: str, now: float, *, own_only: bool = False) -> Cluster | None:
    """Return the cluster that a holder of `group` would get now, None if there is none for it."""
    index = state.index[pool.digest]
    if index.free or index.held:
        idle = Idle(state, pool, group, now)
        own = next(idle.of_group(), None) if own_only else None
        if own is not None and not data_is_busy(state, index, group):
            return own
        if idle and not own_only:
            return state.settings(pool.digest).grant_order.pick(idle, now)
    if index.roomy:
        for id_ in index.busy_by_group.get(group, ()):
            if id_ in index.roomy:
                return state.clusters[id_]
        if not own_only:
            return state.clusters[next(reversed(index.roomy))]
    if own_only:
        return None
    return _pick_larger(state, pool, group)


def data_is_busy(state: State, index: PoolIndex, group: str) -> bool:
    """Tell whether a busy cluster has more of the group's data than any idle one, and so much that it is worth a wait.

    One that is being reset comes back soon, and is worth it whatever it has. One that is leased is not, where nothing
    of the group's is known to be there: tasks beside each other would begin one after the other.
    """
    busy = index.busy_by_group.get(group)
    if not busy:
        return False
    idle = index.by_group.get(group)
    if not idle:
        return busy.most_bytes > 0 or any(state.clusters[id_].state is RESETTING for id_ in busy)
    return busy.most_bytes - idle.most_bytes > WORTH_A_WAIT_BYTES


def _pick_larger(state: State, pool: Pool, group: str) -> Cluster | None:
    """Return an idle cluster of a larger key: the group's with most data, else the smallest that nobody waits for."""
    best: Cluster | None = None
    for digest in larger_of(state, pool.digest):
        index = state.index[digest]
        if not (index.free or index.held):
            continue
        own = index.by_group.get(group, ()) if group else ()
        for id_ in (*own, *islice(index.free, 1)):
            cluster = state.clusters[id_]
            if _may_have(state, cluster, pool, group) and (
                best is None or _worth(cluster, group) < _worth(best, group)
            ):
                best = cluster
    return best


def _may_have(state: State, cluster: Cluster, pool: Pool, group: str) -> bool:
    """Tell whether a cluster of another key may be granted now to `group`, which asks for the key of `pool`."""
    index = state.index[cluster.pool]
    held_for_it = bool(group) and cluster.group == group and cluster.id in index.held
    if not held_for_it and (cluster.id not in index.free or index.queue):
        return False
    return not state.pools[cluster.pool].cordoned and cluster.pool in larger_of(state, pool.digest)


def _worth(cluster: Cluster, group: str) -> tuple[bool, int, int, int, int]:
    footprint = cluster.footprint
    other = not group or cluster.group != group
    there = 0 if other else cluster.resident_bytes
    return other, -there, footprint.gpu, footprint.milli_cpu, footprint.memory_bytes


def grant(turn: Turn, cluster: Cluster, ask: Ask, outcome: Outcome, miss: Reason | None) -> Granted:
    """Give `cluster` to `ask`; the lease expires soon unless its holder shows itself."""
    now = turn.now
    digest = ask.pool if isinstance(ask, Waiter) else ask.key.digest
    pool = turn.state.pools[digest]
    settings = turn.settings(digest)
    ttl_s = ask.ttl_s if ask.ttl_s is not None else settings.lease_ttl_s
    hold_s = ask.hold_s if ask.hold_s is not None else settings.hold_s
    lease = Lease(
        id=ask.id if isinstance(ask, Waiter) else ask.lease_id,
        cluster=cluster.id,
        pool=digest,
        tenant=pool.key.tenant,
        caller=ask.caller,
        request_id=ask.request_id,
        holder=ask.holder,
        group=ask.group,
        priority=ask.priority,
        mode=ask.mode,
        epoch=cluster.epoch + 1,
        state=LeaseState.GRANTED,
        outcome=outcome,
        miss=miss,
        asked_at=ask.asked_at if isinstance(ask, Waiter) else now,
        granted_at=now,
        ttl_s=ttl_s,
        expires_at=now + min(ttl_s, settings.pickup_s, settings.max_lease_s or math.inf),
        max_until=now + settings.max_lease_s if settings.max_lease_s else 0.0,
        hold_s=min(hold_s, settings.hold_max_s),
        renewed_in=turn.state.generation,
    )
    if isinstance(ask, Waiter):
        turn.change(ask, None)
        learning.granted(turn.state, lease)
    turn.change(None, lease)
    fairness.charge_grant(turn.state, pool, cluster)
    turn.state.ages.used(cluster.id)
    learning.answered(turn.state, lease)
    turn.state.timers.arm(Kind.LEASE, lease.id, lease.expires_at)
    same = cluster.group == lease.group
    new = turn.move(
        cluster,
        ClusterMove.GRANT,
        epoch=lease.epoch,
        leases=(*cluster.leases, lease.id),
        uses=cluster.uses + 1,
        group=cluster.group if same else "",
        resident=cluster.resident if same else (),
        hold_until=0.0,
        grown_at=0.0,
        # Of an idle cluster they told why it kept its workers.
        reason=None,
        detail="",
    )
    return Granted(lease, new)


def serve(turn: Turn, digest: str) -> None:
    """Give the pool's idle clusters to its waiters, best rank first."""
    state = turn.state
    pool = state.pools[digest]
    index = state.index[digest]
    if pool.cordoned or not index.queue:
        return
    # Held clusters first: only waiters of their own group may have them.
    for id_ in list(index.wanted):
        group = state.clusters[id_].group
        ids = index.waiters_by_group.get(group)
        if not ids:
            continue
        better_is_busy = data_is_busy(state, index, group)
        waiters = [waiter for w in ids if not ((waiter := state.waiters[w]).local_until and better_is_busy)]
        best = next(Idle(state, pool, group, turn.now).of_group(), None)
        if waiters and best is not None:
            answer(turn, min(waiters, key=lambda w: (w.rank, w.asked_at)), best)
    for id_ in _held_larger(state, pool, index):
        cluster = state.clusters[id_]
        ids = index.waiters_by_group.get(cluster.group)
        if ids:
            answer(turn, min((state.waiters[w] for w in ids), key=lambda w: (w.rank, w.asked_at)), cluster)
    _serve_free(turn, pool, index)
    # Nobody of their group waits: they are made ready for those who do.
    missing = len(index.queue) - index.resetting
    if missing > 0 and index.resting:
        unwanted = (state.clusters[id_] for id_ in index.resting if id_ not in index.wanted)
        # Those with least data to lose; among equals, those that have rested longest.
        least = sorted(islice(unwanted, max(missing, LOOKED_AT)), key=lambda cluster: cluster.resident_bytes)
        for cluster in least[:missing]:
            turn.reset_again(cluster)


def _held_larger(state: State, pool: Pool, index: PoolIndex) -> list[str]:
    """Return the clusters of larger keys that are held for groups which wait here."""
    if not index.waiters_by_group:
        return []
    return [
        id_
        for digest in larger_of(state, pool.digest)
        if not state.pools[digest].cordoned
        for id_ in state.index[digest].held
        if state.clusters[id_].group in index.waiters_by_group
    ]


def _serve_free(turn: Turn, pool: Pool, index: PoolIndex) -> None:
    state, now = turn.state, turn.now
    served = True
    while served and index.queue:
        served = False
        for *_, id_ in index.queue:
            waiter = state.waiters[id_]
            patient = bool(waiter.local_until) and data_is_busy(state, index, waiter.group)
            cluster = pick(state, pool, waiter.group, now, own_only=patient)
            if cluster is not None:
                answer(turn, waiter, cluster)
                served = True
                break
            if not patient:
                # Nothing for the first that takes anything: the rest of the queue can get no more.
                return


def answer(turn: Turn, waiter: Waiter, cluster: Cluster) -> None:
    """Grant to a waiter and wake who listens for it."""
    # A cluster that somebody else runs was not started for anybody.
    started = turn.settings(cluster.pool).standing is None
    outcome = Outcome.WAITED
    if cluster.grown_at >= waiter.asked_at:
        outcome = Outcome.WARM_HEAD
    elif started and cluster.uses == 0 and (cluster.ready_at or 0.0) >= waiter.asked_at:
        outcome = Outcome.COLD
    granted = grant(turn, cluster, waiter, outcome, waiter.miss)
    turn.effect(Answer(waiter.id, granted))


def serve_smaller(turn: Turn, digest: str) -> None:
    """Offer the idle clusters that this pool does not need to waiters for smaller shapes of the same tenant."""
    state = turn.state
    index = state.index[digest]
    if not state.waiting_pools or not (index.free or index.held) or index.queue:
        return
    waiting = [other for other in smaller_of(state, digest) if other in state.waiting_pools]
    for other in sorted(waiting, key=lambda one: state.index[one].queue[0]):
        serve(turn, other)


def miss_reason(state: State, pool: Pool) -> Reason:
    """Return why no idle cluster answers an acquire now."""
    index = state.index[pool.digest]
    counts = index.counts
    if index.free:
        return Reason.BEHIND_OTHERS
    if state.settings(pool.digest).standing is not None:
        return standing.why_none(state, pool)
    if len(index.held) > len(index.resting):
        return Reason.ALL_HELD
    if index.resting:
        return Reason.ALL_RESETTING
    if index.degraded:
        return Reason.ALL_DEGRADED
    if index.shrunk or counts[SHRINKING] or counts[GROWING]:
        return Reason.WORKERS_LET_GO
    if counts[IDLE] or counts[WARM_HEAD]:
        return Reason.ALL_CORDONED
    if counts[RESETTING]:
        return Reason.ALL_RESETTING
    if counts[LEASED]:
        return Reason.ALL_LEASED
    if counts[STARTING]:
        return Reason.STARTING
    return Reason.NO_CLUSTER

"""Tells policies that learn what happens, and asks them when the situation of an idle cluster changes.

What is ahead of a workflow, and of a pool's rhythm, is told to `pool.core.ahead`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from pool.core import ahead
from pool.core.aims import of_sizing
from pool.core.gaps import Choice, Kind, Release
from pool.core.larger import larger_of, smaller_of
from pool.core.load import SUPPOSED_START_S, Load
from pool.core.model import Cluster, Lease, Outcome, Waiter
from pool.core.timers import Kind as Due

if TYPE_CHECKING:
    from pool.core.policy import Counter, Forecasting, Learner
    from pool.core.state import State


def keep_until(state: State, cluster: Cluster, now: float) -> float:
    """Return when to stop a cluster that nobody uses, if nobody asks for it before."""
    reclaim = state.settings(cluster.pool).reclaim
    if reclaim.learns():
        release = state.gaps.of(cluster.id)
        if release is not None:
            return release.until
    elif reclaim.counts():
        seen = state.idle_times.of(cluster.pool)
        if seen is not None:
            return cluster.idle_since + cast("Counter", reclaim).keep_s(seen)
    return reclaim.keep_until(cluster, state.pools[cluster.pool], now)


def why(state: State, cluster: Cluster) -> str:
    """Return why a cluster that nobody uses is kept as long as it is, in numbers; empty if nothing is known of it."""
    reclaim, release = state.settings(cluster.pool).reclaim, state.gaps.of(cluster.id)
    if reclaim.counts():
        seen = state.idle_times.of(cluster.pool)
        return "" if seen is None else cast("Counter", reclaim).why(seen)
    if release is None or release.situation is None or release.chosen is None or not reclaim.learns():
        return ""
    return cast("Learner", reclaim).why(release.situation, release.chosen)


def asked(state: State, digest: str, lease_id: str, group: str, now: float) -> None:
    """Somebody asks for a cluster of a pool: what lies below the latest release is the next to be used."""
    settings, index = state.settings(digest), state.index[digest]
    foreseen = ahead.asked(state, digest, lease_id, group, now)
    if settings.sizing.half_life_s:
        if index.load is None:
            index.load = Load(settings.sizing.half_life_s, now, state.habits)
            _recount(state, digest, index.load, now)
        index.load.asked(now, index.weighed_s or SUPPOSED_START_S, group=group, foreseen=foreseen)
        if not foreseen:
            state.sizes.forget_reserve(state.pools[digest])
        for smaller in smaller_of(state, digest):
            other = state.index[smaller]
            if other.load is not None:
                start_s = other.weighed_s or SUPPOSED_START_S
                other.load.asked(now, start_s, group=group, foreseen=foreseen, larger=True)
    if settings.reclaim.counts():
        state.idle_times.asked(digest, now, cast("Counter", settings.reclaim).half_life_s)
    if settings.reclaim.learns():
        state.gaps.asked(digest, now)
        _look(state, digest, state.gaps.top(digest), Kind.UNCOVERED, now)


def granted(state: State, lease: Lease) -> None:
    """Somebody has the lease that was waited for."""
    ahead.granted(state, lease.tenant, lease.group, lease.granted_at)


def ended(state: State, digest: str, lease_id: str, group: str, now: float) -> None:
    """A lease ended, or somebody who asked for one does so no more."""
    load, foreseen = state.index[digest].load, lease_id in state.foreseen
    if load is not None and load.ended(now, foreseen=foreseen):
        for smaller in smaller_of(state, digest):
            other = state.index[smaller].load
            if other is not None:
                other.ended(now, foreseen=foreseen, larger=True)
    ahead.ended(state, lease_id, state.pools[digest].key.tenant, group, now)
    state.foreseen.discard(lease_id)


def recount(state: State, now: float) -> None:
    """Other settings may have other pools serve a pool: count anew what is in use of them."""
    for digest, index in state.index.items():
        if index.load is not None:
            _recount(state, digest, index.load, now)


def _recount(state: State, digest: str, load: Load, now: float) -> None:
    others = (state.index[larger].load for larger in larger_of(state, digest))
    load.count_larger([other for other in others if other is not None], now)


def answered(state: State, lease: Lease, *, again: bool = False) -> None:
    """A lease is granted: where its pool has a target, what a start is worth moves towards it.

    Args:
        state: of the pool.
        lease: that is granted.
        again: whether it was before the restart, so that the snapshot may have it.
    """
    settings, aims = state.settings(lease.pool), state.aims
    hit, waited_s = lease.outcome is Outcome.HIT, lease.granted_at - lease.asked_at
    if settings.reclaim.learns() and (learner := cast("Learner", settings.reclaim)).aims():
        aim, start_s = aims.of(lease.pool), state.index[lease.pool].weighed_s
        if not (again and aims.knows(lease.pool, lease.granted_at)):
            aims.take(lease.pool, learner.aim(aim, hit, waited_s, start_s))
    if settings.sizing.half_life_s and (sizing := cast("Forecasting", settings.sizing)).aims():
        name = of_sizing(settings.name)
        if not (again and aims.knows(name, lease.granted_at)):
            aims.take(name, sizing.aim(aims.of(name), hit, waited_s))


def released(state: State, digest: str, cluster_id: str, now: float) -> None:
    """The last lease of a cluster ended."""
    reclaim = state.settings(digest).reclaim
    if reclaim.counts():
        state.idle_times.released(digest, now)
    if not reclaim.learns():
        return
    _look(state, digest, state.gaps.top(digest), Kind.BURIED, now)
    _look(state, digest, state.gaps.released(digest, cluster_id), Kind.FRESH, now)


def relive(state: State, leases: Iterable[Lease], waiters: Iterable[Waiter] = ()) -> None:
    """Learn from leases that were, as far as the store still told of them, what no snapshot has yet."""
    moments: list[tuple[float, int, str, Lease | Waiter]] = []
    for lease in leases:
        if lease.pool in state.index:
            # At one time ends come before asks, but for a lease that ended as it was asked for.
            at_once = lease.ended_at == lease.asked_at
            moments.append((lease.asked_at, 1 if at_once else 3, lease.id, lease))
            if lease.granted_at > lease.asked_at:
                moments.append((lease.granted_at, 4, lease.id, lease))
            if lease.ended_at is not None:
                moments.append((lease.ended_at, 2 if at_once else 0, lease.id, lease))
    moments += [(waiter.asked_at, 3, waiter.id, waiter) for waiter in waiters]
    for at, order, id_, record in sorted(moments, key=lambda moment: moment[:3]):
        if order % 2:
            state.gaps.forget_asks_from(record.pool, at)
            asked(state, record.pool, id_, record.group, at)
            if isinstance(record, Lease) and record.granted_at <= at:
                answered(state, record, again=True)
        elif isinstance(record, Lease) and order == 4:
            granted(state, record)
            answered(state, record, again=True)
        elif isinstance(record, Lease):
            ended(state, record.pool, id_, record.group, at)
            released(state, record.pool, record.cluster, at)


def _look(state: State, digest: str, release: Release | None, kind: Kind, now: float) -> None:
    if release is None:
        return
    learner, gaps = cast("Learner", state.settings(digest).reclaim), state.gaps
    start_s = state.index[digest].weighed_s
    situation = gaps.situation(digest, kind, start_s, now, state.aims.of(digest))
    if release.cluster not in state.clusters and gaps.is_settled(release, now):
        # There is nothing to keep, and nothing that what is expected now would be learned for.
        chosen = Choice(learner.classes(situation), 0.0, 0.0)
    else:
        chosen = learner.choose(situation, gaps.curves, now)
    gaps.watch(release, situation, chosen, learner.half_life_s, now)
    if release.cluster in state.evictable:
        state.timers.arm(Due.KEEP, release.cluster, release.until)

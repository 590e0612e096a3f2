"""Why a waiter waits, as of now: for the answers of long-polls and for the operator."""

from __future__ import annotations

from bisect import bisect_left

from pool.core import capacity, fairness, grant, standing
from pool.core.decisions import Queued
from pool.core.model import ClusterState, Mode, Pool, Waiter
from pool.core.reasons import Reason
from pool.core.state import State

SCAN = 64
"""An expectation is drawn from at most so many leases."""


def queued(state: State, waiter: Waiter, now: float) -> Queued:
    """Return position, reason, expected time and phase of a waiter."""
    index = state.index[waiter.pool]
    position = index.position(waiter)
    reason, detail = _reason(state, waiter, now)
    return Queued(waiter, position, reason, detail, _expected_at(state, waiter, position, now), _phase(state, waiter))


def _reason(state: State, waiter: Waiter, now: float) -> tuple[Reason, str]:
    pool = state.pools[waiter.pool]
    index = state.index[waiter.pool]
    if pool.cordoned:
        return Reason.POOL_CORDONED, Reason.POOL_CORDONED.sentence
    if waiter.local_until > now and grant.data_is_busy(state, index, waiter.group):
        return Reason.LOCALITY_WAIT, _own_cluster(state, waiter)
    if index.counts[ClusterState.GROWING]:
        return Reason.GROWING, Reason.GROWING.sentence
    if index.counts[ClusterState.SHRINKING]:
        return Reason.WORKERS_LET_GO, Reason.WORKERS_LET_GO.sentence
    if waiter.mode is Mode.WAIT and not index.shrunk:
        return Reason.WAIT_ONLY, f"{waiter.miss.sentence} {Reason.WAIT_ONLY.sentence}"
    if state.settings(pool.digest).standing is not None:
        return _why_none(state, pool)
    if index.counts[ClusterState.STARTING]:
        return Reason.STARTING, Reason.STARTING.sentence
    blocked = capacity.start_blocked(state, pool, now)
    if blocked is not None:
        return blocked
    if index.counts[ClusterState.RESETTING]:
        return Reason.ALL_RESETTING, Reason.ALL_RESETTING.sentence
    if index.counts[ClusterState.LEASED]:
        return Reason.RELEASE_EXPECTED, Reason.RELEASE_EXPECTED.sentence
    return waiter.miss, waiter.miss.sentence


def _own_cluster(state: State, waiter: Waiter) -> str:
    """Return which cluster of its group's is waited for: the one with most of its data, or one that is being reset."""
    own = [state.clusters[id_] for id_ in state.index[waiter.pool].busy_by_group[waiter.group]]
    cluster = own[0] if own[0].resident_bytes else next(c for c in own if c.state is ClusterState.RESETTING)
    why = "which its group used last"
    if cluster.resident_bytes:
        why = f"which has {cluster.resident_bytes / 1e6:,.1f} MB of its group's data"
    does = "is being reset" if cluster.state is ClusterState.RESETTING else "is leased"
    return f"{cluster.id}, {why}, {does}: it is waited for, for a bounded time."


def _why_none(state: State, pool: Pool) -> tuple[Reason, str]:
    """Return why no cluster of somebody else's serves: none is ever started for a waiter."""
    reason = standing.why_none(state, pool)
    said = pool.last_error if reason is Reason.NONE_REACHED and pool.failures else ""
    return reason, f"{reason.sentence} {said}".strip()


def _phase(state: State, waiter: Waiter) -> str:
    index = state.index[waiter.pool]
    if index.starting and state.settings(waiter.pool).standing is None:
        return state.clusters[next(iter(index.starting))].phase or "starting"
    return "queued"


def _expected_at(state: State, waiter: Waiter, position: int, now: float) -> float | None:
    """Return when the waiter at a position is expected to be served, None if nothing is known.

    Where tenants share room, those of others that are served before come first; and a cluster of theirs that comes free
    is replaced, which takes a start.
    """
    pool = state.pools[waiter.pool]
    start_s = state.index[waiter.pool].start_s.value_s or 0.0
    times = [(at, 0.0) for at in _come_free(state, waiter.pool, now)]
    for digest, before in fairness.ahead(state, pool, position):
        position += before
        times += [(at, start_s) for at in _come_free(state, digest, now)]
    times.sort()
    return sum(times[position - 1]) if position <= len(times) else None


def _come_free(state: State, digest: str, now: float) -> list[float]:
    """Return when clusters of a pool are expected to come free."""
    index = state.index[digest]
    start_s, grow_s, lease_s = index.start_s.value_s, index.grow_s.value_s, index.lease_s.value_s
    times: list[float] = []
    for cluster in (state.clusters[id_] for id_ in index.starting):
        starts = cluster.state is ClusterState.STARTING
        takes_s = start_s if starts else grow_s
        if takes_s is not None:
            times.append(max(now, (cluster.created_at if starts else cluster.changed_at) + takes_s))
    if grow_s is not None:
        times += [now + grow_s] * index.counts[ClusterState.SHRINKING]
    times += [now] * index.resetting
    if lease_s is not None:
        seconds = sorted(index.granted)
        first = bisect_left(seconds, now - lease_s)
        for second in seconds[first : first + SCAN]:
            times += [second + lease_s] * index.granted[second]
    return times


def worth(state: State, digest: str) -> str:
    """Return what an idle hour of a pool's cluster and a start of one cost, in numbers; empty without prices."""
    prices, start_s = state.settings(digest).prices, state.typical_start_s(digest)
    hour = prices.idle(state.pools[digest].key.footprint)
    if not hour:
        return ""
    if start_s is None:
        return f"an hour of it idle costs {hour:,.2f}"
    start = (hour + prices.waiting) * start_s / 3600
    return (
        f"an hour of it idle costs {hour:,.2f}, and a start of {start_s:.0f} s, with who waits for it, {start:,.2f}:"
        f" as much as {3600 * start / hour:.0f} s of idle time"
    )

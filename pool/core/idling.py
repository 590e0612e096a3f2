"""How many idle clusters a pool should have now, what for, and whether one of them may go."""

from __future__ import annotations

from pool.core.model import GROWING, IDLE, LEASED, RESETTING, STARTING, WARM_HEAD, Cluster, Pool
from pool.core.policy import Demand
from pool.core.reasons import Reason
from pool.core.state import State

FLOOR_LOOK_S, SLOWEST_LOOK_S = 60.0, 600.0
"""An idle cluster that a floor protects is looked at again this often: at first, and when it was idle for long."""


def idle_target(state: State, pool: Pool, now: float) -> int:
    """Return how many idle clusters are wanted now: by the pool's sizing, and for what is expected."""
    if pool.cordoned:
        return 0
    expected = state.index[pool.digest].expected
    return _sized(state, pool, now) + (expected.wanted(now) if expected else 0)


def _sized(state: State, pool: Pool, now: float) -> int:
    """Return how many idle clusters the pool's sizing wants now."""
    settings = state.settings(pool.digest)
    floor = state.rules.floors.get(pool.name, 0)
    if not (floor or pool.min_idle or settings.sizing.wants()):
        return 0
    index = state.index[pool.digest]
    forgotten = now - max(index.last_asked_at, pool.created_at) > settings.floor_for_s
    if forgotten and not settings.pinned:
        return 0
    counts = index.counts
    demand = Demand(
        counts[LEASED],
        counts[IDLE] + counts[RESETTING],
        counts[STARTING] + counts[GROWING],
        floor,
        index.last_asked_at,
        pool.min_idle,
        counts[WARM_HEAD],
        index.creators,
        index.start_s.value_s,
        index.load,
    )
    return settings.sizing.idle_target(demand, now)


def floor_needs(state: State, cluster: Cluster, now: float) -> bool:
    """Tell whether the pool's floor would be short of an idle cluster without this one.

    A floor is made of clusters that can be granted at once: a cordoned one, or one without workers, protects it no more
    than it is protected by it.
    """
    index = state.index[cluster.pool]
    if cluster.state is not IDLE or not cluster.grantable:
        return False
    return len(index.free) + len(index.resting) <= idle_target(state, state.pools[cluster.pool], now)


def look_again_s(cluster: Cluster, now: float) -> float:
    """Return after how long to look again at an idle cluster that a floor protects."""
    return min(SLOWEST_LOOK_S, max(FLOOR_LOOK_S, (now - cluster.idle_since) / 4))


def causes(state: State, pool: Pool, now: float, target: int) -> list[Reason]:
    """Return for what each of so many idle clusters is wanted: what its sizing wants comes first."""
    index = state.index[pool.digest]
    expected = index.expected.wanted(now)
    rhythm = index.expected.for_rhythm()
    sized = Reason.FLOOR if index.counts[LEASED] == 0 else Reason.BUFFER
    wanted = [sized] * (target - expected)
    return [*wanted, *[Reason.FORECAST] * rhythm, *[Reason.LOOK_AHEAD] * (expected - rhythm)]

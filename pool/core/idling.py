"""How many idle clusters a pool should have now, what for, and whether one of them may go."""

from __future__ import annotations

import math

from pool.core.model import GROWING, IDLE, LEASED, RESETTING, STARTING, WARM_HEAD, Cluster, Pool
from pool.core.policy import Demand
from pool.core.reasons import Reason
from pool.core.state import State

FLOOR_LOOK_S, SLOWEST_LOOK_S = 60.0, 600.0
"""An idle cluster that a floor protects is looked at again this often: at first, and when it was idle for long."""

RHYTHM_LOOK_S = 1_800.0
"""A pool whose sizing looks at demand is looked at this often: hours of the day differ."""


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
    if not (floor or pool.min_idle or settings.sizing.wants()) or _forgotten(state, pool, now):
        return 0
    return settings.sizing.idle_target(_demand(state, pool), now)


def _demand(state: State, pool: Pool) -> Demand:
    """Return what sizing may look at."""
    index = state.index[pool.digest]
    counts = index.counts
    return Demand(
        counts[LEASED],
        counts[IDLE] + counts[RESETTING],
        counts[STARTING] + counts[GROWING],
        state.rules.floors.get(pool.name, 0),
        index.last_asked_at,
        pool.min_idle,
        counts[WARM_HEAD],
        index.creators,
        index.start_s.value_s,
        index.load,
    )


def why(state: State, pool: Pool, now: float) -> str:
    """Return why the pool's sizing wants as many idle clusters as it does, in numbers; empty if it has none to tell."""
    if pool.cordoned or _forgotten(state, pool, now):
        return ""
    return state.settings(pool.digest).sizing.why(_demand(state, pool), now)


def _forgotten(state: State, pool: Pool, now: float) -> bool:
    """Tell whether nobody asked for so long that nothing stands ready any more."""
    settings = state.settings(pool.digest)
    asked_at = max(state.index[pool.digest].last_asked_at, pool.created_at)
    return now - asked_at > settings.floor_for_s and not settings.pinned


def next_look(state: State, pool: Pool, now: float) -> float:
    """Return when to see again whether more are wanted, though nothing happens; infinity for never.

    What is wanted by demand that was seen rises with the hour of the day.
    """
    if state.index[pool.digest].load is None or _forgotten(state, pool, now):
        return math.inf
    return now + RHYTHM_LOOK_S


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

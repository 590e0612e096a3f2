"""What could have been had, had one known what comes: the optimum, and the best rule of a kind.

Of one key the idle clusters are interchangeable, so each arrival is paired with the most recent release that has none
yet (last in, first out). A pair is a *gap*: to bridge it costs its idle seconds, not to bridge it a start, priced at
the break-even time T* of idle seconds (F/c). How many clusters are leased does not depend on which gaps were bridged,
so the gaps are the same for every policy, and keeping exactly those of at most T* is optimal while no ceiling binds;
where one does, `pool.replay.ceiling` finds which.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from pool.replay.ceiling import Arrival, least
from pool.replay.demand import Job

DEPTHS = 20
"""Deeper in the idle stack than this, gaps are one class: few are there."""


class Gap(NamedTuple):
    """The time between a release and the arrival that could use its cluster.

    Attributes:
        pool: digest of the key.
        depth: how many idle clusters of the key were there before it.
        begins_s: when the release was.
        ends_s: when that arrival was; infinity if nobody came.
    """

    pool: str
    depth: int
    begins_s: float
    ends_s: float

    @property
    def seconds(self) -> float:
        """How long it is; infinity if nobody came."""
        return self.ends_s - self.begins_s

    def counted_s(self, since_s: float) -> float:
        """Return how much of it comes after a time from which on it counts."""
        return self.ends_s - max(self.begins_s, since_s)


class First(NamedTuple):
    """An arrival that had nothing to wait for it, whatever was kept."""

    pool: str
    at_s: float


class Demand(NamedTuple):
    """The gaps of a trace, and the arrivals that come after none.

    Attributes:
        gaps: those whose arrival counts, or that nobody ends.
        firsts: those that count.
        since_s: what comes earlier is not counted.
    """

    gaps: tuple[Gap, ...]
    firsts: tuple[First, ...]
    since_s: float = -math.inf


def demand(jobs: Iterable[Job], since_s: float = -math.inf) -> Demand:
    """Return the gaps of jobs that each get their cluster at once.

    Args:
        jobs: in any order.
        since_s: from when on a replay counts. An arrival before it costs nothing, whatever was there; of a gap over it
            what comes later costs idle time.
    """
    moments: list[tuple[float, bool, int, str]] = []
    for n, job in enumerate(jobs):
        moments.append((job.arrival_s, True, n, job.key.digest))
        moments.append((job.arrival_s + job.duration_s, False, n, job.key.digest))
    # Of what happens at one time, a release comes first: who arrives then finds its cluster.
    moments.sort()
    gaps: list[Gap] = []
    idle: defaultdict[str, list[float]] = defaultdict(list)
    firsts: list[First] = []
    for at, arrives, _, pool in moments:
        stack = idle[pool]
        if not arrives:
            stack.append(at)
        elif stack:
            begins_s = stack.pop()
            gaps.append(Gap(pool, len(stack), begins_s, at))
        else:
            firsts.append(First(pool, at))
    for pool, stack in idle.items():
        gaps += [Gap(pool, depth, at, math.inf) for depth, at in enumerate(stack)]
    return Demand(
        tuple(gap for gap in gaps if gap.ends_s >= since_s),
        tuple(first for first in firsts if first.at_s >= since_s),
        since_s,
    )


class Hindsight(NamedTuple):
    """What could have been had of one pool, in cluster seconds.

    Attributes:
        optimum: the least possible ``idle + T* x misses`` without starts before demand, under the ceiling if there is
            one.
        optimum_unbounded: the same without a ceiling.
        optimum_prewarming: what who starts clusters just in time pays for idle time, starts and, where the ceiling
            leaves no room for them, misses.
        static: the objective of the best fixed TTL for each depth of the idle stack, without a ceiling.
    """

    optimum: float
    optimum_unbounded: float
    optimum_prewarming: float
    static: float


def hindsight(
    jobs: Sequence[Job],
    break_even_s: float,
    start_s: float,
    *,
    clusters: int | None = None,
    since_s: float = -math.inf,
) -> dict[str, Hindsight]:
    """Return what could have been had, by pool; what pools have under a common ceiling is best for all together.

    Args:
        jobs: that each get their cluster at once.
        break_even_s: T*, the idle seconds that cost as much as one miss.
        start_s: what a start takes.
        clusters: the ceiling: so many may exist at once; None for no limit.
        since_s: from when on it counts.

    Raises:
        PoolError: there is a ceiling, and scipy is not installed.
    """
    seen = demand(jobs, since_s)
    pools: dict[str, Demand] = {}
    gaps: defaultdict[str, list[Gap]] = defaultdict(list)
    firsts: defaultdict[str, list[First]] = defaultdict(list)
    for gap in seen.gaps:
        gaps[gap.pool].append(gap)
    for first in seen.firsts:
        firsts[first.pool].append(first)
    # Each pool has its last gap at least, which nobody ends.
    pools = {pool: Demand(tuple(gaps[pool]), tuple(firsts[pool]), since_s) for pool in dict.fromkeys([*gaps, *firsts])}
    free = {pool: optimum(its, break_even_s) for pool, its in pools.items()}
    ahead = {pool: optimum_prewarming(its, start_s) for pool, its in pools.items()}
    bounded = free
    if clusters is not None:
        bounded = optimum_under(seen, jobs, break_even_s, clusters)
        ahead = optimum_prewarming_under(seen, jobs, break_even_s, start_s, clusters)
    return {
        pool: Hindsight(bounded.get(pool, 0.0), free[pool], ahead.get(pool, 0.0), best_static(its, break_even_s))
        for pool, its in pools.items()
    }


def optimum(seen: Demand, break_even_s: float) -> float:
    """Return the least possible ``idle + T* x misses`` without a ceiling and without starts before demand."""
    kept = sum(min(gap.counted_s(seen.since_s), break_even_s) for gap in seen.gaps if gap.ends_s < math.inf)
    return kept + break_even_s * len(seen.firsts)


def optimum_under(seen: Demand, jobs: Sequence[Job], break_even_s: float, clusters: int) -> dict[str, float]:
    """Return the least possible ``idle + T* x misses`` under a ceiling, as each pool's part of it."""
    arrivals = [Arrival(gap.pool, gap.begins_s, gap.ends_s) for gap in seen.gaps if gap.ends_s < math.inf]
    arrivals += [Arrival(first.pool, -math.inf, first.at_s) for first in seen.firsts]
    return least(arrivals, jobs, break_even_s, clusters, since_s=seen.since_s)


def optimum_prewarming(seen: Demand, start_s: float) -> float:
    """Return the cluster seconds of who also starts clusters just in time: nobody waits, each start takes its time."""
    kept = sum(min(gap.counted_s(seen.since_s), start_s) for gap in seen.gaps if gap.ends_s < math.inf)
    begun = sum(max(0.0, seen.since_s - (first.at_s - start_s)) for first in seen.firsts)
    return kept + start_s * len(seen.firsts) - begun


def optimum_prewarming_under(
    seen: Demand, jobs: Sequence[Job], break_even_s: float, start_s: float, clusters: int
) -> dict[str, float]:
    """Return what who also starts clusters just in time pays under a ceiling, as each pool's part of it.

    A start needs room as well, while it lasts. Who finds none misses: T*, and a start at least.
    """
    arrivals = [
        Arrival(gap.pool, max(gap.begins_s, gap.ends_s - start_s), gap.ends_s)
        for gap in seen.gaps
        if gap.ends_s < math.inf
    ]
    arrivals += [Arrival(first.pool, first.at_s - start_s, first.at_s) for first in seen.firsts]
    return least(arrivals, jobs, max(break_even_s, start_s), clusters, since_s=seen.since_s)


def best_static(seen: Demand, break_even_s: float, *, depths: int = DEPTHS) -> float:
    """Return the objective of the best fixed TTL for each key and depth of the idle stack, chosen in hindsight."""
    classes: defaultdict[tuple[str, int], list[Gap]] = defaultdict(list)
    for gap in seen.gaps:
        classes[gap.pool, min(gap.depth, depths)].append(gap)
    kept = sum(_best_of(gaps, break_even_s, seen.since_s) for gaps in classes.values())
    return break_even_s * len(seen.firsts) + kept


def _best_of(gaps: Sequence[Gap], break_even_s: float, since_s: float) -> float:
    """Return the least cost of one TTL over all `gaps`: keep nothing, or up to one of them."""
    finite = sorted(gap.seconds for gap in gaps if gap.ends_s < math.inf)
    # Of gaps that began before it counts, so much costs nothing.
    free = [since_s - gap.begins_s for gap in gaps if gap.begins_s < since_s]
    costs = (
        kept_s + (len(gaps) - n) * ttl_s + break_even_s * (len(finite) - n) - sum(min(free_s, ttl_s) for free_s in free)
        for n, (ttl_s, kept_s) in enumerate(zip(finite, accumulate(finite), strict=True), 1)
    )
    return min([break_even_s * len(finite), *costs])

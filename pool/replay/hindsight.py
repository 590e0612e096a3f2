"""What could have been had, had one known what comes: the optimum, and the best rule of a kind.

Of one key the idle clusters are interchangeable, so each arrival is paired with the most recent release that has none
yet (last in, first out). A pair is a *gap*: to bridge it costs its idle seconds, not to bridge it a start, priced at
the break-even time T* of idle seconds (F/c). How many clusters are leased does not depend on which gaps were bridged,
so the gaps are the same for every policy, and keeping exactly those of at most T* is optimal while no ceiling binds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from pool.replay.demand import Job

DEPTHS = 20
"""Deeper in the idle stack than this, gaps are one class: few are there."""


class Gap(NamedTuple):
    """The time between a release and the arrival that could use its cluster.

    Attributes:
        pool: digest of the key.
        depth: how many idle clusters of the key were there before it.
        seconds: infinity if nobody came.
    """

    pool: str
    depth: int
    seconds: float


class Demand(NamedTuple):
    """The gaps of a trace, and how many arrivals had nothing to wait for them, whatever was kept."""

    gaps: tuple[Gap, ...]
    first: int


def demand(jobs: Iterable[Job]) -> Demand:
    """Return the gaps of jobs that each get their cluster at once."""
    moments: list[tuple[float, bool, int, str]] = []
    for n, job in enumerate(jobs):
        moments.append((job.arrival_s, True, n, job.key.digest))
        moments.append((job.arrival_s + job.duration_s, False, n, job.key.digest))
    # Of what happens at one time, a release comes first: who arrives then finds its cluster.
    moments.sort()
    gaps: list[Gap] = []
    idle: defaultdict[str, list[float]] = defaultdict(list)
    first = 0
    for at, arrives, _, pool in moments:
        stack = idle[pool]
        if not arrives:
            stack.append(at)
        elif stack:
            gaps.append(Gap(pool, len(stack) - 1, at - stack.pop()))
        else:
            first += 1
    for pool, stack in idle.items():
        gaps += [Gap(pool, depth, math.inf) for depth in range(len(stack))]
    return Demand(tuple(gaps), first)


def optimum(seen: Demand, break_even_s: float) -> float:
    """Return the least possible ``idle + T* x misses`` without a ceiling and without starts before demand."""
    return (
        sum(min(gap.seconds, break_even_s) for gap in seen.gaps if gap.seconds < math.inf) + break_even_s * seen.first
    )


def optimum_prewarming(seen: Demand, start_s: float) -> float:
    """Return the cluster seconds of who also starts clusters just in time: nobody waits, each start takes its time."""
    return sum(min(gap.seconds, start_s) for gap in seen.gaps if gap.seconds < math.inf) + start_s * seen.first


def best_static(seen: Demand, break_even_s: float, *, depths: int = DEPTHS) -> float:
    """Return the objective of the best fixed TTL for each key and depth of the idle stack, chosen in hindsight."""
    classes: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for gap in seen.gaps:
        classes[gap.pool, min(gap.depth, depths)].append(gap.seconds)
    return break_even_s * seen.first + sum(_best_of(gaps, break_even_s) for gaps in classes.values())


def _best_of(gaps: Sequence[float], break_even_s: float) -> float:
    """Return the least cost of one TTL over all `gaps`: keep nothing, or up to one of them."""
    finite = sorted(gap for gap in gaps if gap < math.inf)
    costs = (
        kept_s + (len(gaps) - n) * ttl_s + break_even_s * (len(finite) - n)
        for n, (ttl_s, kept_s) in enumerate(zip(finite, accumulate(finite), strict=True), 1)
    )
    return min([break_even_s * len(finite), *costs])

"""What idle time buys: policies as points of cluster hours that stood idle against the waiting that was left.

Of fixed idle times both follow from the gaps alone, while starts are charged and no ceiling binds (the tests hold the
replay to that); of any other policy they are replayed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean
from typing import NamedTuple

from pool.replay.demand import Job
from pool.replay.figures import PoolFigures
from pool.replay.hindsight import demand
from pool.replay.times import Times

IDLE_TIMES_S = (0.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 450.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
                5400.0, 7200.0, 14_400.0)  # fmt: skip
"""The fixed idle times that are shown."""


class Point(NamedTuple):
    """One policy on one demand.

    Attributes:
        name: of the policy.
        idle_s: cluster seconds that stood idle.
        waited_s: what a lease waited on average.
        hit_rate: share of the leases that an idle cluster answered at once.
    """

    name: str
    idle_s: float
    waited_s: float
    hit_rate: float


def point(name: str, figures: PoolFigures) -> Point:
    """Return the point of a replay."""
    waited_s = fmean(figures.waits_s) if figures.waits_s else 0.0
    return Point(name, figures.idle_s, waited_s, 1.0 - figures.misses / max(1, figures.leases))


def fixed_times(jobs: Sequence[Job], times: Times, since_s: float = -math.inf) -> list[Point]:
    """Return the points of fixed idle times, the shortest first; as if no job had a group to prefer a cluster for.

    Args:
        jobs: that each get their cluster at once.
        times: of the clusters.
        since_s: from when on it counts.
    """
    seen = demand(jobs, since_s)
    count = _counted(jobs, since_s)
    free = [since_s - gap.begins_s for gap in seen.gaps if gap.begins_s < since_s]
    gaps = sorted(gap.seconds for gap in seen.gaps)
    kept = [0.0, *accumulate(gaps)]
    start_s = fmean(times.starts_s)
    points = []
    for idle_s in IDLE_TIMES_S:
        hits = bisect_right(gaps, idle_s)
        idle = kept[hits] + idle_s * (len(gaps) - hits) - sum(min(free_s, idle_s) for free_s in free)
        points.append(Point(_short(idle_s), idle, start_s * (1 - hits / count), hits / count))
    return points


def _counted(jobs: Sequence[Job], since_s: float) -> int:
    return sum(job.arrival_s >= since_s for job in jobs)


def _short(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def best(jobs: Sequence[Job], break_even_s: float, times: Times, since_s: float = -math.inf) -> Point:
    """Return the point of who knows all that comes, and starts nothing before it is asked for."""
    seen = demand(jobs, since_s)
    counted = [gap.counted_s(since_s) for gap in seen.gaps]
    kept = [seconds for seconds in counted if seconds <= break_even_s]
    share = len(kept) / _counted(jobs, since_s)
    return Point("the optimum", sum(kept), fmean(times.starts_s) * (1 - share), share)

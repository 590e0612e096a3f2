"""What a replay is told as: figures in total and per pool, and how far they are from the best that could be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from pool.replay.demand import Job
from pool.replay.figures import Ledger, PoolFigures
from pool.replay.hindsight import best_static, demand, optimum, optimum_prewarming
from pool.replay.times import Times


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a replay.

    Attributes:
        leases, hits, misses: how many leases, and how many an idle cluster answered at once, or not.
        hit_rate: share of hits, from 0 to 1.
        wait_p50_s, wait_p95_s, wait_p99_s: waits, by nearest rank.
        idle_s, busy_s, cluster_s: cluster seconds idle, leased, and in any state.
        starts: clusters that were started.
        refused: jobs that got no lease.
        objective: ``idle_s + T* x misses``, in cluster seconds.
        optimum: the least possible objective without starts before demand, where no ceiling binds.
        ratio_to_optimum: of the objective.
        optimum_prewarming: cluster seconds of who starts every cluster just in time, each start taking its time.
        ratio_of_hindsight: objective over optimum of the best fixed TTL per key and depth of the idle stack, chosen in
            hindsight: the yardstick for a policy that learns.
    """

    leases: int
    hits: int
    misses: int
    hit_rate: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    idle_s: float
    busy_s: float
    cluster_s: float
    starts: int
    refused: int
    break_even_s: float
    objective: float
    optimum: float
    ratio_to_optimum: float
    optimum_prewarming: float
    ratio_of_hindsight: float

    def figures(self) -> dict[str, Any]:
        """Return them as plain data, rounded to what they are good for."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def report(ledger: Ledger, jobs: Sequence[Job], break_even_s: float, times: Times, *, refused: int = 0) -> Report:
    """Return the figures of a replay in total.

    Args:
        ledger: of the replay.
        jobs: that were replayed.
        break_even_s: T*, the idle seconds that cost as much as one miss.
        times: of its clusters.
        refused: jobs that got no lease.
    """
    seen = demand(jobs)
    best = optimum(seen, break_even_s)
    total: PoolFigures = ledger.total()
    waits = sorted(total.waits_s)
    objective = total.idle_s + break_even_s * total.misses
    return Report(
        leases=total.leases,
        hits=total.leases - total.misses,
        misses=total.misses,
        hit_rate=_share(total.leases - total.misses, total.leases),
        wait_p50_s=percentile(waits, 0.5),
        wait_p95_s=percentile(waits, 0.95),
        wait_p99_s=percentile(waits, 0.99),
        idle_s=total.idle_s,
        busy_s=total.busy_s,
        cluster_s=sum(total.state_s.values()),
        starts=total.started,
        refused=refused,
        break_even_s=break_even_s,
        objective=objective,
        optimum=best,
        ratio_to_optimum=_share(objective, best),
        optimum_prewarming=optimum_prewarming(seen, fmean(times.starts_s)),
        ratio_of_hindsight=_share(best_static(seen, break_even_s), best),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of sorted values lie (nearest rank), 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0

"""What a replay is told as: figures in total and per pool, and how far they are from the best that could be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean
from typing import Any

from pool.core.key import ClusterKey
from pool.core.settings import FREE, Prices
from pool.replay.demand import Job, counted_from
from pool.replay.figures import Ledger, PoolFigures, cost_of
from pool.replay.hindsight import Hindsight, hindsight
from pool.replay.times import Times


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a replay, of all pools together or of one.

    Attributes:
        leases, hits, misses: how many leases, and how many an idle cluster answered at once, or not.
        hit_rate: share of hits, from 0 to 1.
        wait_p50_s, wait_p95_s, wait_p99_s: waits, by nearest rank.
        idle_s, busy_s, cluster_s: cluster seconds idle, leased, and in any state.
        starts: clusters that were started.
        refused: jobs that got no lease.
        cost: of idle clusters, of starting, resetting and stopping ones, and of waiting, at the given prices.
        objective: ``idle_s + T* x misses``, in cluster seconds.
        optimum: the least possible objective without starts before demand, under the ceiling if there is one.
        optimum_unbounded: the same without a ceiling.
        ratio_to_optimum: of the objective.
        optimum_prewarming: cluster seconds of who starts every cluster just in time, each start taking its time, and T*
            for those for whom the ceiling leaves no room.
        ratio_of_hindsight: objective over optimum, both without a ceiling, of the best fixed TTL per key and depth of
            the idle stack, chosen in hindsight: the yardstick for a policy that learns.
        pools: the same of each pool, by digest.
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
    cost: float
    break_even_s: float
    objective: float
    optimum: float
    optimum_unbounded: float
    ratio_to_optimum: float
    optimum_prewarming: float
    ratio_of_hindsight: float
    pools: Mapping[str, Report] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """Return them as plain data, rounded to what they are good for; without those of each pool."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "pools"}
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def report(
    ledger: Ledger,
    jobs: Sequence[Job],
    break_even_s: float,
    times: Times,
    *,
    clusters: int | None = None,
    prices: Callable[[ClusterKey], Prices] = lambda key: FREE,
    warm_up_s: float = 0.0,
) -> Report:
    """Return the figures of a replay in total and of each pool.

    Args:
        ledger: of the replay.
        jobs: that were replayed.
        break_even_s: T*, the idle seconds that cost as much as one miss.
        times: of its clusters.
        clusters: the ceiling that the optimum has, too: so many may exist at once; None for no limit.
        prices: of a key's pool.
        warm_up_s: of the replay. The optima count as it does: see `pool.replay.hindsight.demand`.

    Raises:
        PoolError: there is a ceiling, and scipy, which finds the optimum under it, is not installed.
    """
    keys = {job.key.digest: job.key for job in jobs}
    since_s = counted_from(jobs, warm_up_s)
    asked = Counter(job.key.digest for job in jobs if job.arrival_s >= since_s)
    best = hindsight(jobs, break_even_s, fmean(times.starts_s), clusters=clusters, since_s=since_s)
    pools: dict[str, Report] = {}
    for digest, key in keys.items():
        found = ledger.pools.get(digest, PoolFigures())
        cost = cost_of(found, key, prices(key))
        pools[digest] = _report(found, asked[digest], cost, break_even_s, best[digest])
    total = Hindsight(*(sum(parts) for parts in zip(*best.values(), strict=True)))
    cost = sum(one.cost for one in pools.values())
    return _report(ledger.total(), asked.total(), cost, break_even_s, total, pools)


def _report(
    found: PoolFigures,
    asked: int,
    cost: float,
    break_even_s: float,
    best: Hindsight,
    pools: Mapping[str, Report] | None = None,
) -> Report:
    waits = sorted(found.waits_s)
    objective = found.idle_s + break_even_s * found.misses
    return Report(
        leases=found.leases,
        hits=found.leases - found.misses,
        misses=found.misses,
        hit_rate=_share(found.leases - found.misses, found.leases),
        wait_p50_s=percentile(waits, 0.5),
        wait_p95_s=percentile(waits, 0.95),
        wait_p99_s=percentile(waits, 0.99),
        idle_s=found.idle_s,
        busy_s=found.busy_s,
        cluster_s=sum(found.state_s.values()),
        starts=found.started,
        refused=asked - found.leases,
        cost=cost,
        break_even_s=break_even_s,
        objective=objective,
        optimum=best.optimum,
        optimum_unbounded=best.optimum_unbounded,
        ratio_to_optimum=_share(objective, best.optimum),
        optimum_prewarming=best.optimum_prewarming,
        ratio_of_hindsight=_share(best.static, best.optimum_unbounded),
        pools=pools or {},
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of sorted values lie (nearest rank), 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0

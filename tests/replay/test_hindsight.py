"""The optimum is the least that any choice of gaps costs, and no policy beats it."""

from __future__ import annotations

import math
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from pool.core.key import ClusterKey, Shape
from pool.replay import Job
from pool.replay.hindsight import Demand, First, Gap, best_static, demand, optimum, optimum_prewarming

KEYS = [ClusterKey(name, Shape(), "t") for name in ("a", "b")]
times = st.integers(0, 40).map(float)
jobs_of = st.lists(st.builds(Job, times, times, st.sampled_from(KEYS)), min_size=1, max_size=7)
break_evens = st.sampled_from([0.0, 1.0, 5.0, 20.0, 100.0])


def least(jobs: list[Job], break_even_s: float) -> float:
    """Try everything: which earlier release each arrival takes its cluster from, if any."""
    best = math.inf
    before = [
        [
            None,
            *(m for m, other in enumerate(jobs) if m != n and other.key == job.key and _ends(other) <= job.arrival_s),
        ]
        for n, job in enumerate(jobs)
    ]
    for choice in product(*before):
        taken = [m for m in choice if m is not None]
        if len(set(taken)) == len(taken):
            idle_s = sum(jobs[n].arrival_s - _ends(jobs[m]) for n, m in enumerate(choice) if m is not None)
            best = min(best, idle_s + break_even_s * choice.count(None))
    return best


def _ends(job: Job) -> float:
    return job.arrival_s + job.duration_s


@given(jobs_of.filter(lambda jobs: all(job.duration_s > 0 for job in jobs)), break_evens)
def test_the_optimum_is_the_least_over_all_ways_to_pair_arrivals_with_releases(
    jobs: list[Job], break_even_s: float
) -> None:
    assert math.isclose(optimum(demand(jobs), break_even_s), least(jobs, break_even_s), abs_tol=1e-9)


gaps = st.lists(
    st.builds(
        Gap,
        st.sampled_from(["a", "b"]),
        st.integers(0, 3),
        st.just(0.0),
        st.sampled_from([0.0, 1.0, 3.0, 7.0, 30.0, math.inf]),
    ),
    max_size=12,
)


@given(gaps, break_evens)
def test_the_best_static_idle_time_is_the_best_of_all_that_could_matter(found: list[Gap], break_even_s: float) -> None:
    def cost(of: list[Gap], ttl_s: float) -> float:
        late = sum(break_even_s for gap in of if ttl_s < gap.seconds < math.inf)
        return sum(min(gap.seconds, ttl_s) for gap in of) + late

    # Keeping nothing is also missing those who come at once: a ttl below 0 stands for it.
    classes = {(gap.pool, gap.depth) for gap in found}
    expected = 0.0
    for class_ in classes:
        mine = [gap for gap in found if (gap.pool, gap.depth) == class_]
        never = break_even_s * sum(gap.seconds < math.inf for gap in mine)
        expected += min([never, *(cost(mine, ttl_s) for ttl_s in (0.0, 1.0, 3.0, 7.0, 30.0))])
    assert math.isclose(best_static(Demand(tuple(found), ()), break_even_s), expected)


@given(jobs_of, break_evens)
def test_the_best_static_idle_time_is_no_better_than_the_optimum(jobs: list[Job], break_even_s: float) -> None:
    seen = demand(jobs)
    assert best_static(seen, break_even_s) >= optimum(seen, break_even_s) - 1e-9
    assert len(seen.gaps) == len(jobs)
    assert len(seen.firsts) + sum(gap.seconds < math.inf for gap in seen.gaps) == len(jobs)


def test_who_starts_clusters_just_in_time_pays_a_start_or_the_gap() -> None:
    firsts = (First("a", 0.0), First("a", 1.0))
    seen = Demand((Gap("a", 0, 0.0, 3.0), Gap("a", 0, 10.0, 110.0), Gap("a", 0, 5.0, math.inf)), firsts)
    assert optimum_prewarming(seen, 8.0) == 3.0 + 8.0 + 2 * 8.0

"""Under a ceiling the optimum is the least that any choice costs for which there is room."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.reclaim import FixedTTL
from pool.cli.plan import rules_of
from pool.core.errors import PoolError
from pool.core.key import ClusterKey, Shape
from pool.replay import Job, Replay, Times, report
from pool.replay.hindsight import demand, hindsight, optimum, optimum_prewarming
from pool.replay.workflows import Demand, generate
from pool.store.memory import MemoryStore

KEYS = [ClusterKey(name, Shape(), "t") for name in ("a", "b")]
moments, lengths = st.integers(0, 25).map(float), st.integers(1, 25).map(float)
jobs_of = st.lists(st.builds(Job, moments, lengths, st.sampled_from(KEYS)), min_size=1, max_size=6)
break_evens = st.sampled_from([1.0, 5.0, 20.0, 100.0])
ceilings = st.integers(0, 6)
Bounds = tuple[float, float]


def ends_of(job: Job) -> float:
    return job.arrival_s + job.duration_s


def least(jobs: list[Job], miss_s: float, clusters: int, start_s: float | None = None) -> float:
    """Try everything: which earlier release each arrival has its cluster from, if any, or a start just before it."""
    times = sorted({*(job.arrival_s for job in jobs), *map(ends_of, jobs)})
    if start_s is not None:
        times = sorted({*times, *(job.arrival_s - start_s for job in jobs)})
    segments = list(pairwise(times))
    room = [
        max(0, clusters - sum(job.arrival_s <= begins and ends <= ends_of(job) for job in jobs))
        for begins, ends in segments
    ]

    def fits(kept: list[Bounds]) -> bool:
        return all(
            sum(begins <= segment[0] and segment[1] <= ends for begins, ends in kept) <= free
            for segment, free in zip(segments, room, strict=True)
        )

    def costs(n: int, taken: frozenset[int], kept: list[Bounds]) -> Iterator[float]:
        if n == len(jobs):
            yield 0.0
            return
        job = jobs[n]
        yield from (miss_s + rest for rest in costs(n + 1, taken, kept))
        ways = [(m, ends_of(other)) for m, other in enumerate(jobs) if m not in taken and other.key == job.key]
        if start_s is not None:
            ways.append((-1, job.arrival_s - start_s))
        for m, begins in ways:
            held = [*kept, (begins, job.arrival_s)]
            if begins <= job.arrival_s and m != n and fits(held):
                used = taken | {m} if m >= 0 else taken
                yield from (job.arrival_s - begins + rest for rest in costs(n + 1, used, held))

    return min(costs(0, frozenset(), []))


def total(jobs: list[Job], break_even_s: float, clusters: int | None, start_s: float = 3.0) -> tuple[float, float]:
    found = hindsight(jobs, break_even_s, start_s, clusters=clusters).values()
    return sum(one.optimum for one in found), sum(one.optimum_prewarming for one in found)


@given(jobs_of, break_evens, ceilings)
def test_it_is_the_least_over_all_ways_to_pair_arrivals_with_releases(
    jobs: list[Job], break_even_s: float, clusters: int
) -> None:
    assert math.isclose(total(jobs, break_even_s, clusters)[0], least(jobs, break_even_s, clusters), abs_tol=1e-9)


@given(jobs_of.filter(lambda jobs: len(jobs) < 6), break_evens, ceilings)
def test_with_starts_ahead_it_is_the_least_over_all_pairs_and_starts(
    jobs: list[Job], break_even_s: float, clusters: int
) -> None:
    expected = least(jobs, max(break_even_s, 3.0), clusters, 3.0)
    assert math.isclose(total(jobs, break_even_s, clusters)[1], expected, abs_tol=1e-9)


@given(jobs_of, break_evens)
def test_more_room_costs_no_more_and_room_for_all_costs_as_much_as_no_ceiling(
    jobs: list[Job], break_even_s: float
) -> None:
    seen = demand(jobs)
    free = optimum(seen, break_even_s), optimum_prewarming(seen, 3.0)
    found = [total(jobs, break_even_s, clusters) for clusters in range(2 * len(jobs) + 1)]
    for kind in (0, 1):
        costs = [one[kind] for one in found]
        assert all(more <= fewer + 1e-9 for fewer, more in pairwise(costs))
        assert math.isclose(costs[-1], free[kind], abs_tol=1e-9)
    assert math.isclose(found[0][0], break_even_s * (len(jobs) - _at_once(jobs)), abs_tol=1e-9)


def _at_once(jobs: list[Job]) -> int:
    """Count those who come just as a cluster comes free: they need no room."""
    return sum(gap.seconds == 0 for gap in demand(jobs).gaps)


@pytest.mark.parametrize("clusters", [2, 3, 4])
@pytest.mark.parametrize("ttl_s", [0.0, 60.0, 600.0, 3600.0])
def test_no_policy_beats_it_and_pools_add_up(clusters: int, ttl_s: float) -> None:
    # Executions of one task, a few at a time: nobody has to wait for room, which would move what comes later.
    drawn = generate(Demand(workflows=4, days=1.0, executions_per_day=150.0, burst=0.0, typical_s=20.0), 5)
    jobs = [job for job in drawn if job.duration_s < 60.0]
    jobs = [job for job, busy in zip(jobs, _busy(jobs), strict=True) if busy <= clusters]
    replay = Replay(rules_of(FixedTTL(ttl_s, jitter=0.0), clusters), MemoryStore(keeps_books=False), Times())
    replay.run(jobs)
    found = report(replay.ledger, jobs, 600.0, Times(), clusters=clusters)
    assert found.ratio_to_optimum >= 1.0
    assert found.optimum > found.optimum_unbounded
    for name in ("leases", "idle_s", "cluster_s", "objective", "optimum", "optimum_prewarming"):
        assert math.isclose(sum(getattr(one, name) for one in found.pools.values()), getattr(found, name))


def _busy(jobs: list[Job]) -> list[int]:
    return [sum(other.arrival_s <= job.arrival_s < ends_of(other) for other in jobs) for job in jobs]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(PoolError, match=r"not installed: scipy\S*\. Install warmpool\[optimum\]\.$"):
        hindsight([Job(0.0, 1.0, KEYS[0])], 60.0, 3.0, clusters=1)

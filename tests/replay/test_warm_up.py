"""What comes in the warm-up of a replay is learned from and counts nowhere; what comes after it counts as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.auto import Auto
from policies.reclaim import FixedTTL, NeverKeep
from pool.cli.plan import rules_of
from pool.core.key import ClusterKey, Shape
from pool.core.policy import Reclaim
from pool.replay import Job, Replay, Report, Times, report
from pool.replay.demand import counted_from
from pool.replay.frontier import IDLE_TIMES_S, best, fixed_times, point
from pool.replay.hindsight import hindsight
from pool.replay.timeline import Timeline
from pool.store.memory import MemoryStore
from tests.kit import make_rules

A, B = (ClusterKey(name, Shape(), "t") for name in ("a", "b"))
TIMES = Times(starts_s=(7.0,))
# With 100 s of warm-up: of a, gaps of 20 s before its end, of 100 s over it (40 s after), of 150 s after it. A lease of
# b lasts until 20 s after it.
JOBS = [Job(0.0, 10.0, A), Job(30.0, 10.0, A), Job(90.0, 30.0, B), Job(140.0, 10.0, A), Job(300.0, 10.0, A)]
WARM_UP_S = 100.0


def play(jobs: list[Job], reclaim: Reclaim, warm_up_s: float, times: Times = TIMES, **more: object) -> Replay:
    rules = make_rules(reclaim=reclaim, max_starting=10**9, max_wait_s=1e9, **more)
    replay = Replay(rules, MemoryStore(keeps_books=False), times, warm_up_s=warm_up_s, ledger=Timeline)
    replay.run(jobs)
    return replay


def told(jobs: list[Job], reclaim: Reclaim, warm_up_s: float, clusters: int | None = None) -> Report:
    replay = play(jobs, reclaim, warm_up_s)
    return report(replay.ledger, jobs, 60.0, TIMES, warm_up_s=warm_up_s, clusters=clusters)


def test_what_comes_in_the_warm_up_counts_nowhere() -> None:
    found = told(JOBS, FixedTTL(120.0, 0.0), WARM_UP_S)
    a, b = found.pools[A.digest], found.pools[B.digest]
    assert (a.leases, a.hits, a.misses, a.starts, a.wait_p99_s) == (2, 1, 1, 1, 7.0)
    assert (a.idle_s, a.busy_s, a.cluster_s) == (40.0 + 120.0 + 120.0, 20.0, 280.0 + 20.0 + 7.0)
    assert (b.leases, b.starts, b.idle_s, b.busy_s) == (0, 0, 120.0, 20.0)
    assert (found.leases, found.refused, found.idle_s, found.objective) == (2, 0, 400.0, 460.0)


def test_the_optima_pay_for_the_time_after_it_alone() -> None:
    found = told(JOBS, FixedTTL(120.0, 0.0), WARM_UP_S)
    assert (found.optimum, found.optimum_prewarming) == (40.0 + 60.0, 7.0 + 7.0)
    assert found.ratio_of_hindsight == 120.0 / 100.0, "to keep nothing: the best fixed time here"
    assert found.pools[B.digest].optimum == 0.0


def test_under_a_ceiling_what_was_kept_before_takes_room_there_and_costs_nothing() -> None:
    assert told(JOBS, NeverKeep(), WARM_UP_S, clusters=2).optimum == 100.0
    # The gap of 100 s has no room while b is leased, which is over the end of the warm-up.
    assert told(JOBS, NeverKeep(), WARM_UP_S, clusters=1).optimum == 120.0


def test_a_timeline_begins_where_it_counts() -> None:
    ledger = play(JOBS, FixedTTL(120.0, 0.0), WARM_UP_S).ledger
    assert isinstance(ledger, Timeline)
    assert min(spell.begins_s for spell in ledger.spells) % 604_800.0 == WARM_UP_S
    assert sum(spell.ends_s - spell.begins_s for spell in ledger.spells) == 400.0 + 40.0


def test_a_job_of_the_warm_up_that_asks_after_it_is_not_counted() -> None:
    jobs = [Job(0.0, 10.0, A, "g"), Job(15.0, 10.0, A, "g"), Job(60.0, 10.0, B)]
    ledger = play(jobs, NeverKeep(), 50.0, Times((100.0,), charged=False)).ledger
    assert [figures.leases for figures in ledger.pools.values() if figures.leases] == [1]


def test_who_is_refused_in_the_warm_up_is_not_counted() -> None:
    rules = rules_of(NeverKeep(), clusters=0)
    for warm_up_s, refused in ((0.0, 5), (WARM_UP_S, 2)):
        replay = Replay(rules, MemoryStore(keeps_books=False), TIMES, warm_up_s=warm_up_s)
        replay.run(JOBS)
        found = report(replay.ledger, JOBS, 60.0, TIMES, warm_up_s=warm_up_s)
        assert (replay.refused, found.refused, found.leases) == (refused, refused, 0)


def test_a_policy_has_learned_from_the_warm_up() -> None:
    # Where nothing was seen a cluster is kept for a break-even time of 100 s; gaps are of 990 s, not worth it.
    jobs = [Job(1_000.0 * n, 10.0, A) for n in range(200)]
    from_nothing, after = (told(part, Auto(100.0), warm_up_s) for part, warm_up_s in ((jobs[100:], 0.0), (jobs, 1e5)))
    assert from_nothing.leases == after.leases == 100
    assert after.idle_s < from_nothing.idle_s


jobs_of = st.lists(
    st.builds(
        Job, st.integers(0, 500).map(float), st.integers(1, 200).map(float), st.sampled_from([A, B]), st.just("")
    ),
    min_size=1,
    max_size=20,
).map(lambda jobs: sorted(jobs, key=lambda job: job.arrival_s))
parts = st.sampled_from([0.1, 0.5, 0.9, 1.0])


@given(jobs_of, parts, st.sampled_from(range(len(IDLE_TIMES_S))))
def test_fixed_times_and_the_optima_count_what_a_replay_counts(jobs: list[Job], part: float, n: int) -> None:
    warm_up_s = part * (jobs[-1].arrival_s - jobs[0].arrival_s)
    since_s = counted_from(jobs, warm_up_s)
    replay = play(jobs, FixedTTL(IDLE_TIMES_S[n], 0.0), warm_up_s)
    found = report(replay.ledger, jobs, 60.0, TIMES, warm_up_s=warm_up_s)
    expected = fixed_times(jobs, TIMES, since_s)[n]
    assert expected[1:] == pytest.approx(point("", replay.ledger.total())[1:])
    assert found.leases == sum(job.arrival_s >= since_s for job in jobs)
    assert found.busy_s == pytest.approx(
        sum(max(0.0, job.arrival_s + job.duration_s - max(job.arrival_s, since_s)) for job in jobs)
    )
    assert found.objective >= found.optimum * found.ratio_of_hindsight - 1e-6, "no fixed time beats the best ones"
    assert found.ratio_of_hindsight >= 1.0 - 1e-9
    idle = best(jobs, 60.0, TIMES, since_s)
    assert idle.idle_s + 60.0 * round((1.0 - idle.hit_rate) * found.leases) == pytest.approx(found.optimum)


@given(jobs_of, parts)
def test_a_ceiling_that_binds_nowhere_changes_no_optimum(jobs: list[Job], part: float) -> None:
    since_s = jobs[0].arrival_s + part * (jobs[-1].arrival_s - jobs[0].arrival_s)
    free, bounded = (hindsight(jobs, 60.0, 7.0, clusters=clusters, since_s=since_s) for clusters in (None, 10**6))
    assert {pool: one.optimum for pool, one in bounded.items()} == pytest.approx(
        {pool: one.optimum for pool, one in free.items()}
    )
    assert {pool: one.optimum_prewarming for pool, one in bounded.items()} == pytest.approx(
        {pool: one.optimum_prewarming for pool, one in free.items()}
    )

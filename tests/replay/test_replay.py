"""A replay is the daemon's own decisions: it costs what the formulas say, and nothing is lost in it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.auto import Auto
from policies.learned import Learned
from policies.look_ahead import JustInTime
from policies.newsvendor import Newsvendor
from policies.next_use import NextUse
from policies.reclaim import FixedTTL, NeverKeep
from policies.ski_rental import BreakEven, RandomisedSkiRental
from pool.core.key import ClusterKey, Node, Shape
from pool.core.model import ClusterState, Lease, LeaseState
from pool.core.policy import Reclaim
from pool.core.settings import Ceiling
from pool.replay import Job, Replay, Report, Times, report
from pool.replay.figures import Ledger
from pool.replay.hindsight import demand
from pool.replay.workflows import Demand, generate
from pool.store.memory import MemoryState, MemoryStore
from tests.invariants import Watch, check
from tests.kit import make_rules

KEYS = [ClusterKey(name, Shape(), "t") for name in ("a", "b")]
WORKFLOWS = Demand(workflows=6, days=2.0, executions_per_day=60.0)
jobs_of = st.lists(
    st.builds(Job, st.integers(0, 500).map(float), st.integers(1, 200).map(float), st.sampled_from(KEYS), st.just("")),
    min_size=1,
    max_size=25,
).map(lambda jobs: sorted(jobs, key=lambda job: job.arrival_s))


def play(
    jobs: list[Job], reclaim: Reclaim, break_even_s: float = 60.0, times: Times | None = None, **rules: object
) -> tuple[Report, Replay, MemoryState]:
    state, times = MemoryState(), times or Times()
    made = make_rules(reclaim=reclaim, max_starting=10**9, max_wait_s=1e9, **rules)
    replay = Replay(made, MemoryStore(state), times, seed=1)
    replay.run(jobs)
    return report(replay.ledger, jobs, break_even_s, times), replay, state


@given(jobs_of, st.sampled_from([1.0, 10.0, 60.0, 1000.0]))
def test_a_fixed_idle_time_costs_what_its_gaps_say(jobs: list[Job], ttl_s: float) -> None:
    found, _, _ = play(jobs, BreakEven(ttl_s), ttl_s)
    gaps = [gap.seconds for gap in demand(jobs).gaps]
    assert found.hits == sum(gap <= ttl_s for gap in gaps)
    assert math.isclose(found.idle_s, sum(min(gap, ttl_s) for gap in gaps), abs_tol=1e-6)
    assert math.isclose(found.busy_s, sum(job.duration_s for job in jobs))
    assert found.hits + found.misses == found.leases == len(jobs)


@given(jobs_of, st.sampled_from([1.0, 60.0, 1000.0]))
def test_keeping_for_the_break_even_time_costs_at_most_twice_the_optimum(jobs: list[Job], break_even_s: float) -> None:
    found, _, _ = play(jobs, BreakEven(break_even_s), break_even_s)
    last = sum(gap.seconds == math.inf for gap in demand(jobs).gaps) * break_even_s
    assert found.optimum <= found.objective <= 2 * found.optimum + last + 1e-6


def test_keeping_nothing_misses_always_and_idles_never() -> None:
    found, _, _ = play(generate(WORKFLOWS, 1), NeverKeep())
    assert (found.hits, found.idle_s) == (0, 0.0)
    assert found.starts == found.leases


def test_the_randomised_rule_stays_within_its_promise_on_average() -> None:
    jobs = [Job(1000.0 * n, 900.0, KEYS[0]) for n in range(2000)]  # gaps of 100 s, the worst for a break-even of 100 s
    found, _, _ = play(jobs, RandomisedSkiRental(100.0), 100.0)
    assert found.ratio_to_optimum == pytest.approx(math.e / (math.e - 1), abs=0.03)


@pytest.mark.parametrize("live", [False, True])
def test_the_same_seed_gives_the_same_bytes(live: bool) -> None:
    jobs = generate(WORKFLOWS, 2)
    times = Times(charged=not live, reset_s=0.5, stop_s=3.0)
    one, two = (play(jobs, FixedTTL(300.0), times=times)[0].figures() for _ in range(2))
    assert repr(one) == repr(two)


def test_a_policy_goes_by_what_a_charged_start_would_have_taken() -> None:
    # Where it is not said what a start is worth, `auto` takes thirty times what starts take: here 3,000 s.
    jobs = [Job(n * 1_000.0, 10.0, KEYS[0]) for n in range(20)]
    found, replay, _ = play(jobs, Auto(), times=Times((100.0,)))
    assert replay.state.index[KEYS[0].digest].weighed_s == 100.0
    assert (found.hits, found.misses) == (19, 1)


@pytest.mark.parametrize(
    "ahead",
    [{"sizing": Newsvendor()}, {"prewarm": NextUse()}, {"look_ahead": JustInTime()}],
    ids=lambda one: next(iter(one)),
)
def test_what_is_started_ahead_is_weighed_by_what_a_charged_start_would_have_taken(ahead: dict[str, object]) -> None:
    # Every 20 minutes a group asks, and again 2 to 18 minutes later: a start is worth 3,000 s of idle time.
    seconds = (120.0 + 960.0 * (n * 0.618 % 1.0) for n in range(60))
    jobs = [
        Job(1_200.0 * n + at_s, 10.0, KEYS[0], f"g-{n}") for n, after_s in enumerate(seconds) for at_s in (0.0, after_s)
    ]
    found, _, _ = play(jobs, NeverKeep(), times=Times((100.0,)), **ahead)
    cheap, _, _ = play(jobs, NeverKeep(), times=Times((0.0,)), **ahead)
    assert found.hits > cheap.hits + 20


def test_a_start_that_is_charged_is_a_wait_and_moves_nothing() -> None:
    jobs = [Job(0.0, 10.0, KEYS[0]), Job(50.0, 10.0, KEYS[0])]
    found, _, _ = play(jobs, NeverKeep(), times=Times(starts_s=(7.0,)))
    assert (found.wait_p50_s, found.busy_s, found.cluster_s) == (7.0, 20.0, 34.0)


def test_a_start_that_takes_its_time_delays_who_waits_for_it() -> None:
    jobs = [Job(0.0, 10.0, KEYS[0]), Job(12.0, 10.0, KEYS[0])]
    found, _, _ = play(jobs, BreakEven(60.0), times=Times(starts_s=(7.0,), charged=False))
    assert (found.hits, found.misses) == (0, 2), "the first ends at 17: the second waits for it, or for a start"
    assert found.wait_p95_s == 7.0


def test_under_a_ceiling_jobs_wait_their_turn_and_none_is_lost() -> None:
    jobs = [Job(0.0, 10.0, KEYS[n % 2]) for n in range(6)]
    found, _, _ = play(jobs, BreakEven(60.0), daemon=Ceiling(clusters=2))
    assert found.leases == 6
    assert found.refused == 0
    assert found.wait_p99_s >= 20.0


def test_nothing_is_left_at_the_end_and_the_store_has_it_all() -> None:
    jobs = generate(WORKFLOWS, 5)
    _, replay, disk = play(jobs, FixedTTL(600.0))
    assert not replay.state.clusters
    assert len(disk.leases) == len(jobs)
    assert all(lease.state is LeaseState.ENDED for lease in disk.leases.values())
    assert all(cluster.state is ClusterState.STOPPED for cluster in disk.clusters.values())


@pytest.mark.parametrize("reclaim", [FixedTTL(300.0), Learned(300.0)])
def test_every_invariant_holds_all_the_way(monkeypatch: pytest.MonkeyPatch, reclaim: Reclaim) -> None:
    watch = Watch()
    jobs = generate(WORKFLOWS, 7)[:150]
    times = Times(charged=False, reset_s=1.0, stop_s=2.0)
    rules = make_rules(reclaim=reclaim, max_wait_s=1e9, max_starting=3, daemon=Ceiling(clusters=6), hold_s=30.0)
    replay = Replay(rules, MemoryStore(), times)
    observe = replay.ledger.observe

    def watched(decision: object) -> None:
        watch.decision(decision, replay.state.rules)  # type: ignore[arg-type]
        check(replay.state, decision.now)  # type: ignore[attr-defined]
        observe(decision)  # type: ignore[arg-type]

    monkeypatch.setattr(replay.ledger, "observe", watched)
    replay.run(jobs)
    assert report(replay.ledger, jobs, 60.0, times).leases == len(jobs)


def test_with_live_starts_what_came_after_others_of_its_group_still_does() -> None:
    step = [Job(0.0, 10.0, KEYS[0], "g"), Job(0.0, 30.0, KEYS[0], "g"), Job(32.0, 10.0, KEYS[1], "g")]
    third = Job(35.0, 1.0, KEYS[0], "g")
    asked: list[tuple[float, float]] = []

    class Asks(Ledger):
        def _granted(self, lease: Lease) -> None:
            super()._granted(lease)
            asked.append((lease.asked_at, lease.granted_at))

    rules = make_rules(reclaim=FixedTTL(0.0, 0.0), max_starting=10**9, max_wait_s=1e9)
    for charged, comes_s in ((True, 32.0), (False, 50.0 + 32.0)):
        asked.clear()
        replay = Replay(rules, MemoryStore(), Times((50.0,), charged=charged), ledger=Asks)
        replay.run([*step, Job(33.0, 5.0, KEYS[1], "another"), third])
        began_s = asked[0][0]
        assert sorted(at - began_s for at, _ in asked) == sorted([0.0, 0.0, comes_s, 33.0, comes_s + 3.0])


def test_a_group_goes_on_when_one_of_it_is_refused() -> None:
    jobs = [Job(0.0, 10.0, ClusterKey("a", Shape(head=Node(milli_cpu=9_000)), "t"), "g"), Job(12.0, 10.0, KEYS[0], "g")]
    found, replay, _ = play(
        jobs, FixedTTL(0.0, 0.0), times=Times((5.0,), charged=False), daemon=Ceiling(milli_cpu=2_000)
    )
    assert (replay.refused, found.leases) == (1, 1)


@pytest.mark.parametrize(("reset_s", "waited_s"), [(9.0, 8.0), (30.0, 14.0)])
def test_who_waits_for_a_slow_reset_has_a_cluster_started_in_a_replay_too(reset_s: float, waited_s: float) -> None:
    jobs = [Job(0.0, 100.0, KEYS[0]), Job(106.0, 10.0, KEYS[0])]
    times = Times((5.0,), reset_s=reset_s, charged=False)
    found, _, _ = play(jobs, FixedTTL(1_000.0), times=times, reset_wait_s=10.0)
    assert found.wait_p99_s == waited_s
    assert found.starts == (1 if waited_s == 8.0 else 2)

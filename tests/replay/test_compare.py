"""What another configuration would have changed, priced as the ledger prices it; and the frontier of fixed times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.reclaim import FixedTTL, NeverKeep
from policies.ski_rental import BreakEven
from pool.core.key import ClusterKey, Node, Shape
from pool.core.model import ClusterState
from pool.core.policy import Reclaim
from pool.core.settings import Prices
from pool.replay import Job, Replay, Times
from pool.replay.compare import Side, differences, side
from pool.replay.frontier import IDLE_TIMES_S, best, fixed_times, point
from pool.replay.run import WEEK_S
from pool.replay.timeline import Timeline
from pool.store.memory import MemoryStore
from tests.kit import make_rules

SMALL, LARGE = (ClusterKey("a", Shape(head=Node(milli_cpu=1000 * cpu)), "t") for cpu in (1, 4))
KEYS = {key.digest: key for key in (SMALL, LARGE)}
PRICES = Prices(cpu=2.0, waiting=36.0)
TIMES = Times(starts_s=(10.0,))
# Of the small one a gap of 90 s, of the large one a gap of 900 s.
JOBS = [Job(0.0, 10.0, SMALL), Job(0.0, 10.0, LARGE), Job(100.0, 10.0, SMALL), Job(910.0, 10.0, LARGE)]


def replayed(reclaim: Reclaim, jobs: list[Job] = JOBS, **more: object) -> Replay:
    rules = make_rules(reclaim=reclaim, max_starting=10**9, max_wait_s=1e9)
    replay = Replay(rules, MemoryStore(keeps_books=False), TIMES, **more)  # type: ignore[arg-type]
    replay.run(jobs)
    return replay


def of(reclaim: Reclaim) -> Side:
    return side(replayed(reclaim).ledger.pools, KEYS, lambda key: PRICES, 60.0, 0)


def test_idle_time_starts_and_waiting_are_priced_by_size() -> None:
    kept = of(BreakEven(100.0))
    # Idle for 90 and 100 s, one start of 10 s and somebody who waited for it.
    assert kept.pools[SMALL.digest].cost == pytest.approx((190 + 10) * 2 / 3600 + 10 * 36 / 3600)
    # Idle for 100 s twice, two starts.
    assert kept.pools[LARGE.digest].cost == pytest.approx((200 + 20) * 8 / 3600 + 20 * 36 / 3600)
    assert kept.total.cost == pytest.approx(sum(pool.cost for pool in kept.pools.values()))
    assert (kept.total.hits, kept.total.leases, kept.total.objective_s) == (1, 4, 390.0 + 3 * 60.0)


def test_the_pools_that_change_most_come_first() -> None:
    before, after = of(BreakEven(100.0)), of(NeverKeep())
    found = differences(before, after, priced=True)
    assert [one.digest for one in found] == [LARGE.digest, SMALL.digest]
    assert found[0].worth(True) == pytest.approx(-200 * 8 / 3600)
    assert sum(one.worth(True) for one in found) == pytest.approx(after.total.cost - before.total.cost)
    assert found[0].worth(False) == pytest.approx(-200 / 3600)


jobs_of = st.lists(
    st.builds(
        Job,
        st.integers(0, 500).map(float),
        st.integers(1, 200).map(float),
        st.sampled_from([SMALL, LARGE]),
        st.just(""),
    ),
    min_size=1,
    max_size=20,
).map(lambda jobs: sorted(jobs, key=lambda job: job.arrival_s))


@given(jobs_of, st.sampled_from(range(len(IDLE_TIMES_S))))
def test_the_frontier_of_fixed_times_is_what_replays_say(jobs: list[Job], n: int) -> None:
    found = point("", replayed(FixedTTL(IDLE_TIMES_S[n], 0.0), jobs).ledger.total())
    told = fixed_times(jobs, TIMES)[n]
    assert told[1:] == pytest.approx(found[1:])
    assert best(jobs, 60.0, TIMES).idle_s <= fixed_times(jobs, TIMES)[3].idle_s


def test_schedule_windows_open_and_close_in_the_time_of_the_jobs() -> None:
    jobs = [job._replace(arrival_s=job.arrival_s + WEEK_S) for job in (Job(0.0, 5.0, SMALL), Job(500.0, 5.0, SMALL))]
    rules = make_rules(reclaim=NeverKeep(), max_starting=10**9, max_wait_s=1e9)
    replay = Replay(rules, MemoryStore(keeps_books=False), TIMES)
    name = rules.settings_for(SMALL).name
    replay.want({name: 1}, WEEK_S + 400.0)
    replay.want({}, WEEK_S + 600.0)
    replay.run(jobs)
    assert replay.ledger.total().misses == 1, "the second finds the window's cluster"


def test_a_timeline_notes_every_second_of_every_cluster() -> None:
    replay = replayed(BreakEven(100.0), ledger=Timeline)
    assert isinstance(replay.ledger, Timeline)
    spent = dict.fromkeys(ClusterState, 0.0)
    for spell in replay.ledger.spells:
        spent[spell.state] += spell.ends_s - spell.begins_s
    assert (spent[ClusterState.LEASED], spent[ClusterState.IDLE]) == (40.0, 390.0)

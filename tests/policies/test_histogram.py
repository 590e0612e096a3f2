"""The keep-alive of the hybrid histogram: the rule alone, and through the core."""

from __future__ import annotations

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.histogram import FEW, MARGIN, RANGE_S, Histogram, tail_s, variation
from pool.core import learning, snapshot
from pool.core.idle_times import MINUTES, IdleTimes, Minutes
from pool.core.model import ClusterState
from pool.core.recover import restore
from tests.kit import KEY, Core

WEEK_S = 604_800.0


def seen(*idle_s: float) -> Minutes:
    minutes = Minutes()
    for one in idle_s:
        minutes.add(one, 1_000_000.0, WEEK_S)
    return minutes


def test_a_cluster_is_kept_a_tenth_longer_than_99_of_100_idle_times() -> None:
    # 98 within the first minute, one in the fifth, one in the hundredth: the 99th of them is in the fifth.
    assert Histogram().keep_s(seen(*[30.0] * 98, 290.0, 5_999.0)) == pytest.approx(1.1 * 300.0)


@given(st.lists(st.integers(0, MINUTES - 1), min_size=1, max_size=300))
def test_the_tail_is_the_minute_by_which_99_of_100_are_over(minutes: list[int]) -> None:
    counts = [float(minutes.count(minute)) for minute in range(MINUTES)]
    end = tail_s(counts) / 60.0
    over = [minute for minute in minutes if minute < end]
    assert len(over) >= 0.99 * len(minutes) - 1e-6
    assert sum(minute < end - 1 for minute in minutes) < 0.99 * len(minutes)


@given(st.lists(st.integers(0, 10_000).map(lambda n: n / 100), min_size=2, max_size=50))
def test_the_variation_is_the_deviation_over_the_mean(counts: list[float]) -> None:
    mean = statistics.fmean(counts)
    assert variation(counts) == pytest.approx(statistics.pstdev(counts) / mean if mean else 0.0, abs=1e-6)


def test_few_idle_times_say_nothing_and_it_is_kept_for_the_whole_range() -> None:
    few = seen(*[30.0] * int(FEW - 1))
    assert Histogram().keep_s(few) == RANGE_S == 4 * 3600
    assert "too few" in Histogram().why(few)


def test_idle_times_without_a_shape_say_nothing_either() -> None:
    even = seen(*[60.0 * minute for minute in range(MINUTES)])
    assert variation(even.counts) == 0.0
    assert Histogram().keep_s(even) == RANGE_S
    assert "too evenly" in Histogram().why(even)


def test_where_most_are_longer_than_the_range_those_within_decide_or_nothing_is_kept() -> None:
    beyond = RANGE_S + 1.0
    assert Histogram().keep_s(seen(*[beyond] * 30)) == 0.0
    assert Histogram().keep_s(seen(*[beyond] * 30, *[30.0] * 20)) == pytest.approx(MARGIN * 60.0)
    assert Histogram().keep_s(seen(*[beyond] * 30, *[30.0] * 5)) == 0.0, "too few within it"
    assert "longer than 4 h" in Histogram().why(seen(*[beyond] * 30))


@given(st.lists(st.floats(0.0, 2 * RANGE_S), max_size=100))
def test_it_is_never_kept_for_longer_than_the_range(idle_s: list[float]) -> None:
    assert 0.0 <= Histogram().keep_s(seen(*idle_s)) <= RANGE_S


def test_old_idle_times_count_less() -> None:
    minutes = Minutes()
    for _ in range(100):
        minutes.add(30.0, 1_000_000.0, WEEK_S)
    minutes.add(30.0, 1_000_000.0 + WEEK_S, WEEK_S)
    assert minutes.counts[0] == pytest.approx(51.0)


@pytest.mark.parametrize("half_life_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_half_life_out_of_range_is_refused(half_life_s: float) -> None:
    with pytest.raises(ValueError, match="half_life is"):
        Histogram(half_life_s)


# --- through the core


def leases(core: Core, times: int, idle_s: float) -> None:
    for _ in range(times):
        lease = core.lease()
        core.go(5.0)
        core.release(lease)
        core.go(idle_s)


def test_a_pool_learns_how_long_to_keep_and_says_so_as_it_stops() -> None:
    core = Core(reclaim=Histogram())
    leases(core, 20, 100.0)
    (cluster,) = core.clusters(ClusterState.IDLE)
    assert learning.keep_until(core.state, cluster, core.now) == pytest.approx(cluster.idle_since + 1.1 * 120.0)
    core.go(100.0)
    (stopping,) = core.clusters(ClusterState.STOPPING)
    assert "19 idle times of its pool count" in stopping.detail
    assert "99% of those within 4 h end within 120 s" in stopping.detail


def test_an_idle_time_is_that_of_the_latest_release() -> None:
    times = IdleTimes()
    times.released("p", 100.0)
    times.released("p", 400.0)
    times.asked("p", 430.0, WEEK_S)
    times.asked("p", 760.0, WEEK_S)
    times.asked("p", 770.0, WEEK_S)
    found = times.of("p")
    assert found is not None
    assert {minute: count for minute, count in enumerate(found.counts) if count} == {0: 1.0, 11: 1.0}


def test_what_was_counted_survives_a_restart_and_history_tells_the_rest_once() -> None:
    core = Core(reclaim=Histogram())
    leases(core, 20, 100.0)
    rows = {name: row for name, row in snapshot.changed(core.state, core.now, 100).items() if row is not None}
    assert [json.loads(name)[0] for name in rows] == ["minutes"]
    core.go(1.0)
    leases(core, 5, 300.0)
    state = core.state
    again = restore(
        state.rules, core.now, generation=2, pools=state.pools.values(), ended=list(state.ended.values()), learned=rows
    )
    was, found = state.idle_times.of(KEY.digest), again.idle_times.of(KEY.digest)
    assert was is not None
    assert found is not None
    assert found.counts == was.counts
    assert sum(found.counts) == 24.0

"""What pools have in common: how many groups ask at once, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from policies.newsvendor import Newsvendor
from policies.sizing import FloorAndBuffer
from pool.core import idling, snapshot
from pool.core.decisions import Start
from pool.core.habits import OWN, REMEMBERED, Habits
from pool.core.idling import RHYTHM_LOOK_S
from pool.core.load import Load
from pool.core.policy import Demand
from pool.core.recover import restore
from pool.core.rhythm import DAY_S, HOUR_S, WEEK_S
from tests.kit import KEY, T0, Core

BEGAN_S = 52 * WEEK_S


def burst(load: Load, at: float, groups: int, each: int = 1) -> None:
    """Have so many groups ask within a few seconds, and end soon."""
    for n in range(groups):
        for _ in range(each):
            load.asked(at + n * 0.1, 60.0, group=f"x-{at}-{n}")
    for _ in range(groups * each):
        load.ended(at + 100.0)


def test_a_pool_that_saw_little_supposes_bursts_as_large_as_those_of_others() -> None:
    habits = Habits()
    busy, seldom = Load(WEEK_S, BEGAN_S, habits), Load(WEEK_S, BEGAN_S, habits)
    for n in range(100):
        burst(busy, BEGAN_S + n * HOUR_S, 4 if n % 10 == 0 else 1)
    assert habits.at_least() == pytest.approx([1.0, 0.1, 0.1, 0.1])
    burst(seldom, BEGAN_S + 100 * HOUR_S, 1)
    now = BEGAN_S + 101 * HOUR_S
    one, two, three, four = seldom.exceeds(now, 60.0)
    assert two == three == four > 0
    assert two / one == pytest.approx(0.1, rel=0.05)
    alone = Load(WEEK_S, BEGAN_S)
    burst(alone, BEGAN_S + 100 * HOUR_S, 1)
    assert len(alone.exceeds(now, 60.0)) == 1, "without others it never needed two"


def test_bursts_are_counted_in_groups_so_that_a_pool_needs_as_many_clusters_for_each_as_its_groups_ask_for() -> None:
    habits = Habits()
    wide, narrow = Load(WEEK_S, BEGAN_S, habits), Load(WEEK_S, BEGAN_S, habits)
    for n in range(100):
        burst(narrow, BEGAN_S + n * HOUR_S, 2 if n % 4 == 0 else 1)
    burst(wide, BEGAN_S + 100 * HOUR_S, 1, each=3)
    chances = wide.exceeds(BEGAN_S + 101 * HOUR_S, 60.0)
    assert len(chances) == 6
    assert chances[0] == pytest.approx(chances[2])
    assert chances[3] / chances[0] == pytest.approx(0.25, rel=0.05)


def test_a_pool_that_saw_much_believes_itself() -> None:
    habits = Habits()
    calm, wild = Load(1e9, BEGAN_S, habits), Load(1e9, BEGAN_S, habits)
    for n in range(10_000):
        burst(calm, BEGAN_S + n * 600.0, 1)
        burst(wild, BEGAN_S + n * 600.0 + 300.0, 4)
    now = BEGAN_S + 10_000 * 600.0
    calm_, wild_ = calm.exceeds(now, 60.0), wild.exceeds(now, 60.0)
    assert calm_[3] < 0.05 * calm_[0]
    assert wild_[3] > 0.9 * wild_[0]


def test_where_asks_never_cease_each_five_seconds_are_a_burst_and_the_rate_is_that_of_the_asks() -> None:
    load, alone = Load(WEEK_S, BEGAN_S, Habits()), Load(WEEK_S, BEGAN_S)
    for second in range(60_000):
        for one in (load, alone):
            one.asked(BEGAN_S + second, 60.0)
            one.ended(BEGAN_S + second + 0.5)
    now = BEGAN_S + 60_000.0
    assert load.exceeds(now, 0.1)[0] == pytest.approx(alone.exceeds(now, 0.1)[0], rel=0.1)


def test_asks_without_a_group_are_one_more_each() -> None:
    habits = Habits()
    load = Load(WEEK_S, BEGAN_S, habits)
    for _ in range(3):
        load.asked(BEGAN_S + 1.0, 60.0)
    assert habits.at_least() == [1.0, 1.0, 1.0]


def test_what_was_foreseen_is_no_burst() -> None:
    habits = Habits()
    load = Load(WEEK_S, BEGAN_S, habits)
    load.asked(BEGAN_S + 1.0, 60.0, group="x", foreseen=True)
    assert habits.unsaved == {}
    assert not list(load.exceeds(BEGAN_S + 2.0, 60.0))


def test_more_is_needed_at_the_hours_at_which_all_pools_are_busy() -> None:
    habits = Habits()
    busy, seldom = Load(WEEK_S, BEGAN_S, habits), Load(WEEK_S, BEGAN_S, habits)
    for day in range(14):
        for minute in range(0, 480, 20):
            burst(busy, BEGAN_S + day * DAY_S + 9 * HOUR_S + minute * 60.0, 1)
    burst(seldom, BEGAN_S + 14 * DAY_S + 2 * HOUR_S, 1)
    night = seldom.exceeds(BEGAN_S + 14 * DAY_S + 3 * HOUR_S, 60.0)[0]
    noon = seldom.exceeds(BEGAN_S + 14 * DAY_S + 12 * HOUR_S, 60.0)[0]
    assert noon > 5 * night


def test_what_was_long_ago_counts_half_and_nothing_grows_without_bound() -> None:
    habits = Habits()
    for n in range(int(REMEMBERED)):
        habits.came(1, BEGAN_S + n)
        habits.came(2, BEGAN_S + n)
    assert habits.at_least() == [1.0, 1.0]
    for n in range(int(REMEMBERED)):
        habits.came(1, BEGAN_S + REMEMBERED + n)
    assert 0.2 < habits.at_least()[1] < 0.4
    for n in range(1, 1_000):
        habits.came(n, BEGAN_S + 3 * REMEMBERED)
    assert len(habits.at_least()) == 64


def test_a_restart_goes_on_with_them_and_counts_nothing_twice() -> None:
    core = Core(sizing=Newsvendor(break_even_s=600.0))
    for n in range(20):
        leases = [core.lease(group=f"x-{n}-{k}") for k in range(1 + n % 2)]
        core.go(30.0)
        for lease in leases:
            core.release(lease)
        core.go(600.0)
    rows = {name: told for name, told in snapshot.changed(core.state, core.now, 500).items() if told is not None}
    assert sum('"habits"' in name for name in rows) == 2
    ended = list(core.state.ended.values())
    again = restore(core.state.rules, core.now, pools=core.state.pools.values(), ended=ended, learned=rows)
    assert again.habits.at_least() == pytest.approx(core.state.habits.at_least())
    for hour in range(168):
        expected = core.state.habits.rhythm.factor(hour * HOUR_S)
        assert again.habits.rhythm.factor(hour * HOUR_S) == pytest.approx(expected, rel=1e-3)
    now, digest = core.now, KEY.digest
    was, load = core.state.index[digest].load, again.index[digest].load
    assert was is not None
    assert load is not None
    assert list(load.exceeds(now, 60.0)) == pytest.approx(list(was.exceeds(now, 60.0)), rel=0.05)


@dataclass(frozen=True)
class From(FloorAndBuffer):
    """Wants one cluster from a time on, and looks at demand."""

    at: float = 0.0
    half_life_s = DAY_S  # type: ignore[assignment]

    def wants(self) -> bool:
        return True

    def idle_target(self, demand: Demand, now: float) -> int:
        return int(now >= self.at)

    def aims(self) -> bool:
        return False


def test_clusters_are_started_when_the_hour_has_come_though_nobody_asks() -> None:
    core = Core(sizing=From(at=T0 + 2 * HOUR_S))
    core.release(core.lease())
    before = len(core.all(Start))
    core.go(2 * HOUR_S - 1.0)
    assert len(core.all(Start)) == before
    core.go(1.0 + RHYTHM_LOOK_S)
    first = core.all(Start)[before].cluster
    assert T0 + 2 * HOUR_S <= first.created_at <= T0 + 2 * HOUR_S + RHYTHM_LOOK_S


def test_a_cluster_says_in_numbers_why_it_stands_ready() -> None:
    core = Core(sizing=Newsvendor(break_even_s=2.0 * HOUR_S))
    assert core.acquire()
    pool = core.pool()
    assert idling.why(core.state, pool, core.now) == (
        "1 idle cluster pays for itself: at this hour a 1st one every 1 h would be needed, and a start is worth 2 h"
        " of idle time"
    )
    core.go(WEEK_S + 1.0)
    assert idling.why(core.state, pool, core.now) == "", "nobody asked for so long that nothing stands ready"


def test_what_a_row_does_not_say_is_refused() -> None:
    habits = Habits()
    for name, told in (("bursts", []), ("other", [1.0]), ("rhythm", [0.0, [], []])):
        with pytest.raises(ValueError, match=r"habit|hours"):
            habits.recall(name, told, BEGAN_S)
    assert habits.own().factor(BEGAN_S) == 1.0
    assert math.isfinite(OWN)

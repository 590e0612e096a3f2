"""Sizing policies against their formulas."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.newsvendor import Newsvendor, newsvendor
from policies.reactive import Reactive
from policies.sizing import FloorAndBuffer
from policies.square_root import SquareRoot, staffing
from pool.core.load import Load
from pool.core.policy import Demand

QUIET = Demand(leased=0, idle=0, starting=0, floor=0, last_asked_at=0.0)
PROBABILITIES = st.lists(st.floats(0.0, 1.0), max_size=20).map(lambda some: sorted(some, reverse=True))


# --- reactive


@pytest.mark.parametrize(
    ("idle", "starting", "waiting", "target"),
    [(0, 0, 0, 3), (1, 0, 0, 4), (2, 0, 0, 2), (0, 2, 0, 2), (5, 0, 0, 2), (0, 2, 1, 4), (0, 0, 4, 3)],
)
def test_where_fewer_than_the_threshold_are_spare_so_many_more_are_wanted(
    idle: int, starting: int, waiting: int, target: int
) -> None:
    demand = QUIET._replace(idle=idle, starting=starting, waiting=waiting)
    assert Reactive(threshold=2, increment=3).idle_target(demand, 0.0) == target


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(1, 20))
def test_reactive_never_wants_more_than_the_most_and_then_rests(
    most: int, idle: int, starting: int, threshold: int, increment: int
) -> None:
    policy = Reactive(threshold=threshold, increment=increment, most=most)
    target = policy.idle_target(QUIET._replace(idle=idle, starting=starting), 0.0)
    assert target <= most
    while idle + starting < target:
        # What it wants is started.
        starting = target - idle
        target = policy.idle_target(QUIET._replace(idle=idle, starting=starting), 0.0)
        assert target <= most
    assert idle + starting >= min(threshold, most)


# --- newsvendor


@given(PROBABILITIES, st.floats(0.1, 1e5), st.floats(0.1, 1e5))
def test_the_newsvendor_takes_the_smallest_number_that_is_enough_often_enough(
    exceeds: list[float], short: float, over: float
) -> None:
    def enough(number: int) -> float:
        return 1.0 - exceeds[number] if number < len(exceeds) else 1.0

    ratio = short / (short + over)
    wanted = newsvendor(exceeds, short, over)
    assert enough(wanted) >= ratio - 1e-9
    assert all(enough(number) < ratio + 1e-9 for number in range(wanted))


@given(PROBABILITIES, st.floats(0.1, 1e4), st.floats(0.1, 1e4))
def test_it_costs_least_of_all_numbers(exceeds: list[float], short: float, over: float) -> None:
    chances = [*exceeds, 0.0]
    # P(D = n) from P(D >= n).
    exactly = [one - other for one, other in zip([1.0, *exceeds], chances, strict=True)]

    def cost(number: int) -> float:
        return sum(
            chance * (short * max(0, demand - number) + over * max(0, number - demand))
            for demand, chance in enumerate(exactly)
        )

    least = min(cost(number) for number in range(len(exceeds) + 2))
    assert cost(newsvendor(exceeds, short, over)) <= least + 1e-6 * (short + over)


def test_what_is_needed_often_stands_ready_and_what_is_needed_seldom_does_not() -> None:
    load = Load(604_800.0, 0.0)
    for hour in range(100):
        times = 3 if hour % 20 == 0 else 1
        for _ in range(times):
            load.asked(3_600.0 * hour, 60.0)
        for _ in range(times):
            load.ended(3_600.0 * hour + 100.0)
    demand, now = QUIET._replace(load=load, start_s=60.0), 360_000.0
    assert Newsvendor(break_even_s=600.0).idle_target(demand, now) == 0
    assert Newsvendor(break_even_s=7_200.0).idle_target(demand, now) == 1
    assert Newsvendor(break_even_s=200_000.0).idle_target(demand, now) == 3
    assert Newsvendor(break_even_s=1e9).idle_target(demand, now) == 3, "more was never needed"
    assert Newsvendor(break_even_s=1e9).idle_target(demand, now + 1e8) == 0, "demand of long ago is forgotten"


def test_its_price_is_that_of_the_starts_unless_it_is_given() -> None:
    assert Newsvendor().worth_s(50.0) == 1_500.0
    assert Newsvendor(start_worth=2.0).worth_s(50.0) == 100.0
    assert Newsvendor().priced(10.0).worth_s(50.0) == 500.0
    assert Newsvendor(start_worth=2.0).priced(10.0).worth_s(50.0) == 100.0
    assert Newsvendor(break_even_s=77.0).worth_s(50.0) == 77.0


def test_it_says_how_often_the_last_that_pays_and_the_next_one_would_be_needed() -> None:
    load = Load(604_800.0, 0.0)
    for hour in range(200):
        times = 2 if hour % 20 == 0 else 1
        for _ in range(times):
            load.asked(2_400.0 * hour, 60.0)
        for _ in range(times):
            load.ended(2_400.0 * hour + 100.0)
    why = Newsvendor(break_even_s=7_200.0).why(QUIET._replace(load=load, start_s=60.0), 480_000.0)
    said = re.fullmatch(
        r"1 idle cluster pays for itself: at this hour a 1st one every (.+) min and a 2nd one every (.+) h would be"
        r" needed, and a start is worth 2 h of idle time",
        why,
    )
    assert said is not None
    assert float(said[1]) == pytest.approx(40.0, rel=0.1)
    assert float(said[2]) == pytest.approx(13.3, rel=0.3)
    assert "a 2nd" not in Newsvendor(break_even_s=1e9).why(QUIET._replace(load=Load(1e5, 0.0)), 10.0)
    assert Newsvendor().why(QUIET, 0.0) == ""


# --- square root


@pytest.mark.parametrize(
    ("rho", "peakedness", "probability", "wanted"),
    [(100.0, 1.0, 0.975, 119.5996), (100.0, 4.0, 0.975, 139.1993), (0.0, 1.0, 0.99, 0.0), (25.0, 1.0, 0.8413447, 30.0)],
)
def test_the_margin_grows_with_the_root(rho: float, peakedness: float, probability: float, wanted: float) -> None:
    assert math.isclose(staffing(rho, peakedness, probability), wanted, abs_tol=1e-3)


@given(st.floats(0.1, 1e4), st.floats(0.0, 10.0), st.floats(0.51, 0.999), st.floats(0.51, 0.999))
def test_more_certainty_never_needs_fewer(rho: float, peakedness: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert rho <= staffing(rho, peakedness, low) <= staffing(rho, peakedness, high)


def test_what_is_leased_already_need_not_be_idle() -> None:
    load, now = Load(3_600.0, 0.0), 0.0
    for n in range(2_000):
        now = 20.0 * n
        load.asked(now, 60.0)
        if n >= 10:
            load.ended(now)
    # A steady ten in use: nothing peaks.
    demand = QUIET._replace(load=load)
    assert SquareRoot(probability=0.95).idle_target(demand._replace(leased=10), now) <= 1
    assert 9 <= SquareRoot(probability=0.95).idle_target(demand._replace(leased=0), now) <= 11


def test_one_long_lease_does_not_make_a_burst_of_short_ones_want_hundreds() -> None:
    load, day_s = Load(3_600.0, 0.0), 86_400.0
    load.asked(0.0, 60.0)
    load.ended(3 * day_s)
    for n in range(100):
        load.asked(3 * day_s + 60 * n, 60.0)
        load.ended(3 * day_s + 60 * n + 30)
    assert SquareRoot().idle_target(QUIET._replace(load=load), 3 * day_s + 6_000) <= 5


def test_square_root_says_what_it_counts_with() -> None:
    load, now = Load(3_600.0, 0.0), 0.0
    for n in range(2_000):
        now = 20.0 * n
        load.asked(now, 60.0)
        if n >= 10:
            load.ended(now)
    why = SquareRoot(probability=0.95).why(QUIET._replace(load=load), now)
    assert why == "10 in use on average, with a peakedness of 0.00, want 11 clusters in all for 95.0%"
    assert SquareRoot().why(QUIET, now) == ""


# --- all


@pytest.mark.parametrize("policy", [Reactive(threshold=0), Newsvendor(), SquareRoot()])
def test_windows_and_an_operators_resize_are_a_floor_for_all(policy: Reactive | Newsvendor | SquareRoot) -> None:
    idle = QUIET._replace(idle=100)
    assert policy.idle_target(idle, 0.0) == 0
    assert policy.idle_target(idle._replace(floor=5), 0.0) == 5
    assert policy.idle_target(idle._replace(floor=2, min_idle=4), 0.0) == 4


@given(st.integers(0, 2), st.integers(0, 2), st.integers(0, 20), st.integers(0, 20))
def test_a_sizing_that_says_it_wants_nothing_wants_nothing_whatever_is_leased(
    min_idle: int, buffer: int, leased: int, idle: int
) -> None:
    policy = FloorAndBuffer(min_idle=min_idle, buffer=buffer)
    assert policy.wants() or policy.idle_target(QUIET._replace(leased=leased, idle=idle), 0.0) == 0


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        (Reactive, {"increment": 0}), (Reactive, {"threshold": -1}), (Reactive, {"most": -1}),
        (Newsvendor, {"break_even_s": -1.0}), (Newsvendor, {"half_life_s": 0.0}), (Newsvendor, {"start_worth": -1.0}),
        (SquareRoot, {"probability": 0.5}), (SquareRoot, {"probability": 1.0}), (SquareRoot, {"half_life_s": -1.0}),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(policy: type, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        policy(**options)

"""Hours and days are told apart by what happened in them, and by what is supposed where little did."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core.rhythm import DAY_S, FADES_AFTER_S, HOUR_S, WEEK_S, Rhythm

MONDAY_S = 4 * DAY_S + 52 * WEEK_S


def filled(rhythm: Rhythm, weeks: int, hours: set[int], days: set[int], times: int = 4) -> Rhythm:
    """Have something happen so often in some hours of some days."""
    rhythm.passed(MONDAY_S)
    for day in range(7 * weeks):
        for hour in range(24):
            for n in range(times if hour in hours and day % 7 in days else 0):
                rhythm.count(MONDAY_S + DAY_S * day + HOUR_S * hour + (n + 0.5) * HOUR_S / times)
    rhythm.passed(MONDAY_S + weeks * WEEK_S)
    return rhythm


def test_of_what_nothing_was_seen_is_as_busy_as_is_supposed() -> None:
    assert Rhythm(5.0).factor(MONDAY_S) == 1.0
    common = filled(Rhythm(5.0), 3, {9, 10, 11}, set(range(5)))
    for hour in range(0, 168, 5):
        assert Rhythm(8.0, common).factor(MONDAY_S + hour * HOUR_S) == pytest.approx(
            common.factor(MONDAY_S + hour * HOUR_S)
        )


def test_an_hour_in_which_all_happens_is_as_much_busier_as_others_are_idle() -> None:
    rhythm = filled(Rhythm(1e-6), 4, {9}, set(range(5)))
    assert rhythm.factor(MONDAY_S + 9.5 * HOUR_S) == pytest.approx(24 * 7 / 5, rel=0.03)
    assert rhythm.factor(MONDAY_S + 5 * DAY_S + 9.5 * HOUR_S) == pytest.approx(0.0, abs=1e-3)
    assert rhythm.factor(MONDAY_S + 12 * HOUR_S) == pytest.approx(0.0, abs=1e-3)


def test_one_of_which_much_was_seen_has_its_own_rhythm_and_not_that_of_the_others() -> None:
    common = filled(Rhythm(5.0), 4, set(range(9, 17)), set(range(5)))
    nightly = filled(Rhythm(8.0, common), 8, {2}, set(range(7)))
    night, noon = MONDAY_S + 2.5 * HOUR_S, MONDAY_S + 12 * HOUR_S
    assert common.factor(night) < 0.1 * common.factor(noon)
    assert nightly.factor(night) > 5.0 * nightly.factor(noon)


@given(st.lists(st.floats(0.0, 3 * WEEK_S), min_size=1, max_size=50))
def test_over_a_whole_week_the_mean_is_near_one(moments: list[float]) -> None:
    rhythm = Rhythm(50.0)
    for at in sorted(moments):
        rhythm.count(MONDAY_S + at)
    rhythm.count(MONDAY_S + 3 * WEEK_S)
    hours = [rhythm.factor(MONDAY_S + 3 * WEEK_S + (hour + 0.5) * HOUR_S) for hour in range(168)]
    assert all(factor > 0 for factor in hours)
    assert 0.5 < sum(hours) / 168 < 1.5


@given(st.floats(0.0, WEEK_S), st.floats(60.0, HOUR_S))
def test_the_mean_of_a_short_time_is_that_of_its_middle(begins_s: float, lasts_s: float) -> None:
    rhythm = filled(Rhythm(5.0), 1, {3, 4, 20}, {0, 3})
    at = MONDAY_S + WEEK_S + begins_s
    assert rhythm.mean(at, at + lasts_s) == rhythm.factor(at + lasts_s / 2)


def test_the_mean_of_a_day_is_that_of_its_hours() -> None:
    rhythm = filled(Rhythm(5.0), 2, {3, 4, 20}, {0, 3})
    at = MONDAY_S + 2 * WEEK_S
    hours = [rhythm.factor(at + (hour + 0.5) * HOUR_S) for hour in range(24)]
    assert rhythm.mean(at, at + DAY_S) == pytest.approx(math.fsum(hours) / 24)


def test_what_was_long_ago_counts_less() -> None:
    rhythm = filled(Rhythm(5.0), 4, {9}, set(range(7)))
    later = MONDAY_S + 4 * WEEK_S + FADES_AFTER_S
    before = rhythm.factor(MONDAY_S + 9.5 * HOUR_S)
    for day in range(7 * 8):
        rhythm.count(later + DAY_S * day + 20.5 * HOUR_S)
    assert rhythm.factor(later + 9.5 * HOUR_S) < 0.7 * before


def test_weeks_in_which_nothing_happens_are_seen_as_a_whole_as_by_the_hour() -> None:
    whole, hourly = Rhythm(5.0), Rhythm(5.0)
    for rhythm in (whole, hourly):
        rhythm.count(MONDAY_S + 100.0)
    for hour in range(24 * 14):
        hourly.passed(MONDAY_S + 100.0 + hour * HOUR_S)
    for rhythm in (whole, hourly):
        rhythm.count(MONDAY_S + 2 * WEEK_S + 5_000.0)
    told = [rhythm.told() for rhythm in (whole, hourly)]
    assert told[0][1] == told[1][1]
    assert told[0][2] == pytest.approx(told[1][2], abs=1.0)


def test_a_restart_goes_on_with_it() -> None:
    rhythm, again = filled(Rhythm(5.0), 2, {9, 14}, {1, 2}), Rhythm(5.0)
    again.recall(rhythm.told())
    for one in (rhythm, again):
        one.count(MONDAY_S + 2 * WEEK_S + 9 * HOUR_S)
    for hour in range(168):
        assert again.factor(hour * HOUR_S) == pytest.approx(rhythm.factor(hour * HOUR_S), rel=1e-3)
    with pytest.raises(ValueError, match="hours"):
        again.recall([0.0, [1.0], [1.0]])

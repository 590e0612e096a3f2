"""What sizing may look at follows from the events, whoever counts them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core.load import LEAST_SEEN_S, Load

FOREVER_S = 1e12
"""A half-life by which nothing is forgotten."""

LEASES = st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 500)), min_size=1, max_size=30)
"""When each was asked for, and how long it lasted."""


def moments(leases: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return asks and ends by time, ends first: (time, 1 for an ask, which)."""
    asks = [(at, 1, n) for n, (at, _) in enumerate(leases)]
    return sorted([*asks, *((at + took, 0, n) for n, (at, took) in enumerate(leases))])


def seen(leases: Sequence[tuple[int, int]], lead_s: float = 60.0) -> Load:
    load = Load(FOREVER_S, 0.0)
    for at, asks, _ in moments(leases):
        if asks:
            load.asked(float(at), lead_s)
        else:
            load.ended(float(at))
    return load


@given(LEASES)
def test_number_in_use_and_peakedness_are_those_of_the_leases(leases: list[tuple[int, int]]) -> None:
    end = max(at + took for at, took in leases)
    load = seen(leases)
    leased_s = sum(took for _, took in leases)
    assert math.isclose(load.in_use(float(end)), leased_s / (end + LEAST_SEEN_S), rel_tol=1e-6)
    in_use = [sum(at <= second < at + took for at, took in leases) for second in range(end)]
    mean = sum(in_use) / end
    variance = sum((number - mean) ** 2 for number in in_use) / end
    assert math.isclose(load.peakedness(float(end)), variance / mean, rel_tol=1e-6, abs_tol=1e-6)


@given(LEASES, st.integers(1, 300))
def test_depths_are_counted_from_the_least_that_was_in_use_in_the_time_of_a_start(
    leases: list[tuple[int, int]], lead_s: int
) -> None:
    number, steps, depths = 0, [(0.0, 0)], dict[int, int]()
    for at, asks, _ in moments(leases):
        number += 1 if asks else -1
        if asks:
            # What was in use at some time since, the moment before this ask included.
            begins = max((n for n, (since, _) in enumerate(steps) if since < at - lead_s), default=0)
            low = min(was for _, was in steps[begins:])
            depths[number - low] = depths.get(number - low, 0) + 1
        steps.append((float(at), number))
    end = float(max(at + took for at, took in leases))
    rates = [depths.get(depth, 0) / (end + LEAST_SEEN_S) for depth in range(1, max(depths) + 1)]
    expected = [1 - math.exp(-max(rates[n:]) * lead_s) for n in range(len(rates))]
    assert list(seen(leases, float(lead_s)).exceeds(end, float(lead_s))) == pytest.approx(expected, rel=1e-6)


@given(LEASES)
def test_it_is_never_more_likely_that_more_are_needed(leases: list[tuple[int, int]]) -> None:
    exceeds = seen(leases).exceeds(3_000.0, 60.0)
    assert all(0.0 <= more <= less <= 1.0 for less, more in pairwise(exceeds))


def test_use_of_a_half_life_ago_counts_half() -> None:
    load = Load(3_600.0, 0.0)
    load.asked(36_000.0, 60.0)
    load.ended(36_010.0)
    before = load.in_use(36_010.0)
    later = load.in_use(39_610.0)
    assert later / before == pytest.approx(0.5, rel=1e-3)


def test_weights_made_small_again_say_the_same() -> None:
    short, often = Load(10.0, 0.0), Load(10.0, 0.0)
    for second in range(1_000):
        for load in (short, often):
            load.asked(float(second), 60.0)
            load.ended(second + 0.5)
        often.in_use(second + 0.7)
    assert short.in_use(1_000.0) == pytest.approx(often.in_use(1_000.0))
    assert short.peakedness(1_000.0) == pytest.approx(0.5, rel=0.05)


def test_what_was_foreseen_takes_nothing_of_what_stands_for_others() -> None:
    load = Load(FOREVER_S, 0.0)
    load.asked(1.0, 60.0, foreseen=True)
    assert not list(load.exceeds(2.0, 60.0))
    load.asked(2.0, 60.0)
    assert len(load.exceeds(2.0, 60.0)) == 1
    load.ended(3.0, foreseen=True)
    load.asked(4.0, 60.0)
    assert len(load.exceeds(4.0, 60.0)) == 2, "the one that is still in use was not foreseen"

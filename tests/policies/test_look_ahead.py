"""When a cluster is made ready for what is expected, against the costs that it is to save."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.look_ahead import JustInTime
from policies.next_use import NextUse
from pool.core.policy import Reserved
from pool.core.uses import Use
from pool.core.workflows import Delay

DAY_S = 86_400.0


def delay(typical_s: float, spread: float) -> Delay:
    """Return a delay with this median and, nearly, this spread."""
    times = 1e6
    return Delay(math.log(typical_s), spread**2 * times, times)


def drawn(found: Delay) -> list[float]:
    rng = random.Random(1)
    return [rng.lognormvariate(found.mean, found.spread) for _ in range(4_000)]


def cost(
    ready_s: float, until_s: float, likely: float, worth_s: float, start_s: float, times: Sequence[float]
) -> float:
    """Return what it costs on average to have a cluster ready then, by simulation."""
    each = [time - ready_s if time >= ready_s else worth_s for time in times]
    return likely * sum(each) / len(each) + (1.0 - likely) * (until_s - ready_s + start_s)


@settings(max_examples=30, deadline=None)
@given(st.floats(30.0, 3_000.0), st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.floats(100.0, 20_000.0))
def test_no_other_time_costs_much_less(typical_s: float, spread: float, likely: float, worth_s: float) -> None:
    found, start_s = delay(typical_s, spread), 50.0
    span, times = JustInTime(break_even_s=worth_s).span(likely, found, start_s), drawn(found)
    until_s = typical_s * math.exp(3.0 * spread)
    tries = [typical_s * math.exp(spread * place / 4) for place in range(-16, 13)]
    least = min(cost(ready_s, until_s, likely, worth_s, start_s, times) for ready_s in tries)
    nothing = likely * worth_s
    chosen = nothing if span is None else cost(span.from_s, span.until_s, likely, worth_s, start_s, times)
    assert chosen <= 1.2 * min(least, nothing) + 0.1 * typical_s


def test_the_dearer_a_start_the_sooner_it_is_ready() -> None:
    found = delay(300.0, 0.3)
    ready = [JustInTime(break_even_s=worth_s).span(1.0, found, 50.0) for worth_s in (100.0, 1e3, 1e4, 1e5)]
    times = [span.from_s for span in ready if span is not None]
    assert len(times) >= 3
    assert times == sorted(times, reverse=True)
    assert times[-1] == pytest.approx(300.0 * math.exp(-0.3 * 4), rel=0.2)


def test_what_is_not_likely_enough_is_not_made_ready() -> None:
    found = delay(300.0, 0.3)
    assert JustInTime(break_even_s=1_000.0).span(0.9, found, 50.0) is not None
    assert JustInTime(break_even_s=1_000.0).span(0.1, found, 50.0) is None


def test_what_the_reserve_answers_mostly_is_worth_as_much_less() -> None:
    found, policy = delay(300.0, 0.3), JustInTime(break_even_s=10_000.0)
    for lacks in (0.3, 0.1, 0.03):
        assert policy.span(0.9, found, 50.0, Reserved(lacks)) == JustInTime(10_000.0 * lacks).span(0.9, found, 50.0)
    assert policy.span(1.0, found, 50.0, Reserved(0.0)) is None


def test_a_miss_costs_what_the_reserve_goes_by_unless_it_was_said() -> None:
    found = delay(300.0, 0.3)
    reserved = Reserved(lacks=0.1, price_s=1e5)
    assert JustInTime().span(1.0, found, 50.0, reserved) == JustInTime(1e4).span(1.0, found, 50.0)
    for said in (JustInTime(break_even_s=1e3), JustInTime(start_worth=20.0)):
        assert said.span(1.0, found, 50.0, reserved) == JustInTime(100.0).span(1.0, found, 50.0)


def test_what_was_begun_is_let_go_only_if_that_saves_more_than_the_start_that_replaces_it() -> None:
    soon, late = delay(40.0, 0.2), delay(4_000.0, 0.2)
    for found, kept in ((soon, True), (late, False)):
        span = JustInTime(break_even_s=1e3).span(1.0, found, 50.0, Reserved(lacks=0.01, begun=True))
        assert (span is not None and span.from_s < 0.9 * math.exp(found.mean)) is kept
    assert JustInTime(break_even_s=1e3).span(1.0, soon, 50.0, Reserved(lacks=1.0, begun=True)) == JustInTime(1e3).span(
        1.0, soon, 50.0
    )


# --- the next use


def nightly(days: int, *, late_s: float = 60.0) -> tuple[list[Use], float]:
    """Return uses every night, a little late or early, and when the last one was."""
    rng = random.Random(2)
    times = [DAY_S * day + 7_200.0 + rng.uniform(-late_s, late_s) for day in range(1, days + 2)]
    return [Use(one, other - one) for one, other in pairwise(times)], times[-1]


def test_what_comes_every_night_is_ready_just_before_it() -> None:
    uses, last_at = nightly(10)
    span = NextUse(break_even_s=3_600.0).span(uses, last_at, last_at, 50.0)
    assert span is not None
    assert DAY_S - 3_600.0 < span.from_s < min(use.gap_s for use in uses)
    assert max(use.gap_s for use in uses) < span.until_s < DAY_S + 3_600.0


def test_what_comes_on_working_days_is_not_ready_on_a_saturday() -> None:
    # The epoch was a Thursday; four weeks of Monday to Friday, and one more Friday.
    days = [day for day in range(4, 37) if (day + 3) % 7 < 5]
    assert (days[-1] + 3) % 7 == 4
    times = [DAY_S * day + 30_000.0 for day in days]
    uses = [Use(one, other - one) for one, other in pairwise(times)]
    policy = NextUse(break_even_s=7_200.0)
    span = policy.span(uses[-24:], times[-1], times[-1], 50.0)
    assert span is not None
    assert 2.9 * DAY_S < span.from_s < 3 * DAY_S
    thursday = policy.span(uses[-24:], times[-2], times[-2], 50.0)
    assert thursday is not None
    assert 0.9 * DAY_S < thursday.from_s < DAY_S


def test_what_comes_at_no_time_in_particular_is_not_made_ready() -> None:
    rng = random.Random(3)
    times = [0.0]
    for _ in range(24):
        times.append(times[-1] + rng.expovariate(1 / DAY_S))
    uses = [Use(one, other - one) for one, other in pairwise(times)]
    assert NextUse(break_even_s=600.0).span(uses, times[-1], times[-1], 50.0) is None


def test_of_too_few_gaps_nothing_is_expected() -> None:
    uses, last_at = nightly(3)
    assert NextUse(break_even_s=3_600.0).span(uses, last_at, last_at, 50.0) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(10.0, 1e6), min_size=4, max_size=24), st.floats(60.0, 1e5), st.floats(0.0, 1e6),
    st.floats(1.0, 300.0),
)  # fmt: skip
def test_a_span_saves_more_than_it_costs_by_the_gaps_that_were_seen(
    gaps: list[float], worth_s: float, passed_s: float, start_s: float
) -> None:
    # All began at one hour of one weekday, so all count the same.
    uses = [Use(604_800.0 * n, gap_s) for n, gap_s in enumerate(gaps)]
    last_at = 604_800.0 * 100
    span = NextUse(break_even_s=worth_s).span(uses, last_at, last_at + passed_s, start_s)
    if span is None:
        return
    assert span.from_s >= passed_s + start_s - 1e-6
    left = [gap_s for gap_s in gaps if gap_s >= span.from_s]
    met = [gap_s for gap_s in left if gap_s <= span.until_s]
    saved = worth_s * len(met)
    spent = sum(gap_s - span.from_s for gap_s in met) + (len(left) - len(met)) * (span.until_s - span.from_s + start_s)
    assert met
    assert saved > spent - 1e-6 * worth_s

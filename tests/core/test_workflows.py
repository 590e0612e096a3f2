"""Where a group is, and what followed there before."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core.workflows import FOLLOWERS, GROUPS, OVER_S, PLACES, REMEMBERED, Delay, Workflows

Steps = list[dict[str, int]]

CHAIN: Steps = [{"a": 1}, {"b": 2}, {"a": 1, "c": 1}]


def execute(workflows: Workflows, name: str, steps: Steps, now: float, *, takes_s: float = 100.0) -> float:
    """Have a group go through steps, each asked for 2 s after all of the one before had ended; return when it ends."""
    who = ("tenant", name)
    for number, step in enumerate(steps):
        ids = [(f"{name}-{number}-{pool}-{n}", pool) for pool, count in step.items() for n in range(count)]
        for lease_id, pool in ids:
            workflows.asked(who, pool, lease_id, now)
        now += takes_s
        for lease_id, _ in ids:
            workflows.ended(who, lease_id, now)
        now += 2.0
    return now


def after(workflows: Workflows, steps: Steps, now: float) -> dict[str, list[float]]:
    """Return what is expected of a group that has come so far."""
    execute(workflows, "now", steps[:-1], now)
    for pool, count in steps[-1].items():
        for n in range(count):
            run, _ = workflows.asked(("tenant", "now"), pool, f"last-{pool}-{n}", now + 200.0 * len(steps))
    known = workflows.next_of(run)
    return known[1].likely() if known is not None else {}


def test_a_workflow_seen_once_is_known_by_its_beginning() -> None:
    workflows = Workflows()
    execute(workflows, "x-1", CHAIN, 0.0)
    assert after(workflows, CHAIN[:1], 1_000.0) == {"b": [1.0, 1.0]}
    workflows.over(("tenant", "now"), 5_000.0)
    assert after(workflows, CHAIN[:2], 6_000.0) == {"a": [1.0], "c": [1.0]}


def test_delays_are_from_the_last_grant_and_from_the_last_end() -> None:
    workflows = Workflows()
    execute(workflows, "x-1", CHAIN, 0.0)
    run, _ = workflows.asked(("tenant", "x-2"), "a", "l", 1_000.0)
    known = workflows.next_of(run)
    assert known is not None
    _, place = known
    assert math.exp(place.taken.mean) == pytest.approx(102.0)
    assert math.exp(place.paused.mean) == pytest.approx(2.0)
    assert place.alone == 1.0


def test_what_follows_seldom_is_less_likely_and_what_no_longer_follows_is_forgotten() -> None:
    workflows, now = Workflows(), 0.0
    for n in range(40):
        follows = {"c": 1} if n % 4 == 0 else {"b": 1}
        now = execute(workflows, f"x-{n}", [{"a": 1}, follows], now)
    likely = after(workflows, [{"a": 1}], now)
    assert likely["b"][0] == pytest.approx(0.75, abs=0.1)
    assert likely["b"][0] + likely["c"][0] == pytest.approx(1.0)
    for n in range(100):
        now = execute(workflows, f"y-{n}", [{"a": 1}, {"b": 1}], now + 1_000.0)
    workflows.over(("tenant", "now"), now)
    assert after(workflows, [{"a": 1}], now)["b"][0] > 0.94, "but for the one that asked for nothing more"


def test_a_step_is_known_without_what_came_before_it() -> None:
    workflows = Workflows()
    execute(workflows, "x-1", CHAIN, 0.0)
    assert after(workflows, [{"z": 3}, {"b": 2}], 1_000.0) == {"a": [1.0], "c": [1.0]}


def test_a_workflow_that_is_over_teaches_that_nothing_follows() -> None:
    workflows = Workflows()
    execute(workflows, "x-1", CHAIN, 0.0)
    workflows.over(("tenant", "x-1"), 1_000.0)
    assert after(workflows, CHAIN, 2_000.0) == {}
    execute(workflows, "x-2", [{"a": 1}], 5_000.0)
    assert workflows.long_over(5_000.0 + OVER_S) is None
    assert workflows.long_over(6_000.0 + OVER_S) is not None


def test_what_overlaps_with_the_next_step_does_not_come_back_for_it() -> None:
    workflows = Workflows()
    who = ("tenant", "x-1")
    workflows.asked(who, "a", "long", 0.0)
    workflows.asked(who, "b", "short", 0.0)
    workflows.ended(who, "short", 50.0)
    workflows.asked(who, "a", "next", 60.0)
    workflows.ended(who, "next", 90.0)
    workflows.ended(who, "long", 100.0)
    run, _ = workflows.asked(("tenant", "x-2"), "b", "one", 200.0)
    workflows.asked(("tenant", "x-2"), "a", "two", 200.0)
    known = workflows.next_of(run)
    assert known is not None
    _, place = known
    assert place.alone == 0.0
    assert place.paused.times == 0.0


def test_asking_twice_under_one_id_is_asking_once() -> None:
    workflows = Workflows()
    for _ in range(3):
        run, _ = workflows.asked(("tenant", "x"), "a", "l-1", 0.0)
    assert run.step == (("a", 1),)
    workflows.ended(("tenant", "x"), "l-1", 1.0)
    assert workflows.ended(("tenant", "x"), "l-1", 2.0) is None


def test_what_is_known_is_bounded() -> None:
    workflows = Workflows()
    for n in range(GROUPS + 10):
        workflows.asked(("tenant", f"x-{n}"), "a", f"l-{n}", float(n))
    assert len(workflows.runs) <= GROUPS
    for n in range(3 * PLACES):
        execute(workflows, f"y-{n}", [{"a": 1 + n}, {"b": 1}], 1e6 + 1_000.0 * n)
        execute(workflows, f"z-{n}", [{"a": 1}, {"b": 1 + n}], 1e6 + 1_000.0 * n)
    assert len(workflows.places["a"]) <= PLACES
    assert all(len(place.steps) <= FOLLOWERS for places in workflows.places.values() for place in places.values())


@given(st.lists(st.floats(1.0, 1e5), min_size=1, max_size=int(REMEMBERED)))
def test_a_delay_has_the_mean_and_the_spread_of_its_logarithms(seconds: list[float]) -> None:
    delay = Delay()
    for value in seconds:
        delay.add(value)
    logs = [math.log(value) for value in seconds]
    mean = sum(logs) / len(logs)
    assert delay.mean == pytest.approx(mean, abs=1e-9)
    squares = sum((value - mean) ** 2 for value in logs)
    assert delay.spread == pytest.approx(math.sqrt((2.0 * 0.5**2 + squares) / (2.0 + len(logs))), rel=1e-6, abs=1e-9)


def test_a_delay_forgets() -> None:
    delay = Delay()
    for seconds in [10.0] * 50 + [1_000.0] * 100:
        delay.add(seconds)
    assert math.exp(delay.mean) == pytest.approx(1_000.0, rel=0.1)
    assert delay.spread < 0.6


@given(st.floats(1.0, 1e4), st.floats(0.0, 1.0), st.floats(1.0, 1e4), st.floats(0.0, 1.0))
def test_one_delay_after_the_other_has_the_mean_and_the_variance_of_their_sum(
    one_s: float, one_spread: float, other_s: float, other_spread: float
) -> None:
    def moments(delay: Delay) -> tuple[float, float]:
        square = delay.spread**2
        mean = math.exp(delay.mean + square / 2)
        return mean, mean**2 * math.expm1(square)

    times = 1e9
    one = Delay(math.log(one_s), one_spread**2 * times, times)
    other = Delay(math.log(other_s), other_spread**2 * times, times)
    (mean, variance), *parts = moments(one.then(other)), moments(one), moments(other)
    assert mean == pytest.approx(sum(part[0] for part in parts), rel=1e-4)
    assert variance == pytest.approx(sum(part[1] for part in parts), rel=1e-3, abs=1e-6 * mean**2)

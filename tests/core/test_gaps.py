"""What was seen of gaps: each is paired with the latest release, learned once, and forgotten slowly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core import gaps
from pool.core.gaps import ASKS, BINS, LONGEST_S, TIMES_S, Choice, Curve, Gaps, Kind, Situation

DAY_S = 86_400.0


def add(curve: Curve, lasted_s: float, after: float, now: float) -> None:
    weight = curve.scale(now)
    curve.add(bin_of(lasted_s), weight, weight * after)


def bin_of(seconds: float) -> int:
    return next((n for n, time_s in enumerate(TIMES_S) if time_s >= seconds), BINS - 1)


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1)), min_size=1, max_size=20))
def test_a_curve_has_for_each_idle_time_what_ended_by_then_and_what_that_led_to(
    seen: list[tuple[float, float]],
) -> None:
    curve = Curve(0.0, DAY_S)
    for lasted_s, after in seen:
        add(curve, lasted_s, after, 0.0)
    assert curve.weight == len(seen)
    for n, time_s in enumerate(TIMES_S):
        assert sum(curve.sums[: n + 1]) == sum(lasted_s <= time_s for lasted_s, _ in seen)
        led_to = sum(after for lasted_s, after in seen if lasted_s <= time_s)
        assert math.isclose(sum(curve.sums[BINS : BINS + n + 1]), led_to, abs_tol=1e-9)
    assert sum(curve.sums[:BINS]) == len(seen)


def test_an_episode_of_a_half_life_ago_counts_half() -> None:
    curve = Curve(0.0, DAY_S)
    add(curve, 10.0, 0.0, 0.0)
    add(curve, 1000.0, 1.0, DAY_S)
    scale = curve.scale(DAY_S)
    assert curve.weight / scale == pytest.approx(1.5)
    assert sum(curve.sums[:BINS]) / scale == pytest.approx(1.5)
    assert sum(curve.sums[BINS:]) / scale == pytest.approx(1.0)


def test_when_its_weights_are_made_small_a_curve_says_the_same() -> None:
    curve = Curve(0.0, DAY_S)
    add(curve, 10.0, 0.5, 3 * DAY_S)
    before = curve.weight / curve.scale(5 * DAY_S)
    curve.rebase(4 * DAY_S)
    assert curve.weight / curve.scale(5 * DAY_S) == pytest.approx(before)
    assert curve.sums[BINS + bin_of(10.0)] == pytest.approx(0.5 * curve.weight)


def test_what_lives_for_years_stays_finite_and_remembers_as_much_as_ever() -> None:
    seen = Gaps()
    for day in range(3_000):
        watched(seen, f"c-{day}", day * DAY_S)
        seen.asked("p", day * DAY_S + 60.0)
    now = 2_999 * DAY_S + 60.0
    assert learned(seen).weight / learned(seen).scale(now) == pytest.approx(2.0, abs=0.01), "1 + 1/2 + 1/4 + ..."
    assert learned(seen).weight < 2.0**25


def test_another_half_life_counts_from_then_on() -> None:
    seen = Gaps()
    watched(seen, "c-1", DAY_S - 10.0)
    seen.asked("p", DAY_S)
    release = seen.released("p", "c-2")
    seen.watch(release, Situation("p", Kind.FRESH, ()), Choice(("all",), 5.0, 0.0), 2 * DAY_S, 2 * DAY_S - 10.0)
    seen.asked("p", 2 * DAY_S)
    assert learned(seen).weight / learned(seen).scale(2 * DAY_S) == pytest.approx(1.5), "a day at the first one's"
    assert learned(seen).weight / learned(seen).scale(4 * DAY_S) == pytest.approx(0.75)


def looked(seen: Gaps, release: gaps.Release, at: float, cost: float = 0.0) -> None:
    seen.watch(release, Situation("p", Kind.FRESH, ()), Choice(("all",), 5.0, cost), DAY_S, at)


def watched(seen: Gaps, cluster: str, at: float, pool: str = "p") -> None:
    looked(seen, seen.released(pool, cluster), at)


def learned(seen: Gaps) -> Curve:
    return seen.curves["all"]


def test_an_arrival_ends_the_gap_of_the_latest_release() -> None:
    seen = Gaps()
    watched(seen, "c-1", 0.0)
    watched(seen, "c-2", 100.0)
    seen.asked("p", 130.0)
    assert learned(seen).sums[bin_of(30.0)] == pytest.approx(1.0, rel=1e-2)
    assert (seen.of("c-2"), seen.top("p")) == (None, seen.of("c-1"))
    seen.asked("p", 150.0)
    assert learned(seen).weight == pytest.approx(2.0, rel=1e-2)
    assert seen.top("p") is None


def test_a_situation_that_another_one_followed_is_learned_with_what_that_one_is_expected_to_cost() -> None:
    seen = Gaps()
    release = seen.released("p", "c-1")
    looked(seen, release, 0.0)
    looked(seen, release, 30.0, cost=0.7)
    assert learned(seen).sums[bin_of(30.0)] == pytest.approx(1.0, rel=1e-2)
    assert learned(seen).sums[BINS + bin_of(30.0)] == pytest.approx(0.7, rel=1e-2)
    assert release.until == 35.0


def test_pools_do_not_answer_for_each_other() -> None:
    seen = Gaps()
    watched(seen, "c-1", 0.0, "p")
    seen.asked("q", 10.0)
    assert not seen.curves
    assert seen.of("c-1") is not None


def test_a_gap_that_never_ends_is_learned_as_one_that_was_too_long() -> None:
    seen = Gaps()
    watched(seen, "c-1", 0.0)
    watched(seen, "c-2", LONGEST_S + 1.0, "q")
    assert learned(seen).sums[BINS - 1] == learned(seen).weight
    weight = learned(seen).weight
    seen.asked("p", 2 * LONGEST_S)
    assert learned(seen).weight == weight, "it is learned once"


def test_a_situation_tells_how_long_ago_the_pool_was_asked_for() -> None:
    seen = Gaps()
    for at in (0.0, 20_000.0, 21_000.0, 23_000.0):
        seen.asked("p", at)
    assert seen.situation("p", Kind.FRESH, 8.0, 24_000.0) == Situation(
        "p", Kind.FRESH, (1_000.0, 3_000.0, 24_000.0, math.inf), 8.0
    )


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "OPEN", 50)
    seen = Gaps()
    for n in range(1_000):
        seen.asked("q", float(n))
        watched(seen, f"c-{n}", float(n))
    assert len(seen._stacks["p"]) == gaps.DEEPEST
    assert len(seen._of) == gaps.DEEPEST
    assert len(seen._open) <= 50
    assert len(seen._asked["q"]) == ASKS[-1]

"""What was seen of gaps: each is paired with the latest release, learned once, and forgotten slowly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core import gaps
from pool.core.gaps import LONGEST_S, TIMES_S, Curve, Gaps, Kind

DAY_S = 86_400.0
CHAIN = (("all",),)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=20))
def test_a_curve_is_the_sums_of_what_each_idle_time_would_have_kept_and_missed(seen: list[float]) -> None:
    curve = Curve(0.0, DAY_S)
    for gap_s in seen:
        curve.add(gap_s, 0.0)
    assert curve.weight == len(seen)
    for n, time_s in enumerate(TIMES_S):
        assert math.isclose(curve.kept[n], sum(min(gap_s, time_s) for gap_s in seen), abs_tol=1e-6)
        assert curve.missed[n] == sum(gap_s > time_s for gap_s in seen)


def test_a_gap_of_a_half_life_ago_counts_half() -> None:
    curve = Curve(0.0, DAY_S)
    curve.add(10.0, 0.0)
    curve.add(1000.0, DAY_S)
    scale = curve.scale(DAY_S)
    assert curve.weight / scale == pytest.approx(1.5)
    assert curve.missed[0] / scale == pytest.approx(1.5)
    assert curve.missed[TIMES_S.index(next(t for t in TIMES_S if t > 100))] / scale == pytest.approx(1.0)


def test_a_curve_that_lives_for_years_stays_finite() -> None:
    curve = Curve(0.0, DAY_S)
    for day in range(3_000):
        curve.add(60.0, day * DAY_S)
    now = 3_000 * DAY_S
    assert curve.weight / curve.scale(now) == pytest.approx(1.0, abs=0.01), "1/2 + 1/4 + ..."


def watched(seen: Gaps, cluster: str, at: float, pool: str = "p") -> None:
    seen.watch(seen.released(pool, cluster, 1), CHAIN, DAY_S, at)


def learned(seen: Gaps) -> Curve:
    return seen.curves["all"]


def test_an_arrival_ends_the_gap_of_the_latest_release() -> None:
    seen = Gaps()
    watched(seen, "c-1", 0.0)
    watched(seen, "c-2", 100.0)
    seen.asked("p", 130.0)
    assert learned(seen).kept[-1] == 30.0
    assert (seen.of("c-2"), seen.top("p")) == (None, seen.of("c-1"))
    seen.asked("p", 150.0)
    assert learned(seen).weight == pytest.approx(2.0, rel=1e-3)
    assert seen.top("p") is None


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
    assert learned(seen).missed[-1] == 1.0
    seen.asked("p", 2 * LONGEST_S)
    assert learned(seen).weight == 1.0, "it is learned once"


def test_a_situation_tells_how_often_the_pool_was_asked_for_lately() -> None:
    seen = Gaps()
    for at in (0.0, 20_000.0, 21_000.0, 23_000.0):
        seen.asked("p", at)
    release = seen.released("p", "c-1", 3)
    assert seen.situation("p", release, Kind.FRESH, 24_000.0) == ("p", Kind.FRESH, 3, 2, 3)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "OPEN", 50)
    seen = Gaps()
    for n in range(1_000):
        seen.asked("q", float(n))
        watched(seen, f"c-{n}", float(n))
    assert len(seen._stacks["p"]) == gaps.DEEPEST
    assert len(seen._of) == gaps.DEEPEST
    assert len(seen._open) <= 50
    assert len(seen._asked["q"]) == gaps.ASKED_KEPT

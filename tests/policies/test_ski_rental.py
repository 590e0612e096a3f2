"""The ski-rental rules, against their formulas."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ski_rental import BreakEven, RandomisedSkiRental
from pool.core.key import ClusterKey, Footprint, Shape
from pool.core.model import Cluster, ClusterState, Pool
from pool.core.reasons import Reason

KEY = ClusterKey("local", Shape(), "p/d")
POOL = Pool(KEY.digest, KEY, "default")


def idle(name: str, since: float = 0.0, epoch: int = 2) -> Cluster:
    return Cluster(
        name, KEY.digest, "p/d", 1, Footprint(1), ClusterState.IDLE, Reason.MISS, created_at=0.0, changed_at=since,
        idle_since=since, epoch=epoch,
    )  # fmt: skip


def test_a_cluster_is_kept_for_the_break_even_time() -> None:
    assert BreakEven(300.0).keep_until(idle("c-1", since=50.0), POOL, now=60.0) == 350.0
    assert BreakEven().keeps()
    assert BreakEven().workers_until(idle("c-1"), POOL, 0.5, 0.0) == math.inf


@given(st.text(max_size=20), st.integers(0, 10**6), st.floats(0, 1e6))
def test_a_drawn_time_is_between_nothing_and_the_break_even_time(name: str, epoch: int, break_even_s: float) -> None:
    until = RandomisedSkiRental(break_even_s).keep_until(idle(name, epoch=epoch), POOL, 0.0)
    assert 0.0 <= until <= break_even_s


def test_drawn_times_have_the_density_of_the_rule() -> None:
    draws = sorted(RandomisedSkiRental(1.0).keep_until(idle(f"c-{n % 97}-{n}"), POOL, 0.0) for n in range(20_000))
    assert fmean(draws) == pytest.approx(1 / (math.e - 1), abs=0.01), "the mean of e^t/(e-1) on [0, 1]"
    for share in (0.1, 0.5, 0.9):
        assert draws[int(share * len(draws))] == pytest.approx(math.log1p(share * (math.e - 1)), abs=0.02)


@given(st.floats(0.0, 3.0))
def test_whatever_comes_the_rule_costs_at_most_its_promise_on_average(gap: float) -> None:
    policy = RandomisedSkiRental(1.0)
    kept = (policy.keep_until(idle(f"c-{n}"), POOL, 0.0) for n in range(2_000))
    cost = fmean(gap if gap <= ttl else ttl + 1.0 for ttl in kept)
    assert cost <= math.e / (math.e - 1) * min(gap, 1.0) + 0.04


def test_each_idle_time_has_a_draw_of_its_own_and_a_replay_repeats_it() -> None:
    policy = RandomisedSkiRental(600.0)
    draws = [policy.keep_until(idle("c-1", epoch=epoch), POOL, 0.0) for epoch in range(50)]
    assert len(set(draws)) == 50
    assert draws[7] == policy.keep_until(idle("c-1", epoch=7), POOL, 500.0)


@pytest.mark.parametrize("break_even_s", [-1.0, math.inf, math.nan])
@pytest.mark.parametrize("policy", [BreakEven, RandomisedSkiRental])
def test_a_break_even_time_that_is_none_is_refused(policy: type[BreakEven], break_even_s: float) -> None:
    with pytest.raises(ValueError, match="it must be 0 or more"):
        policy(break_even_s)

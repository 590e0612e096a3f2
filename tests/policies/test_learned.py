"""The policy that learns, against its formula and on a demand that it was not made for."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.learned import Learned
from policies.reclaim import NeverKeep
from policies.ski_rental import BreakEven
from pool.core.gaps import TIMES_S, Curve, Kind, Situation
from pool.core.policy import Reclaim
from pool.replay import Replay, Report, Times, report
from pool.replay.workflows import Demand, generate
from pool.store.memory import MemoryStore
from tests.kit import make_rules

SITUATION = Situation("p", Kind.FRESH, 2, 1, 3)
gaps_of = st.lists(st.floats(0, 20_000), min_size=1, max_size=30)


def curves_of(seen: list[float], *classes: object) -> dict[object, Curve]:
    curve = Curve(0.0, 1e6)
    for gap_s in seen:
        curve.add(gap_s, 0.0)
    return dict.fromkeys(classes, curve)


@given(gaps_of, st.sampled_from([60.0, 600.0, 3600.0]))
def test_much_evidence_of_one_class_gives_the_idle_time_that_would_have_cost_least(
    seen: list[float], break_even_s: float
) -> None:
    kept_s = Learned(break_even_s).keep_for([["all"]], _many(seen), 0.0)

    def cost(time_s: float) -> float:
        return sum(min(gap_s, time_s) + break_even_s * (gap_s > time_s) for gap_s in seen) / len(seen)

    assert cost(kept_s) <= min(map(cost, TIMES_S)) * 1.001 + 0.1


def _many(seen: list[float]) -> dict[object, Curve]:
    curves = curves_of(seen, "all")
    curve = curves["all"]
    curve.weight *= 1e7
    curve.kept = [value * 1e7 for value in curve.kept]
    curve.missed = [value * 1e7 for value in curve.missed]
    return curves


def test_a_class_of_which_little_is_known_follows_the_wider_one() -> None:
    policy = Learned(600.0)
    wide, narrow = curves_of([100.0] * 200, "wide"), curves_of([10_000.0], "narrow")
    assert 100.0 <= policy.keep_for([["wide", "narrow"]], wide | narrow, 0.0) <= 150.0
    narrow = curves_of([10_000.0] * 200, "narrow")
    assert policy.keep_for([["wide", "narrow"]], wide | narrow, 0.0) == 0.0


def test_with_nothing_seen_it_keeps_for_some_time_and_longer_where_a_start_is_dear() -> None:
    times = [Learned(t).keep_for(Learned().classes(SITUATION), {}, 0.0) for t in (60.0, 600.0, 3600.0)]
    assert all(one <= other for one, other in pairwise(times))


def test_classes_of_a_situation_begin_wide_and_the_number_of_them_is_bounded_for_a_pool() -> None:
    policy = Learned()
    found = {
        class_
        for kind in Kind
        for busy in range(0, 5_000, 7)
        for asked in range(65)
        for chain in policy.classes(Situation("p", kind, busy, asked // 2, asked))
        for class_ in chain
    }
    assert len(found) < 3 * 700
    assert len({chain[0] for chain in policy.classes(SITUATION)}) == 1


@pytest.mark.parametrize(("break_even_s", "half_life_s"), [(-1.0, 1.0), (1.0, 0.0), (1.0, math.inf), (math.nan, 1.0)])
def test_options_out_of_range_are_refused(break_even_s: float, half_life_s: float) -> None:
    with pytest.raises(ValueError, match="it must be"):
        Learned(break_even_s, half_life_s)


def play(reclaim: Reclaim, break_even_s: float) -> Report:
    jobs = generate(Demand(workflows=8, days=6.0, executions_per_day=60.0), seed=11)
    jobs = [job._replace(group="") for job in jobs]
    replay = Replay(make_rules(reclaim=reclaim, max_starting=10**9, max_wait_s=1e9), MemoryStore(), Times())
    replay.run(jobs)
    return report(replay.ledger, jobs, break_even_s, Times())


@pytest.mark.parametrize("break_even_s", [60.0, 600.0, 3600.0])
def test_on_a_demand_it_was_not_made_for_it_beats_a_fixed_time_and_keeping_nothing(break_even_s: float) -> None:
    found = play(Learned(break_even_s), break_even_s).ratio_to_optimum
    assert found <= play(BreakEven(break_even_s), break_even_s).ratio_to_optimum
    assert found <= play(NeverKeep(), break_even_s).ratio_to_optimum

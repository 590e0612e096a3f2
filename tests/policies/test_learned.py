"""The policy that learns, against its formula and on a demand that it was not made for."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.auto import Auto
from policies.learned import DOUBT, Learned
from policies.reclaim import NeverKeep
from policies.ski_rental import BreakEven
from pool.core.events import Prewarm
from pool.core.gaps import BINS, TIMES_S, Curve, Kind, Situation
from pool.core.model import ClusterState
from pool.core.policy import Reclaim
from pool.replay import Replay, Report, Times, report
from pool.replay.workflows import Demand, generate
from pool.store.memory import MemoryStore
from tests.kit import KEY, Core, make_rules

AGO_S = (5.0, 60.0, 300.0, math.inf)
SITUATION = Situation("p", Kind.FRESH, AGO_S)
gaps_of = st.lists(st.floats(0, 20_000), min_size=1, max_size=30)


def curve_of(seen: list[float], times: int = 1, after: float = 0.0) -> Curve:
    curve = Curve(0.0, 1e6)
    for gap_s in seen * times:
        curve.add(bisect_left(TIMES_S, gap_s), 1.0, after)
    return curve


def curves_of(policy: Learned, curve: Curve, *which: int) -> dict[object, Curve]:
    classes = policy.classes(SITUATION)
    return {classes[n]: curve for n in which or range(len(classes))}


@given(gaps_of, st.sampled_from([60.0, 600.0, 3600.0]))
def test_much_evidence_gives_the_idle_time_that_would_have_cost_least(seen: list[float], break_even_s: float) -> None:
    policy = Learned(break_even_s)
    curve = curve_of(seen)
    curve.weight *= 1e7
    curve.sums = [value * 1e7 for value in curve.sums]
    kept_s = policy.choose(SITUATION, curves_of(policy, curve), 0.0).keep_s

    def cost(time_s: float) -> float:
        return sum(min(_middle(gap_s), time_s) + break_even_s * (gap_s > time_s) for gap_s in seen) / len(seen)

    assert cost(kept_s) <= min(map(cost, TIMES_S)) * (1.001 if kept_s else 1.001 / (1 - DOUBT)) + 0.1


def _middle(gap_s: float) -> float:
    """Gaps are told apart by the times between which they are."""
    longer = next((n for n, time_s in enumerate(TIMES_S) if time_s >= gap_s), len(TIMES_S))
    return math.inf if longer == len(TIMES_S) else (TIMES_S[longer] + TIMES_S[max(0, longer - 1)]) / 2


@given(
    st.lists(st.lists(st.tuples(st.floats(0, 30_000), st.floats(0, 1)), max_size=12), min_size=6, max_size=6),
    st.sampled_from([1.0, 60.0, 600.0, 3600.0, 20_000.0]),
)
def test_it_finds_the_least_of_all_times_in_what_its_classes_say_together(
    seen: list[list[tuple[float, float]]], break_even_s: float
) -> None:
    policy = Learned(break_even_s)
    classes = policy.classes(SITUATION)
    curves = {class_: Curve(0.0, policy.half_life_s) for class_, some in zip(classes, seen, strict=True) if some}
    for class_, some in zip(classes, seen, strict=True):
        for gap_s, after in some:
            curves[class_].add(bisect_left(TIMES_S, gap_s), 1.0, after)
    found = policy.choose(SITUATION, curves, 0.0)

    # Each class as if so many gaps of the next wider one were seen, the widest of what is supposed.
    mixed = [0.0] * (2 * BINS)
    for narrow, wide in ((3, 2), (5, 4)):
        sums = supposed(break_even_s)
        for at, borrowed in ((0, 5.0), (wide, 5.0), (1, 10.0), (narrow, 10.0)):
            if (curve := curves.get(classes[at])) is not None:
                whole = curve.weight + borrowed
                sums = [(one + borrowed * other) / whole for one, other in zip(curve.sums, sums, strict=True)]
        mixed = [one + other / 2 for one, other in zip(mixed, sums, strict=True)]
    costs = [
        sum(mixed[at] * _middle(TIMES_S[at]) + mixed[BINS + at] * break_even_s for at in range(n + 1))
        + sum(mixed[n + 1 : BINS]) * (time_s + break_even_s)
        for n, time_s in enumerate(TIMES_S)
    ]
    least = min((1 - DOUBT) * costs[0], *costs[1:])
    chosen = costs[TIMES_S.index(found.keep_s)]
    assert chosen * (1.0 if found.keep_s else 1 - DOUBT) == pytest.approx(least)
    assert found.cost * break_even_s == pytest.approx(min(break_even_s, chosen))


def supposed(break_even_s: float) -> list[float]:
    """What a curve of weight 1 is before anything was seen: somebody comes at a constant rate within T*, or never."""
    longer = [1.0, *(math.exp(-1.2 * min(1.0, time_s / break_even_s)) for time_s in TIMES_S), 0.0]
    return [one - other for one, other in pairwise(longer)] + [0.0] * BINS


@given(gaps_of, st.floats(0, 1))
def test_what_is_expected_is_at_most_a_start_and_what_a_situation_leads_to_counts(
    seen: list[float], after: float
) -> None:
    policy = Learned(600.0)
    alone = policy.choose(SITUATION, curves_of(policy, curve_of(seen)), 0.0).cost
    leads = policy.choose(SITUATION, curves_of(policy, curve_of(seen, after=after)), 0.0).cost
    assert 0 <= alone <= leads + 1e-9 <= 1 + 1e-9


def test_a_class_of_which_little_is_known_follows_the_wider_one() -> None:
    policy = Learned(600.0)
    wide = curves_of(policy, curve_of([100.0], 200), 0, 1, 2, 4)
    few = curves_of(policy, curve_of([10_000.0]), 3, 5)
    assert 100.0 <= policy.choose(SITUATION, wide | few, 0.0).keep_s <= 190.0
    many = curves_of(policy, curve_of([10_000.0], 200), 3, 5)
    assert policy.choose(SITUATION, wide | many, 0.0).keep_s == 0.0


@pytest.mark.parametrize("break_even_s", [60.0, 600.0, 3600.0])
def test_with_nothing_seen_it_keeps_for_about_the_break_even_time(break_even_s: float) -> None:
    kept_s = Learned(break_even_s).choose(SITUATION, {}, 0.0).keep_s
    assert break_even_s / 1.9 <= kept_s <= break_even_s


@pytest.mark.parametrize(("come", "kept"), [(26, False), (32, True)])
def test_nothing_is_kept_for_what_may_be_chance(come: int, kept: bool) -> None:
    # To wait for a quarter of all saves next to nothing: 1.5 % of what not keeping costs, and for a third 8 %.
    policy = Learned(600.0)
    seen = curve_of([100.0] * come + [10_000.0] * (100 - come), 100)
    found = policy.choose(SITUATION, curves_of(policy, seen), 0.0)
    assert (found.keep_s > 0) is kept


def test_where_a_start_is_worth_nothing_nothing_is_kept() -> None:
    assert Learned(0.0).choose(SITUATION, {}, 0.0).keep_s == 0.0


def test_the_number_of_classes_is_bounded_for_a_pool() -> None:
    policy = Learned()
    ago = [2.0**n for n in range(-3, 40)]
    found = {
        class_
        for kind in Kind
        for last in ago
        for fourth in ago
        for class_ in policy.classes(Situation("p", kind, (last, last, fourth, fourth)))
        if "p" in class_  # type: ignore[operator]
    }
    assert len(found) <= 3 * (1 + 2 * 21)


def test_pools_share_what_they_learn_only_where_their_starts_are_worth_about_the_same() -> None:
    def wide(break_even_s: float) -> set[object]:
        classes = Learned(break_even_s).classes(SITUATION)
        return {classes[0], classes[2], classes[4]}

    assert wide(600.0) == wide(700.0)
    assert not wide(600.0) & wide(1800.0)


def test_it_says_in_numbers_why_a_cluster_is_kept_for_so_long() -> None:
    policy = Learned(600.0)
    curves = curves_of(policy, curve_of([100.0, 5_000.0], 40))
    assert policy.why(SITUATION, policy.choose(SITUATION, curves, 0.0)) == (
        "of idle times like this one (80 of its pool count, old ones less) 50% end within 153 s, and to keep it longer "
        "would cost more than it saves, with a start worth 600 s of idle time"
    )


def test_auto_takes_what_a_start_is_worth_from_the_starts_it_saw() -> None:
    seen = SITUATION._replace(start_s=52.0)
    assert Auto().break_even_in(seen) == 52.0 * 30
    assert Auto(start_worth=2.0).break_even_in(seen) == 104.0
    assert Auto(break_even_s=300.0).break_even_in(seen) == 300.0
    assert Auto().break_even_in(SITUATION) == 1800.0, "before any was seen"
    # A cluster that starts at once is worth keeping from one task to the next all the same.
    assert Auto().break_even_in(SITUATION._replace(start_s=0.1)) == 60.0


def test_auto_keeps_a_cluster_of_whose_demand_nothing_is_known_for_its_own_break_even_time() -> None:
    core = Core(reclaim=Auto())
    core.tell(Prewarm(KEY, 1))
    core.go(8.0)
    core.start(core.clusters()[0])
    (cluster,) = core.clusters()
    assert core.state.gaps.of(cluster.id) is None
    core.go(239.0)
    assert core.clusters() == [cluster]
    core.go(2.0)
    assert core.clusters()[0].state is ClusterState.STOPPING


def test_what_a_start_is_worth_is_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="start_worth is -1; it must be 0 or more"):
        Auto(start_worth=-1.0)


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
    found = play(Auto(break_even_s), break_even_s).ratio_to_optimum
    assert found <= play(BreakEven(break_even_s), break_even_s).ratio_to_optimum
    assert found <= play(NeverKeep(), break_even_s).ratio_to_optimum

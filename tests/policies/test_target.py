"""A target instead of prices: what a start is worth is found, slowly, and rests where the target is met."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.auto import MOST_S, Auto
from policies.target import HASTE, LATELY, MOST_TIMES, SETTLED, STEP, Target
from policies.worth import LEAST_S, UNPRICED
from pool.core import learning, snapshot
from pool.core.aims import Aim
from pool.core.decisions import Decision
from pool.core.gaps import Choice, Kind, Situation
from pool.core.model import ClusterState, Lease, Outcome
from pool.core.recover import restore
from pool.replay import Replay, Times
from pool.replay.figures import Ledger
from pool.replay.workflows import Demand, generate
from pool.store.memory import MemoryStore
from tests.kit import KEY, Core, make_rules

MOST = math.log(MOST_TIMES)


# --- the rule


@given(st.floats(0.01, 0.99), st.floats(-2.0, 2.0), st.lists(st.booleans(), min_size=1, max_size=300))
def test_whatever_comes_the_share_is_off_by_no_more_than_the_worth_has_moved(
    share: float, begun: float, hits: list[bool]
) -> None:
    target, aims = Target(share), [Aim(begun, 0.0, SETTLED)]
    for hit in hits:
        aims.append(target.next(aims[-1], hit, 0.0))
    assert all(abs(aim.log_worth) <= MOST for aim in aims)
    if max(abs(aim.log_worth) for aim in aims) < MOST:
        off = abs(sum(hits) / len(hits) - share)
        moved = abs(aims[-1].log_worth - begun)
        assert off == pytest.approx(moved / (STEP * len(hits)), abs=1e-9)


@given(st.floats(0.01, 0.99), st.lists(st.booleans(), max_size=50))
def test_a_miss_raises_the_worth_a_hit_lowers_it_and_neither_by_much(share: float, hits: list[bool]) -> None:
    target, aim = Target(share), Aim()
    for hit in hits:
        then = target.next(aim, hit, 0.0)
        if abs(then.log_worth) < MOST:
            assert (then.log_worth < aim.log_worth) if hit else (then.log_worth > aim.log_worth)
        assert abs(then.log_worth - aim.log_worth) <= STEP * (HASTE if aim.seen < SETTLED else 1.0)
        aim = then


def test_a_wait_within_the_bound_meets_the_target_and_a_longer_one_does_not() -> None:
    target = Target(0.95, 20.0)
    steady = Aim(0.0, 0.0, SETTLED)
    up, down = target.next(steady, False, 20.1), target.next(steady, False, 20.0)
    assert (up.log_worth, down.log_worth) == (pytest.approx(STEP * 0.95), pytest.approx(-STEP * 0.05))
    assert Target(0.95).next(Aim(), False, 0.0).met == 0.0, "without a bound only a hit meets it"


def test_what_was_met_lately_forgets() -> None:
    target, aim = Target(0.9), Aim()
    for _ in range(1000):
        aim = target.next(aim, False, 0.0)
    assert (aim.met, aim.seen) == (0.0, LATELY)
    for _ in range(int(3 * LATELY)):
        aim = target.next(aim, True, 0.0)
    assert aim.met == pytest.approx(1 - math.exp(-3), abs=0.01)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("slope", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("begun", [-3.0, 3.0])
def test_from_either_side_it_comes_to_rest_and_does_not_swing(share: float, slope: float, begun: float) -> None:
    # Hits are drawn, the more likely the more a start is worth: steeply or hardly, around where the target is met.
    rng, target, aim = random.Random(1), Target(share), Aim(begun)
    odds = math.log(share / (1 - share))
    pull = slope * share * (1 - share)
    slowest = int(1 / (STEP * pull))
    seen: list[float] = []
    for _ in range(60 * slowest):
        likely = 1 / (1 + math.exp(-(odds + slope * aim.log_worth)))
        aim = target.next(aim, rng.random() < likely, 0.0)
        seen.append(aim.log_worth)
    rest = seen[10 * slowest :]
    mean = sum(rest) / len(rest)
    spread = math.sqrt(sum((one - mean) ** 2 for one in rest) / len(rest))
    # The spread of such a walk about its rest: the step's noise against the pull towards it.
    walk = math.sqrt(STEP * share * (1 - share) / (2 * pull))
    assert abs(mean) < 2.0 * walk
    assert spread < 2.0 * walk
    # Noise wanders and is forgotten; of a swing, what it was a while ago would say the opposite.
    echo = sum((one - mean) * (other - mean) for one, other in zip(rest, rest[slowest:], strict=False)) / len(rest)
    assert echo > -0.3 * spread**2


# --- auto


@given(st.floats(1.0, 3600.0), st.floats(-MOST, MOST))
def test_a_start_is_worth_so_many_times_more_within_bounds(start_s: float, log_worth: float) -> None:
    found = Auto(hits=0.9).break_even_in(Situation(KEY.digest, Kind.FRESH, (), start_s, Aim(log_worth)))
    exact = UNPRICED * start_s * math.exp(log_worth)
    assert LEAST_S <= found <= MOST_S
    assert found == pytest.approx(min(MOST_S, max(LEAST_S, exact)), rel=0.03)


def test_a_price_is_nothing_to_a_pool_with_a_target() -> None:
    assert Auto(hits=0.9).priced(100.0) == Auto(hits=0.9)
    assert Auto().priced(100.0) == Auto(start_worth=100.0)
    assert not Auto().aims()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hits": 1.0}, "hits is 1; it must be a share of at least 0 and less than 1"),
        ({"hits": -0.1}, "hits is -0.1; it must be"),
        ({"wait_p95_s": -1.0}, "wait_p95 is -1 s; it must be 0 or more"),
        ({"hits": 0.9, "wait_p95_s": 5.0}, "gives both hits and wait_p95"),
        ({"hits": 0.9, "break_even_s": 5.0}, "gives both break_even and hits"),
    ],
)
def test_a_target_out_of_range_or_beside_a_price_is_refused(options: Mapping[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Auto(**options)


def test_the_worth_does_not_move_on_where_that_would_change_nothing() -> None:
    policy, low, high = Auto(hits=0.9), Aim(), Aim()
    for _ in range(1000):
        low, high = policy.aim(low, True, 0.0, 10.0), policy.aim(high, False, 50.0, 1000.0)
    at = [policy.break_even_in(Situation("p", Kind.FRESH, (), s, aim)) for aim, s in ((low, 10.0), (high, 1000.0))]
    assert at == pytest.approx([LEAST_S, MOST_S], rel=STEP)
    assert math.exp(low.log_worth) == pytest.approx(LEAST_S / (UNPRICED * 10.0))
    assert math.exp(high.log_worth) == pytest.approx(MOST_S / (UNPRICED * 1000.0))
    assert "idle time alone does not reach it" in policy.why(
        Situation("p", Kind.FRESH, (), 1000.0, high), Choice((), 10.0, 0.5)
    )


# --- through the core


def ask_and_return(core: Core, times: int, idle_s: float) -> None:
    for _ in range(times):
        lease = core.lease(start_s=10.0)
        core.go(5.0)
        core.release(lease)
        core.go(idle_s)


def test_misses_make_a_start_worth_more_and_the_cluster_says_what_it_is_kept_for() -> None:
    core = Core(reclaim=Auto(hits=0.9))
    ask_and_return(core, 30, 1_000.0)
    aim = core.state.aims.of(KEY.digest)
    assert aim.seen == 30
    assert aim.log_worth > 0
    core.release(core.lease(start_s=10.0))
    (cluster,) = core.clusters(ClusterState.IDLE)
    why = learning.why(core.state, cluster)
    assert "for a target of 90% of leases at once: of the last 31 it was " in why


def test_a_pool_without_a_target_has_no_aim() -> None:
    core = Core(reclaim=Auto())
    ask_and_return(core, 3, 100.0)
    assert core.state.aims.of(KEY.digest) == Aim()
    assert not core.state.aims.unsaved


def test_what_was_found_survives_a_restart() -> None:
    core = Core(reclaim=Auto(hits=0.9))
    ask_and_return(core, 30, 1_000.0)
    rows = {name: row for name, row in snapshot.changed(core.state, core.now, 1000).items() if row is not None}
    assert [name for name in rows if json.loads(name)[0] == "aims"] == [
        json.dumps(["aims", KEY.digest]).replace(" ", "")
    ]
    again = restore(core.state.rules, core.now, generation=2, pools=core.state.pools.values(), learned=rows)
    was, found = core.state.aims.of(KEY.digest), again.aims.of(KEY.digest)
    assert found == pytest.approx(was)


class Hits(Ledger):
    """Notes of each pool which leases were hits, one after the other."""

    def __init__(self, charged_s: Mapping[str, float]) -> None:
        super().__init__(charged_s)
        self.seen: defaultdict[str, list[bool]] = defaultdict(list)

    def observe(self, decision: Decision) -> None:
        super().observe(decision)
        for old, new, _ in decision.changes:
            if type(new) is Lease and old is None:
                self.seen[new.pool].append(new.outcome is Outcome.HIT)


def later(hits: list[bool]) -> float:
    """Return the share of hits in the later half."""
    late = hits[len(hits) // 2 :]
    return sum(late) / len(late)


def replayed(reclaim: Auto, days: float = 6.0) -> tuple[float, dict[str, list[bool]]]:
    """Return the idle seconds of a generated demand with live starts, and the hits of each pool."""
    replay = Replay(
        make_rules(reclaim=reclaim, max_wait_s=1e9, max_starting=10**6),
        MemoryStore(keeps_books=False), Times(starts_s=(50.0,), charged=False), ledger=Hits,
    )  # fmt: skip
    replay.run(generate(Demand(workflows=6, executions_per_day=300.0, days=days, images=2, shapes=2), seed=11))
    assert isinstance(replay.ledger, Hits)
    return replay.ledger.total().idle_s, replay.ledger.seen


def test_on_generated_demand_the_share_is_reached_and_a_higher_one_costs_more_idle_time() -> None:
    found = {share: replayed(Auto(hits=share)) for share in (0.7, 0.8, 0.9)}
    for share, (_, pools) in found.items():
        often = {digest: later(hits) for digest, hits in pools.items() if len(hits) > 1000}
        assert len(often) == 2
        assert all(abs(hits - share) < 0.04 for hits in often.values()), (share, often)
    idle = [idle_s for idle_s, _ in found.values()]
    assert idle == sorted(idle)
    assert idle[-1] > 1.5 * idle[0]


def test_where_every_wait_is_short_enough_idle_time_is_let_go() -> None:
    (patient, _), (hasty, _) = replayed(Auto(wait_p95_s=60.0), 2.0), replayed(Auto(wait_p95_s=1.0), 2.0)
    assert patient < 0.5 * hasty

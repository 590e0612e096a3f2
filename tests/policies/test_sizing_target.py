"""What stands ready reaches a target instead of following a price: one worth of a start for a whole configured pool."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest

from policies.auto import Auto
from policies.newsvendor import MOST_S, Newsvendor
from policies.reclaim import FixedTTL
from policies.square_root import SquareRoot
from policies.target import STEADY_STEP, STEP
from policies.worth import LEAST_S
from pool.core import idling, snapshot
from pool.core.aims import NO_AIM, Aim, of_sizing
from pool.core.key import ClusterKey
from pool.core.load import Load
from pool.core.model import ClusterState, Outcome
from pool.core.policy import Demand
from pool.core.recover import restore
from pool.core.settings import Prices
from pool.replay import Replay, Times
from pool.replay import workflows as drawn
from pool.store.memory import MemoryStore
from tests.kit import KEY, Core, make_key, make_rules

HALF_HOUR_S = 1_800.0
SMALL, LARGE = make_key(cpu=1), make_key(cpu=4)


def worth_s(sizing: Newsvendor, aim: Aim = NO_AIM, dear: float = 1.0) -> float:
    """Return what a start is worth, by what an idle cluster saves that is surely needed."""
    demand = Demand(0, 0, 0, 0, 0.0, start_s=60.0, load=Load(1.0, 0.0), aim=aim, dear=dear)
    return 60.0 * (sizing.saving(demand, 0.0).times - 1.0)


@pytest.mark.parametrize(("hits", "begins_s"), [(0.5, HALF_HOUR_S), (0.9, 9 * HALF_HOUR_S), (0.99, 99 * HALF_HOUR_S)])
def test_it_begins_with_what_is_needed_as_seldom_as_may_be_missed(hits: float, begins_s: float) -> None:
    assert worth_s(Newsvendor(hits=hits)) == pytest.approx(begins_s)
    assert worth_s(Newsvendor(wait_p95_s=20.0)) == pytest.approx(19 * HALF_HOUR_S)


def test_misses_raise_it_and_hits_lower_it_within_bounds() -> None:
    sizing = Newsvendor(hits=0.9)
    low, high = NO_AIM, NO_AIM
    for _ in range(3_000):
        low, high = sizing.aim(low, True, 0.0), sizing.aim(high, False, 50.0)
    assert worth_s(sizing, low) == pytest.approx(LEAST_S, rel=STEP)
    assert worth_s(sizing, high) == pytest.approx(MOST_S, rel=STEP)
    assert sizing.aim(NO_AIM, False, 5.0).log_worth > 0
    assert Newsvendor(wait_p95_s=6.0).aim(NO_AIM, False, 5.0).log_worth < 0, "it was granted in time"


def test_first_misses_move_it_no_more_than_later_ones() -> None:
    """They are of what nobody had asked for before: no price would have answered them."""
    sizing, aim, moved = Newsvendor(hits=0.99), NO_AIM, []
    for _ in range(20):
        after = sizing.aim(aim, False, 50.0)
        moved.append(after.log_worth - aim.log_worth)
        aim = after
    assert moved == pytest.approx([0.99 * STEADY_STEP] * 20)


def test_dear_clusters_are_worth_less_idle_time() -> None:
    assert worth_s(Newsvendor(hits=0.9), dear=3.0) == pytest.approx(3 * HALF_HOUR_S)
    assert worth_s(Newsvendor(break_even_s=600.0), dear=3.0) == pytest.approx(600.0), "as it was said"


def test_a_price_is_nothing_to_one_with_a_target() -> None:
    assert Newsvendor(hits=0.9).priced(100.0) == Newsvendor(hits=0.9)
    assert Newsvendor().priced(100.0) == Newsvendor(start_worth=100.0)
    assert not Newsvendor().aims()
    assert not SquareRoot().aims()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hits": 1.0}, "hits is 1; it must be a share of at least 0 and less than 1"),
        ({"wait_p95_s": math.inf}, "wait_p95 is inf s; it must be 0 or more"),
        ({"hits": 0.9, "break_even_s": 5.0}, "gives both break_even and hits"),
        ({"hits": 0.9, "wait_p95_s": 5.0}, "gives both hits and wait_p95"),
    ],
)
def test_a_target_out_of_range_or_beside_a_price_is_refused(options: Mapping[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Newsvendor(**options)


# --- through the core


def asked(core: Core, keys: list[ClusterKey], times: int) -> None:
    for n in range(times):
        for key in keys:
            lease = core.lease(key, group=f"{key.digest}-{n}", start_s=10.0)
            core.go(5.0)
            core.release(lease)
        core.go(100.0)


def test_all_keys_of_a_configured_pool_have_one_aim() -> None:
    core = Core(sizing=Newsvendor(hits=0.9), reclaim=FixedTTL(0.0, 0.0))
    asked(core, [SMALL, LARGE], 10)
    aim = core.state.aims.of(of_sizing(core.state.pools[SMALL.digest].name))
    assert aim.seen == 20
    assert aim.log_worth != 0
    assert core.state.aims.of(SMALL.digest) == NO_AIM
    said = idling.why(core.state, core.state.pools[LARGE.digest], core.now)
    assert "for a target of 90% of leases at once: of the last 20 it was " in said


def test_without_a_target_there_is_no_aim() -> None:
    core = Core(sizing=Newsvendor())
    asked(core, [KEY], 3)
    assert not core.state.aims.unsaved


def test_what_was_found_survives_a_restart() -> None:
    core = Core(sizing=Newsvendor(hits=0.9))
    asked(core, [KEY], 10)
    name = of_sizing(core.state.pools[KEY.digest].name)
    rows = {name: row for name, row in snapshot.changed(core.state, core.now, 1000).items() if row is not None}
    assert json.dumps(["aims", name]).replace(" ", "") in rows
    again = restore(core.state.rules, core.now, generation=2, pools=core.state.pools.values(), learned=rows)
    assert again.aims.of(name) == pytest.approx(core.state.aims.of(name))


def test_what_came_after_the_snapshot_is_learned_of_history_once() -> None:
    for policies in ({"sizing": Newsvendor(hits=0.9)}, {"reclaim": Auto(hits=0.9)}):
        core = Core(**policies)
        asked(core, [KEY], 10)
        name = KEY.digest if "reclaim" in policies else of_sizing(core.state.pools[KEY.digest].name)
        rows = {name: row for name, row in snapshot.changed(core.state, core.now, 1000).items() if row is not None}
        core.go(1.0)
        asked(core, [KEY], 3)
        core.lease(KEY)
        aim, state = core.state.aims.of(name), core.state
        for learned, known in ((rows, aim), ({}, NO_AIM)):
            again = restore(
                state.rules, core.now, generation=2, pools=state.pools.values(), clusters=state.clusters.values(),
                leases=state.leases.values(), ended=list(state.ended.values()), learned=learned,
            )  # fmt: skip
            assert again.aims.of(name) == pytest.approx(known), name


def test_what_a_cluster_costs_says_what_a_start_of_it_is_worth() -> None:
    core = Core(sizing=Newsvendor(hits=0.9), prices=Prices(cpu=2.0))
    for key in (SMALL, LARGE):
        core.acquire(key, group="x")
    small, large = (idling.why(core.state, core.state.pools[key.digest], core.now) for key in (SMALL, LARGE))
    assert "a start is worth 4.5 h" in small
    assert "a start is worth 1.13 h" in large
    assert core.clusters(ClusterState.STARTING)


def replayed(sizing: Newsvendor) -> tuple[float, float]:
    """Return the share of hits and the idle hours of a demand that was drawn."""
    rules = make_rules(
        sizing=sizing, reclaim=FixedTTL(0.0, 0.0), serve_larger=True, max_wait_s=1e9, max_starting=10**6,
        prices=Prices(cluster=1.0),
    )  # fmt: skip
    replay = Replay(rules, MemoryStore(keeps_books=False), Times(starts_s=(50.0,), charged=False))
    replay.run(drawn.generate(drawn.Demand(workflows=6, days=5.0, images=2, shapes=2), seed=11))
    total = replay.ledger.total()
    return total.outcomes[Outcome.HIT] / total.leases, total.idle_s / 3600


def test_on_drawn_demand_the_share_is_reached_and_a_higher_one_costs_more_idle_time() -> None:
    found = {share: replayed(Newsvendor(hits=share)) for share in (0.9, 0.95, 0.98)}
    for share, (hits, _) in found.items():
        assert hits == pytest.approx(share, abs=0.02)
    idle = [hours for _, hours in found.values()]
    assert idle == sorted(idle)

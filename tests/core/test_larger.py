"""Pools that larger ones may serve have their reserve in common with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.newsvendor import Newsvendor
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.core import idling
from pool.core.decisions import Change, Granted, Queued, Start
from pool.core.events import Cordon, Reconfigure, Resize, Stopped
from pool.core.expected import RHYTHM
from pool.core.key import ClusterKey
from pool.core.larger import by_choice, in_common, larger_of, serves, smaller_of
from pool.core.model import ClusterState, Pool
from pool.core.policy import Demand, Saving, surely
from pool.core.rhythm import DAY_S
from pool.core.settings import Ceiling, PoolSettings, Prices, Rules, Standing
from pool.core.state import State
from tests.kit import Core, make_key, make_rules, make_settings

SMALL, MIDDLE, LARGE = (make_key(cpu=cpu) for cpu in (1, 2, 4))


@dataclass(frozen=True)
class Wants(FloorAndBuffer):
    """Wants as many idle clusters as it is told, and says that it looks at demand."""

    number: int = 0
    half_life_s: float = field(default=DAY_S)

    def wants(self) -> bool:
        return True

    def idle_target(self, demand: Demand, now: float) -> int:
        return max(self.number, demand.min_idle or 0)

    def aims(self) -> bool:
        return False

    def saving(self, demand: Demand, now: float) -> Saving:
        return surely(self.number)


def sized(*, serve_larger: bool = True, **numbers: int) -> Core:
    """Return a core in which the pools of these keys want so many idle clusters, if they were alone."""
    wanted = {SMALL: numbers.get("small", 0), MIDDLE: numbers.get("middle", 0), LARGE: numbers.get("large", 0)}
    reclaim = FixedTTL(ttl_s=0.0, jitter=0.0)
    settings = {
        key: make_settings(str(number), sizing=Wants(number=number), serve_larger=serve_larger, reclaim=reclaim)
        for key, number in wanted.items()
    }
    return Core(Rules(settings_for=settings.__getitem__, max_starting=100))


def use(core: Core, *keys: ClusterKey) -> None:
    """Use a cluster of each key once, and have ready what is then wanted."""
    for lease in [core.lease(key) for key in keys]:
        core.release(lease)
    while starting := core.clusters(ClusterState.STARTING):
        for cluster in starting:
            core.start(cluster)
    core.go(1.0)


def idle(core: Core, key: ClusterKey) -> int:
    return len([one for one in core.clusters(ClusterState.IDLE) if one.pool == key.digest])


@pytest.mark.parametrize(
    ("alone", "together"),
    [((5, 0, 3), (2, 0, 3)), ((5, 4, 3), (1, 1, 3)), ((2, 2, 3), (0, 0, 3)), ((4, 1, 1), (3, 0, 1))],
)
def test_a_pool_has_in_addition_what_larger_ones_do_not_need(
    alone: tuple[int, int, int], together: tuple[int, int, int]
) -> None:
    core = sized(small=alone[0], middle=alone[1], large=alone[2])
    use(core, LARGE, MIDDLE, SMALL)
    assert tuple(idle(core, key) for key in (SMALL, MIDDLE, LARGE)) == together


def test_where_larger_ones_may_not_serve_each_pool_has_its_own() -> None:
    core = sized(serve_larger=False, small=5, middle=4, large=3)
    use(core, LARGE, MIDDLE, SMALL)
    assert tuple(idle(core, key) for key in (SMALL, MIDDLE, LARGE)) == (5, 4, 3)


def test_what_an_operator_sets_is_the_pools_own() -> None:
    core = sized(small=2, large=3)
    use(core, LARGE, SMALL)
    assert idle(core, SMALL) == 0
    core.tell(Resize(SMALL.digest, min_idle=2, max_clusters=None))
    use(core)
    assert idle(core, SMALL) == 2


def test_on_a_cordoned_larger_pool_nobody_counts() -> None:
    core = sized(small=2, large=3)
    use(core, LARGE, SMALL)
    core.tell(Cordon(LARGE.digest, True))
    use(core, SMALL)
    assert idle(core, SMALL) == 2


def test_which_pools_are_larger_is_found_anew_when_there_is_another_one() -> None:
    core = sized()
    core.lease(SMALL)
    assert larger_of(core.state, SMALL.digest) == ()
    core.lease(LARGE)
    core.lease(MIDDLE)
    assert larger_of(core.state, SMALL.digest) == (MIDDLE.digest, LARGE.digest)
    assert smaller_of(core.state, LARGE.digest) == (MIDDLE.digest, SMALL.digest)
    assert in_common(core.state, MIDDLE.digest) == (LARGE.digest,)


def test_a_pool_that_is_cordoned_or_not_any_more_changes_what_smaller_ones_have() -> None:
    core = sized(small=2, middle=2, large=3)
    use(core, LARGE, MIDDLE, SMALL)
    assert [idle(core, key) for key in (SMALL, MIDDLE, LARGE)] == [0, 0, 3]
    core.tell(Cordon(LARGE.digest, True))
    assert [cluster.pool for cluster in core.clusters(ClusterState.STARTING)] == [MIDDLE.digest] * 2, "at once"
    core.tell(Cordon(LARGE.digest, False))
    use(core)
    assert idle(core, MIDDLE) == 0


def kin(pool: Pool) -> tuple[str, str]:
    return pool.key.image, pool.key.tenant


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "settings"]), st.integers(0, 11), st.booleans()), max_size=30
)


@given(STEPS)
def test_what_is_known_of_larger_pools_is_right_whatever_comes_and_goes(steps: list[tuple[str, int, bool]]) -> None:
    keys = [make_key(cpu=cpu, image=image, tenant=of) for cpu in (1, 2, 4) for image in "ab" for of in "xy"]
    served = dict.fromkeys(keys, False)
    own = dict.fromkeys(keys, False)

    def settings(key: ClusterKey) -> PoolSettings:
        standing = Standing(any_image=True) if own[key] else None
        return make_settings(sizing=Newsvendor(60.0), serve_larger=served[key], standing=standing)

    state = State(make_rules())
    state.set_rules(replace(make_rules(), settings_for=settings))
    for what, n, flag in steps:
        key = keys[n]
        known = state.pools.get(key.digest)
        if what == "put" and known is None:
            served[key], own[key] = flag or n % 2 == 0, flag and n % 3 == 0
            state.apply(Change(None, Pool(digest=key.digest, key=key, name="default", created_at=0.0), True))
        elif what == "drop" and known is not None:
            state.revert([Change(None, known, True)])
        elif what == "settings":
            served[key] = flag
            state.set_rules(replace(make_rules(), settings_for=settings))
        pools = list(state.pools.values())
        for pool in pools:
            may = [one.digest for one in pools if one is not pool and served[pool.key] and serves(state, one, pool)]
            for_whom = [one.digest for one in pools if one is not pool and served[one.key] and serves(state, pool, one)]
            assert sorted(larger_of(state, pool.digest)) == sorted(may)
            assert sorted(in_common(state, pool.digest)) == sorted(may)
            assert sorted(smaller_of(state, pool.digest)) == sorted(for_whom)
            order = by_choice(state, pool.digest)
            assert sorted(order) == sorted(one.digest for one in pools if (one.key.image, one.key.tenant) == kin(pool))
            assert all(order.index(one) < order.index(pool.digest) for one in may if one in order)


def test_where_no_pool_is_served_by_larger_ones_none_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise AssertionError("looked at")

    monkeypatch.setattr("pool.core.larger.serves", fail)
    core = sized(serve_larger=False, small=1, middle=1, large=1)
    use(core, SMALL, MIDDLE, LARGE)
    assert idle(core, LARGE) == 1


def test_a_larger_cluster_goes_to_who_is_first_of_those_who_wait_for_smaller_ones() -> None:
    core = Core(serve_larger=True, daemon=Ceiling(clusters=1))
    lease = core.lease(LARGE)
    first = core.acquire(SMALL)
    core.go(1.0)
    second = core.acquire(MIDDLE)
    assert isinstance(first, Queued)
    assert isinstance(second, Queued)
    core.release(lease)
    assert isinstance(core.answer(first.waiter.id), Granted)
    assert core.answer(second.waiter.id) is None


def test_other_settings_leave_nothing_counted_that_ended_meanwhile() -> None:
    def rules(*, serve_larger: bool) -> Rules:
        return make_rules(sizing=Newsvendor(break_even_s=600.0), serve_larger=serve_larger)

    core = Core(rules(serve_larger=True))
    core.release(core.lease(SMALL))
    leases = [core.lease(LARGE) for _ in range(3)]
    core.tell(Reconfigure(rules(serve_larger=False)))
    core.release(leases.pop())
    core.tell(Reconfigure(rules(serve_larger=True)))
    load = core.state.index[SMALL.digest].load
    assert load is not None
    assert load.now_in_use == 2
    for lease in leases:
        core.release(lease)
    assert load.now_in_use == 0


def test_a_pool_that_is_asked_for_the_first_time_counts_what_larger_ones_have_in_use() -> None:
    core = Core(sizing=Newsvendor(break_even_s=600.0), serve_larger=True)
    larger = [core.lease(LARGE) for _ in range(3)]
    core.lease(SMALL)
    load = core.state.index[SMALL.digest].load
    assert load is not None
    assert load.now_in_use == 4
    for lease in larger:
        core.release(lease)
    assert load.now_in_use == 1


def test_a_larger_cluster_that_is_there_is_kept_for_who_is_expected_and_no_other_is_started() -> None:
    core = sized(small=0, large=1)
    use(core, SMALL, LARGE)
    busy = [core.lease(LARGE)]
    core.start(core.clusters(ClusterState.STARTING)[0])
    began = len(core.all(Start))
    core.state.index[SMALL.digest].expected.want(RHYTHM, 0, 1, core.now, core.now + 300.0, core.now)
    core.release(busy[0])
    core.go(100.0)
    assert idle(core, LARGE) == 2
    assert len(core.all(Start)) == began
    core.go(1_000.0)
    assert idle(core, LARGE) == 1, "nobody came, and it is kept no more"


def test_who_counted_on_a_larger_cluster_has_another_when_it_is_taken() -> None:
    core = sized(small=0, large=1)
    use(core, SMALL, LARGE)
    busy = core.lease(LARGE)
    core.start(core.clusters(ClusterState.STARTING)[0])
    core.state.index[SMALL.digest].expected.want(RHYTHM, 0, 1, core.now, core.now + 300.0, core.now)
    core.release(busy)
    began = len(core.all(Start))
    core.lease(LARGE)
    assert [effect.cluster.pool for effect in core.all(Start)[began:]] == [SMALL.digest]


WIDE, DEEP, BOTH = (
    make_key(cpu=4),
    make_key(cpu=1, workers=[{"name": "w", "cpu": 1, "replicas": 1}]),
    make_key(cpu=8, workers=[{"name": "w", "cpu": 1, "replicas": 1}]),
)
"""Of the first two neither may serve the other; the third may serve both."""


def rivals() -> Core:
    """Return a core with pools of two shapes that do not serve each other, and one that may serve both."""
    reclaim = FixedTTL(ttl_s=0.0, jitter=0.0)
    settings = make_settings(sizing=Wants(number=0), serve_larger=True, reclaim=reclaim)
    core = Core(Rules(settings_for=lambda key: settings, max_starting=100))
    use(core, WIDE, DEEP, BOTH)
    assert larger_of(core.state, WIDE.digest) == larger_of(core.state, DEEP.digest) == (BOTH.digest,)
    return core


def expect(core: Core, key: ClusterKey, *, for_s: float = 300.0) -> None:
    """Have one idle cluster of a key expected from now on."""
    core.state.index[key.digest].expected.want(RHYTHM, 0, 1, core.now, core.now + for_s, core.now)


def test_on_one_larger_cluster_to_spare_only_one_pool_counts() -> None:
    core = rivals()
    busy = core.lease(BOTH)
    expect(core, WIDE)
    expect(core, DEEP)
    began = len(core.all(Start))
    core.release(busy)
    core.go(1.0)
    # The larger shape comes first; for the other one a cluster is started.
    assert [effect.cluster.pool for effect in core.all(Start)[began:]] == [DEEP.digest]
    assert idle(core, BOTH) == 1


def test_who_comes_first_takes_what_another_counted_on_and_that_one_has_its_own() -> None:
    core = rivals()
    busy = core.lease(BOTH)
    expect(core, DEEP)
    core.release(busy)
    core.go(1.0)
    began = len(core.all(Start))
    assert idle(core, BOTH) == 1
    expect(core, WIDE)
    core.tell(Resize(WIDE.digest, min_idle=None, max_clusters=None))
    assert [effect.cluster.pool for effect in core.all(Start)[began:]] == [DEEP.digest]


def test_larger_clusters_are_kept_for_all_that_count_on_them() -> None:
    core = rivals()
    for lease in [core.lease(BOTH) for _ in range(3)]:
        core.release(lease)
    expect(core, WIDE)
    expect(core, DEEP)
    core.go(200.0)
    assert idle(core, BOTH) == 2
    core.go(1_000.0)
    assert idle(core, BOTH) == 0


def test_demand_for_larger_clusters_is_also_that_of_the_pools_that_they_may_serve() -> None:
    core = Core(sizing=Newsvendor(break_even_s=600.0), serve_larger=True)
    core.release(core.lease(SMALL, group="x"))
    for n in range(20):
        core.go(600.0)
        leases = [core.lease(LARGE, group=f"y-{n}") for _ in range(3)]
        for lease in leases:
            core.release(lease)
    small, large = (core.state.index[key.digest].load for key in (SMALL, LARGE))
    assert small is not None
    assert large is not None
    assert small.exceeds(core.now, 60.0)[2] == pytest.approx(large.exceeds(core.now, 60.0)[2], rel=0.1)
    assert large.in_use(core.now) == pytest.approx(small.in_use(core.now), rel=0.1, abs=1e-3)
    assert core.state.habits.at_least() == [1.0], "each execution is counted once"


def test_it_says_how_many_of_those_that_pay_are_larger_ones() -> None:
    core = Core(sizing=Newsvendor(break_even_s=7_200.0), serve_larger=True)
    for key in (SMALL, LARGE):
        core.acquire(key, group="x")
    said = idling.why(core.state, core.state.pools[SMALL.digest], core.now)
    assert said.startswith("2 idle clusters pay for themselves")
    assert said.endswith("; larger pools have 1 of them")


def seldom_large(prices: Prices) -> Core:
    """Return a core in which a large cluster was asked for once, and small ones every half hour since."""
    core = Core(sizing=Newsvendor(break_even_s=3_600.0), serve_larger=True, prices=prices)
    core.release(core.lease(LARGE, group="x"))
    for n in range(8):
        core.go(1_800.0)
        core.release(core.lease(SMALL, group=f"y-{n}"))
    return core


@pytest.mark.parametrize(
    ("prices", "wanted"), [(Prices(cluster=1.0), (0, 1)), (Prices(cpu=1.0), (1, 0)), (Prices(), (1, 0))]
)
def test_prices_say_of_which_shape_the_reserve_is(prices: Prices, wanted: tuple[int, int]) -> None:
    core = seldom_large(prices)
    found = tuple(idling.idle_target(core.state, core.state.pools[key.digest], core.now) for key in (SMALL, LARGE))
    assert found == wanted


def test_it_says_how_many_stand_for_smaller_pools_too() -> None:
    core = seldom_large(Prices(cluster=1.0))
    said = idling.why(core.state, core.state.pools[LARGE.digest], core.now)
    assert said.startswith("0 idle clusters pay for themselves")
    assert said.endswith("; 1 more may serve smaller pools besides")


def test_a_burst_of_who_asks_for_less_has_larger_ones_started_at_once() -> None:
    core = Core(
        sizing=Newsvendor(break_even_s=14_400.0), serve_larger=True, prices=Prices(cluster=1.0),
        reclaim=FixedTTL(ttl_s=0.0, jitter=0.0),
    )  # fmt: skip
    for lease in [core.lease(LARGE, group=f"x-{n}") for n in range(6)]:
        core.release(lease)
    for n in range(8):
        core.go(1_800.0)
        core.release(core.lease(SMALL, group=f"y-{n}"))
        for one in core.clusters(ClusterState.STARTING):
            core.start(one)
        for one in core.clusters(ClusterState.STOPPING):
            core.tell(Stopped(one.id))
    large = core.state.pools[LARGE.digest]
    before = idling.idle_target(core.state, large, core.now)
    for n in range(6):
        core.acquire(SMALL, group=f"z-{n}")
    after = idling.idle_target(core.state, large, core.now)
    assert after > before
    there = [one for one in core.clusters(ClusterState.IDLE, ClusterState.STARTING) if one.pool == LARGE.digest]
    assert len(there) == after

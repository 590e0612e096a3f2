"""Which idle cluster makes room under a ceiling: longest idle, and GreedyDual against its formula."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.eviction import GreedyDual, LongestIdle
from policies.reclaim import UntilEvicted
from pool.core.events import Started
from pool.core.key import ClusterKey, Footprint
from pool.core.model import Cluster, ClusterState, Mode
from pool.core.policy import Worth
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from pool.core.state import State
from tests.kit import T0, Core, make_key

A, B, C = (make_key(image=f"image:{name}") for name in "abc")


def idle(since: float = 0.0) -> Cluster:
    return Cluster(
        "c-1", "p", "a/b", 1, Footprint(1), ClusterState.IDLE, Reason.MISS, created_at=0.0, changed_at=0.0,
        idle_since=since,
    )  # fmt: skip


NUMBERS = st.floats(0.1, 1e6)


@given(NUMBERS, st.integers(0, 1000), NUMBERS, st.floats(0.001, 1.0))
def test_the_value_is_clock_plus_frequency_times_cost_over_size(
    clock: float, uses: int, start_s: float, size: float
) -> None:
    worth = Worth(clock, uses, start_s, size)
    value = GreedyDual().value(idle(), worth)
    assert value == pytest.approx(clock + uses * start_s / size)
    assert GreedyDual().value(idle(), worth._replace(uses=uses + 1)) > value
    assert GreedyDual().value(idle(), worth._replace(size=size * 2)) <= value
    assert GreedyDual().value(idle(), worth._replace(clock=clock + 1)) > value


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_longest_idle_is_least_valuable_whatever_else(one: float, other: float) -> None:
    worth = Worth(1.0, 1, 1.0, 1.0)
    assert (LongestIdle().value(idle(one), worth) < LongestIdle().value(idle(other), worth)) == (one < other)


def core_with(eviction: Any, clusters: int = 2) -> Core:
    return Core(
        daemon=Ceiling(clusters=clusters), eviction=eviction, reclaim=UntilEvicted(), lease_ttl_s=1e6,
        start_timeout_s=1e6,
    )  # fmt: skip


def use(core: Core, key: ClusterKey, times: int, start_s: float = 10.0) -> Cluster:
    """Have a cluster that is idle after so many leases."""
    for _ in range(times):
        lease = core.lease(key, start_s=start_s)
        core.go(5.0)
        core.release(lease)
    return core.state.clusters[lease.cluster]


def evicted_for(core: Core, key: ClusterKey) -> str:
    """Ask for a key that there is no room for; return whose cluster is stopped."""
    core.acquire(key, mode=Mode.WAIT_OR_CREATE)
    (stopping,) = core.clusters(ClusterState.STOPPING)
    assert stopping.reason is Reason.EVICTED
    return core.state.pools[stopping.pool].key.image


@pytest.mark.parametrize(("eviction", "first"), [(None, A), (LongestIdle(), A), (GreedyDual(), B)])
def test_what_is_used_often_outlives_what_is_used_later_by_greedy_dual_alone(eviction: Any, first: ClusterKey) -> None:
    core = core_with(eviction)
    use(core, A, 10)
    use(core, B, 1)
    assert evicted_for(core, C) == first.image


def test_what_takes_long_to_start_is_worth_more() -> None:
    core = core_with(GreedyDual())
    use(core, A, 2, start_s=300.0)
    use(core, B, 2, start_s=10.0)
    assert evicted_for(core, C) == B.image


def test_what_is_charged_more_for_its_starts_is_worth_more_though_they_take_no_time() -> None:
    core = core_with(GreedyDual())
    for key, charged_s in ((A, 300.0), (B, 10.0)):
        core.acquire(key)
        (starting,) = core.clusters(ClusterState.STARTING)
        core.tell(Started(starting.id, "boot", "head:6379", took_s=charged_s))
        (lease,) = (lease for lease in core.state.leases.values() if lease.cluster == starting.id)
        core.release(lease)
        core.go(5.0)
    assert evicted_for(core, C) == B.image, "by time alone they are worth the same, and the one idle for longer goes"


def test_what_takes_more_of_the_ceiling_is_worth_less() -> None:
    large = make_key(cpu=8, image="image:large")
    core = Core(daemon=Ceiling(milli_cpu=10_000), eviction=GreedyDual(), reclaim=UntilEvicted(), lease_ttl_s=1e6)
    use(core, A, 2)
    use(core, large, 2)
    assert evicted_for(core, make_key(cpu=2, image="image:c")) == large.image


def test_the_clock_rises_to_what_was_evicted_so_that_old_use_fades() -> None:
    core = core_with(GreedyDual())
    often = use(core, A, 10)
    once = use(core, B, 1)
    before = core.state.ages.clock
    assert (before, core.state.ages.of(once.id)) == (0.0, 0.0)
    evicted_for(core, C)
    assert core.state.ages.clock == pytest.approx(1 * 10.0 / 0.5), "the value of what was evicted"
    # Whoever comes now begins at the clock: B's cluster again and again, until A's ten leases count for no more.
    turns = 0
    while core.state.clusters[often.id].state is ClusterState.IDLE:
        turns += 1
        for stopping in core.clusters(ClusterState.STOPPING):
            core.tell(stopped(stopping))
        for starting in core.clusters(ClusterState.STARTING):
            core.go(10.0)
            core.start(starting)
        for lease in list(core.state.leases.values()):
            core.release(lease)
        core.acquire(make_key(image=f"image:{turns}"))
        assert turns < 50, "what was used often once is kept for ever"
    assert turns > 3


def stopped(cluster: Cluster) -> Any:
    from pool.core.events import Stopped

    return Stopped(cluster.id)


def test_uses_survive_a_restart_and_the_clock_begins_anew() -> None:
    core = core_with(GreedyDual())
    use(core, A, 10)
    use(core, B, 1)
    from tests.invariants import rebuilt

    again = rebuilt(core.state)
    assert {d: index.grants for d, index in again.index.items()} == {A.digest: 10, B.digest: 1}
    assert again.ages.clock == 0.0


def test_until_evicted_keeps_what_nobody_else_needs() -> None:
    core = core_with(None)
    kept = use(core, A, 1)
    core.go(30 * 86_400.0)
    assert core.state.clusters[kept.id].state is ClusterState.IDLE
    assert core.now > T0
    assert isinstance(core.state, State)

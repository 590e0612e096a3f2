"""Ceilings, starts, evictions, floors, and what becomes of idle clusters."""

from __future__ import annotations

import pytest

from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.core.decisions import Granted, Queued, Rejected, Start, Stop
from pool.core.events import Prewarm, Release, Stopped
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from tests.kit import KEY, Core, make_key, make_rules, make_settings

OTHER = make_key(image="other:1")
LARGE = make_key(cpu=4, image="large:1")
GIB = 2**30


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ceiling": Ceiling(clusters=1)}, Reason.POOL_CEILING),
        ({"tenant_ceiling": lambda tenant: Ceiling(clusters=1)}, Reason.TENANT_CEILING),
        ({"daemon": Ceiling(clusters=1)}, Reason.DAEMON_CEILING),
        ({"daemon": Ceiling(milli_cpu=1500)}, Reason.DAEMON_CEILING),
        ({"max_starting": 1}, Reason.MAX_STARTING),
    ],
)
def test_no_start_goes_over_a_ceiling_and_the_waiter_is_told_which(fields: dict[str, object], reason: Reason) -> None:
    core = Core(**fields)
    core.acquire()
    if reason is not Reason.MAX_STARTING:
        core.start(core.clusters()[0])
    second = core.acquire(OTHER if reason is not Reason.POOL_CEILING else KEY)
    assert isinstance(second, Queued)
    assert second.reason is reason
    assert len(core.clusters()) == 1


@pytest.mark.parametrize(
    ("ceiling", "node"),
    [
        (Ceiling(memory_bytes=10 * GIB), {"memory": "6Gi"}),
        (Ceiling(gpu=1), {"gpu": 1}),
        (Ceiling(milli_cpu=2000), {"cpu": 2}),
    ],
)
def test_ceilings_are_on_memory_gpus_and_cpus_too(ceiling: Ceiling, node: dict[str, object]) -> None:
    core = Core(daemon=ceiling)
    keys = [make_key(image=f"image:{n}", head=node) for n in (1, 2)]
    core.lease(keys[0])
    assert core.acquire(keys[1]).reason is Reason.DAEMON_CEILING


def test_an_autoscaled_group_counts_at_its_max() -> None:
    group = {"name": "w", "cpu": 1, "replicas": 1, "min_replicas": 0, "max_replicas": 3}
    key = make_key(workers=[group], autoscaling=True)
    assert key.footprint.milli_cpu == 4000
    assert Core(daemon=Ceiling(milli_cpu=3999)).acquire(key).reason is Reason.SHAPE_TOO_LARGE
    assert isinstance(Core(daemon=Ceiling(milli_cpu=4000)).acquire(key), Queued)


def test_a_shape_that_can_never_fit_is_refused_at_once_with_the_arithmetic() -> None:
    refused = Core(tenant_ceiling=lambda tenant: Ceiling(milli_cpu=3000)).acquire(LARGE)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.SHAPE_TOO_LARGE
    assert "4 more, of 3" in refused.detail


def test_a_cluster_counts_until_it_is_seen_gone() -> None:
    core = Core(ceiling=Ceiling(clusters=1), max_uses=1)
    lease = core.lease()
    core.tell(Release(lease.id, lease.epoch))
    core.acquire()
    assert not core.clusters(ClusterState.STARTING)
    core.tell(Stopped(lease.cluster))
    assert len(core.clusters(ClusterState.STARTING)) == 1


def test_a_miss_at_a_ceiling_evicts_an_idle_cluster_of_another_key() -> None:
    core = Core(daemon=Ceiling(clusters=1))
    victim = core.idle()
    waiter = core.acquire(OTHER)
    stop = core.all(Stop)[0]
    assert (stop.cluster_id, stop.reason) == (victim.id, Reason.EVICTED)
    core.tell(Stopped(victim.id))
    (started,) = core.clusters(ClusterState.STARTING)
    core.start(started)
    assert isinstance(core.answer(waiter.waiter.id), Granted)


def test_a_cluster_that_comes_idle_is_evicted_at_once_for_whoever_waits_at_the_ceiling() -> None:
    core = Core(daemon=Ceiling(clusters=1))
    busy = core.lease()
    core.acquire(OTHER)
    assert not core.all(Stop)
    core.release(busy)
    assert core.all(Stop)[0].reason is Reason.EVICTED


def test_the_least_valuable_goes_first_the_longest_idle_but_no_floor() -> None:
    kept = make_settings("floor", sizing=FloorAndBuffer(min_idle=1))
    rules = make_rules({"floor:1": kept}, daemon=Ceiling(clusters=3))
    core = Core(rules)
    core.tell(Prewarm(make_key(image="floor:1"), 1))
    (floor,) = core.clusters()
    core.start(floor)
    core.go(1)
    old = core.lease()
    new = core.lease(OTHER)
    core.release(old)
    core.go(1)
    core.release(new)
    core.acquire(LARGE)
    assert [stop.cluster_id for stop in core.all(Stop)] == [old.cluster]
    core.tell(Stopped(old.cluster))
    core.start(core.clusters(ClusterState.STARTING)[0])
    core.acquire(make_key(image="third:1"))
    core.acquire(make_key(image="fourth:1"))
    assert [stop.cluster_id for stop in core.all(Stop)] == [old.cluster, new.cluster]
    core.tell(Stopped(new.cluster))
    core.start(core.clusters(ClusterState.STARTING)[0])
    assert [stop.cluster_id for stop in core.all(Stop)] == [old.cluster, new.cluster, floor.id]


def test_nothing_is_evicted_when_it_would_not_be_enough() -> None:
    core = Core(daemon=Ceiling(milli_cpu=4000))
    core.lease()
    core.idle(OTHER)
    core.acquire(LARGE)
    assert not core.all(Stop)


def test_as_many_are_evicted_as_one_start_needs() -> None:
    core = Core(daemon=Ceiling(milli_cpu=5000))
    leases = [core.lease(make_key(image=f"image:{n}")) for n in range(5)]
    for lease in leases[:4]:
        core.release(lease)
    core.acquire(make_key(cpu=3))
    assert len(core.all(Stop)) == 3


def test_a_tenants_ceiling_evicts_its_own_clusters_only() -> None:
    core = Core(tenant_ceiling=lambda tenant: Ceiling(clusters=1))
    core.idle(make_key(tenant="other/domain"))
    mine = core.idle()
    core.acquire(OTHER)
    assert [stop.cluster_id for stop in core.all(Stop)] == [mine.id]


def test_a_hold_yields_to_another_key_after_a_bound() -> None:
    core = Core(daemon=Ceiling(clusters=1), hold_s=600, hold_yield_s=60)
    core.release(core.lease(group="run"))
    core.acquire(OTHER)
    assert not core.all(Stop)
    core.go(61)
    assert core.all(Stop)[0].reason is Reason.EVICTED


def test_a_hold_yields_to_another_group_of_its_own_key_after_a_bound() -> None:
    core = Core(daemon=Ceiling(clusters=1), hold_s=600, hold_yield_s=60)
    core.release(core.lease(group="run"))
    waiter = core.acquire(group="other")
    core.go(59)
    assert core.answer(waiter.waiter.id) is None
    core.go(2)
    assert isinstance(core.answer(waiter.waiter.id), Granted)


def test_starts_wait_for_one_another_where_few_may_start_at_once() -> None:
    core = Core(max_starting=2)
    for _ in range(4):
        core.acquire()
    assert len(core.clusters(ClusterState.STARTING)) == 2
    core.start(core.clusters(ClusterState.STARTING)[0])
    assert len(core.clusters(ClusterState.STARTING)) == 2
    assert len(core.clusters()) == 3


def test_a_start_slot_that_comes_free_goes_to_the_waiter_with_the_best_rank() -> None:
    core = Core(max_starting=1)
    core.acquire()
    core.go(1)
    core.acquire(OTHER)
    core.acquire(LARGE, priority=5)
    core.start(core.clusters()[0])
    assert core.clusters(ClusterState.STARTING)[0].pool == LARGE.digest


# --- idle clusters -------------------------------------------------------------------------------------------------


def test_an_idle_cluster_is_stopped_after_its_ttl_and_the_log_says_why() -> None:
    core = Core(reclaim=FixedTTL(ttl_s=600, jitter=0))
    core.idle()
    core.go(599)
    assert not core.all(Stop)
    core.go(1)
    stop = core.all(Stop)[0]
    assert (stop.reason, stop.detail) == (Reason.IDLE_TTL, "idle for 600 s, over its 600 s")


def test_a_cluster_in_use_is_not_reclaimed() -> None:
    core = Core(reclaim=FixedTTL(ttl_s=10, jitter=0))
    cluster = core.idle()
    core.go(9)
    core.lease(ttl_s=1e6)
    core.go(1000)
    assert core.state.clusters[cluster.id].state is ClusterState.LEASED


def test_a_floor_is_kept_from_the_first_ask_on() -> None:
    core = Core(sizing=FloorAndBuffer(min_idle=2), reclaim=FixedTTL(ttl_s=10, jitter=0))
    lease = core.lease()
    assert [s.cluster.cause for s in core.all(Start)].count(Reason.MISS) == 1
    for cluster in core.clusters(ClusterState.STARTING):
        core.start(cluster)
    core.release(lease)
    core.go(1000)
    assert len(core.clusters(ClusterState.IDLE)) == 2


def test_a_floor_lapses_for_a_pool_that_nobody_uses_unless_it_is_pinned() -> None:
    for pinned, left in ((False, 0), (True, 1)):
        settings = make_settings(
            sizing=FloorAndBuffer(min_idle=1), reclaim=FixedTTL(ttl_s=10, jitter=0), floor_for_s=100, pinned=pinned
        )
        core = Core(make_rules({KEY.image: settings}))
        core.tell(Prewarm(KEY, 1))
        core.start(core.clusters()[0])
        core.go(1000)
        assert len(core.clusters(ClusterState.IDLE)) == left


def test_a_window_raises_the_floor_of_the_pools_it_names() -> None:
    core = Core(floors={"default": 2})
    core.acquire()
    assert len(core.clusters(ClusterState.STARTING)) == 3


def test_a_buffer_stands_beside_the_leased_and_goes_with_them() -> None:
    core = Core(sizing=FloorAndBuffer(buffer=1), reclaim=FixedTTL(ttl_s=10, jitter=0))
    lease = core.lease(ttl_s=1e6)
    (spare,) = core.clusters(ClusterState.STARTING)
    assert spare.cause is Reason.BUFFER
    core.start(spare)
    core.go(500)
    assert len(core.clusters(ClusterState.IDLE)) == 1
    core.release(lease)
    core.go(200)
    assert not core.clusters(ClusterState.IDLE)


def test_a_cluster_retires_at_its_lifetime_but_not_under_its_holder() -> None:
    core = Core(max_lifetime_s=100)
    lease = core.lease(ttl_s=1e6)
    core.go(200)
    assert not core.all(Stop)
    core.release(lease)
    assert core.all(Stop)[0].reason is Reason.MAX_LIFETIME
    core.idle()
    core.go(101)
    assert core.all(Stop)[1].reason is Reason.MAX_LIFETIME


def test_lifetimes_are_spread_so_that_clusters_do_not_retire_together() -> None:
    core = Core(max_lifetime_s=1000, lifetime_jitter=0.5)
    for _ in range(5):
        core.lease()
    ends = {c.retires_at - c.created_at for c in core.clusters()}
    assert len(ends) == 5
    assert all(500 <= end <= 1000 for end in ends)


def test_a_start_is_told_the_key_and_the_time_it_may_take() -> None:
    core = Core(start_timeout_s=77)
    core.acquire()
    (start,) = core.all(Start)
    assert (start.key, start.timeout_s, start.cluster.id) == (KEY, 77, f"c-{KEY.digest}-1")


def test_cluster_numbers_are_never_used_again() -> None:
    core = Core(max_uses=1)
    seen = set()
    for _ in range(3):
        lease = core.lease()
        seen.add(lease.cluster)
        core.release(lease)
        core.tell(Stopped(lease.cluster))
    assert len(seen) == 3


def test_room_made_for_a_waiter_goes_to_him_and_not_back_to_the_floor_it_was_taken_from() -> None:
    core = Core(daemon=Ceiling(clusters=1), sizing=FloorAndBuffer(min_idle=1))
    idle = core.idle()
    waiter = core.acquire(OTHER)
    assert isinstance(waiter, Queued)
    core.tell(Stopped(idle.id))
    (starting,) = core.clusters()
    assert (starting.pool, starting.state) == (OTHER.digest, ClusterState.STARTING)
    core.start(starting)
    assert isinstance(core.answer(waiter.waiter.id), Granted)


def test_a_waiter_at_his_own_tenants_ceiling_keeps_no_other_tenants_floor_from_being_filled() -> None:
    core = Core(tenant_ceiling=lambda tenant: Ceiling(clusters=1), sizing=FloorAndBuffer(min_idle=1))
    core.lease(OTHER)
    assert core.acquire(LARGE).reason is Reason.TENANT_CEILING
    elsewhere = make_key(tenant="another/tenant")
    core.tell(Prewarm(elsewhere, 1))
    assert [cluster.pool for cluster in core.clusters() if cluster.tenant == "another/tenant"] == [elsewhere.digest]


def test_a_pool_whose_making_is_taken_back_wants_no_room_any_more() -> None:
    core = Core(rules=make_rules(daemon=Ceiling(clusters=1)))
    core.lease()
    decision = core.decide(core.ask(OTHER))
    assert list(core.state.blocked) == [OTHER.digest]
    core.state.revert(decision.changes)
    assert OTHER.digest not in core.state.pools
    assert not core.state.blocked

"""A group's next task goes where its data is, and waits for it a bounded time."""

from __future__ import annotations

from policies.grant_order import LeastRecentlyUsed, MostRecentlyUsed
from pool.core import explain
from pool.core.decisions import Granted, Queued, Rejected
from pool.core.events import Lost, Release, Undelivered
from pool.core.model import ClusterState, Mode, Outcome, ResidentValue
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from tests.kit import KEY, T0, Core, make_key

GB = 1_000_000_000


def told(size_bytes: int) -> tuple[ResidentValue, ...]:
    return (ResidentValue("features", size_bytes, "node", T0),)


def two_idle(core: Core, *groups: str, size_bytes: int = 0) -> list[str]:
    """Have two idle clusters; the first with that much of its group's data, the other fully reset."""
    leases = [core.lease(group=group) for group in groups]
    for lease, has in zip(leases, (size_bytes, 0), strict=True):
        core.go(1)
        core.release(lease, full=not has, resident=told(has) if has else ())
    return [lease.cluster for lease in leases]


def test_a_group_gets_the_cluster_that_it_used_last() -> None:
    core = Core()
    ours, _ = two_idle(core, "ours", "theirs")
    assert core.acquire(group="ours").cluster.id == ours


def test_others_get_the_most_recently_used_cluster_or_the_least() -> None:
    recent = Core(grant_order=MostRecentlyUsed())
    _, last = two_idle(recent, "a", "b")
    assert recent.acquire().cluster.id == last
    rare = Core(grant_order=LeastRecentlyUsed())
    first, _ = two_idle(rare, "a", "b")
    assert rare.acquire().cluster.id == first


def test_a_held_cluster_waits_for_its_group() -> None:
    core = Core(hold_s=60)
    core.release(core.lease(group="run"))
    miss = core.acquire(group="other", mode=Mode.WARM_ONLY)
    assert isinstance(miss, Rejected)
    assert Reason.ALL_HELD.sentence in miss.detail
    assert isinstance(core.acquire(group="run"), Granted)


def test_a_hold_ends_and_the_cluster_is_anybodys() -> None:
    core = Core(hold_s=60, ceiling=Ceiling(clusters=1))
    core.release(core.lease(group="run"))
    waiter = core.acquire(group="other")
    assert waiter.waiter.miss is Reason.ALL_HELD
    core.go(60)
    assert isinstance(core.answer(waiter.waiter.id), Granted)


def test_a_holder_may_ask_for_a_hold_up_to_the_pools_bound() -> None:
    core = Core(hold_max_s=30)
    lease = core.lease(group="run")
    core.release(lease, hold_s=10_000)
    assert core.clusters()[0].hold_until == core.now + 30


def test_a_hold_without_a_group_is_for_nobody() -> None:
    core = Core(hold_s=60)
    core.release(core.lease())
    assert core.clusters()[0].hold_until == 0


def test_a_group_waits_a_bounded_time_for_its_busy_cluster_and_then_takes_any() -> None:
    core = Core(locality_wait_s=3)
    ours, other = two_idle(core, "run", "other", size_bytes=10)
    core.lease(group="run")
    waiter = core.acquire(group="run")
    assert isinstance(waiter, Queued)
    assert (waiter.reason, waiter.waiter.miss) == (Reason.LOCALITY_WAIT, Reason.LOCALITY_WAIT)
    core.go(3)
    granted = core.answer(waiter.waiter.id)
    assert isinstance(granted, Granted)
    assert granted.cluster.id == other != ours


def test_a_group_that_waits_gets_its_own_cluster_when_it_comes_free() -> None:
    core = Core(locality_wait_s=3)
    ours, _ = two_idle(core, "run", "other", size_bytes=10)
    busy = core.lease(group="run")
    waiter = core.acquire(group="run")
    core.go(1)
    core.release(busy)
    assert core.answer(waiter.waiter.id).cluster.id == ours


def test_tasks_beside_each_other_do_not_wait_for_a_leased_cluster_that_has_nothing_of_theirs() -> None:
    core = Core(locality_wait_s=3)
    ours, other = two_idle(core, "run", "other")
    assert core.lease(group="run").cluster == ours
    beside = core.acquire(group="run")
    assert isinstance(beside, Granted)
    assert (beside.cluster.id, beside.lease.outcome) == (other, Outcome.HIT)


def test_a_group_waits_for_its_cluster_while_that_is_being_reset_whatever_it_has() -> None:
    core = Core(locality_wait_s=3)
    two_idle(core, "run", "other")
    busy = core.lease(group="run")
    core.tell(Release(busy.id, busy.epoch))
    waiter = core.acquire(group="run")
    assert isinstance(waiter, Queued)
    assert waiter.reason is Reason.LOCALITY_WAIT


def test_who_waits_for_its_groups_cluster_is_told_which_and_of_data_only_where_there_is_some() -> None:
    bounded = "it is waited for, for a bounded time."
    core = Core(locality_wait_s=3)
    ours, _ = two_idle(core, "run", "other", size_bytes=10_000_000)
    core.lease(group="run")
    waiter = core.acquire(group="run")
    assert waiter.detail == f"{ours}, which has 10.0 MB of its group's data, is leased: {bounded}"
    core = Core(locality_wait_s=3)
    ours, _ = two_idle(core, "run", "other")
    beside = [core.lease(group="run"), core.lease(group="run")]
    core.tell(Release(beside[0].id, beside[0].epoch))
    waiter = core.acquire(group="run")
    assert waiter.detail == f"{ours}, which its group used last, is being reset: {bounded}"


def test_who_waited_for_its_groups_cluster_is_told_otherwise_once_that_is_gone() -> None:
    core = Core(locality_wait_s=3, ceiling=Ceiling(clusters=2))
    ours, _ = two_idle(core, "run", "other", size_bytes=10_000_000)
    core.lease(group="run")
    core.lease()
    waiter = core.acquire(group="run").waiter
    assert explain.queued(core.state, waiter, core.now).reason is Reason.LOCALITY_WAIT
    core.tell(Lost(ours, f"boot-{ours}", Reason.PROCESS_GONE, "the head died"))
    told = explain.queued(core.state, core.state.waiters[waiter.id], core.now)
    assert told.reason is not Reason.LOCALITY_WAIT


def test_nobody_waits_for_data_where_the_pool_does_not() -> None:
    core = Core(locality_wait_s=0)
    two_idle(core, "run", "other", size_bytes=10)
    core.lease(group="run")
    granted = core.acquire(group="run")
    assert isinstance(granted, Granted)
    assert granted.lease.outcome is Outcome.HIT


def test_warm_only_takes_any_warm_cluster_rather_than_wait_for_data() -> None:
    core = Core(locality_wait_s=3)
    two_idle(core, "run", "other", size_bytes=10)
    core.lease(group="run")
    assert isinstance(core.acquire(group="run", mode=Mode.WARM_ONLY), Granted)


def test_an_idle_cluster_is_a_hit_though_somebody_waits_for_data_elsewhere() -> None:
    core = Core(locality_wait_s=3)
    two_idle(core, "run", "other", size_bytes=10)
    core.lease(group="run")
    core.acquire(group="run")
    granted = core.acquire(mode=Mode.WARM_ONLY)
    assert isinstance(granted, Granted)
    assert granted.lease.outcome is Outcome.HIT


def test_a_larger_cluster_serves_a_smaller_shape_only_where_the_pool_allows_it() -> None:
    large = make_key(cpu=4)
    strict, lenient = Core(), Core(serve_larger=True)
    for core in (strict, lenient):
        core.idle(large)
    assert not isinstance(strict.acquire(KEY), Granted)
    granted = lenient.acquire(KEY)
    assert granted.cluster.pool == large.digest
    assert granted.lease.pool == KEY.digest


def test_the_smallest_larger_cluster_serves() -> None:
    core = Core(serve_larger=True)
    leases = [core.lease(make_key(cpu=cpu)) for cpu in (8, 2, 4)]
    for lease in leases:
        core.release(lease)
    assert core.acquire(KEY).cluster.pool == make_key(cpu=2).digest


def test_a_larger_cluster_that_comes_free_serves_whoever_waits_for_less() -> None:
    core = Core(serve_larger=True, ceiling=Ceiling(clusters=1))
    large = make_key(cpu=4)
    core.lease(KEY)
    busy = core.lease(large)
    waiter = core.acquire(KEY)
    core.release(busy)
    assert core.answer(waiter.waiter.id).cluster.pool == large.digest


def test_a_larger_cluster_of_another_tenant_serves_nobody() -> None:
    core = Core(serve_larger=True)
    core.idle(make_key(cpu=4, tenant="other/domain"))
    assert not isinstance(core.acquire(KEY), Granted)


def test_a_grant_from_before_a_restart_is_not_taken_back_as_undelivered() -> None:
    core = Core()
    core.idle()
    granted = core.acquire()
    core.state.generation += 1
    core.tell(Undelivered(granted.lease.id, granted.lease.epoch))
    assert core.clusters()[0].state is ClusterState.LEASED


# --- resident data -------------------------------------------------------------------------------------------------


def test_a_group_gets_the_cluster_with_most_of_its_data() -> None:
    core = Core()
    leases = [core.lease(group="run") for _ in range(3)]
    for lease, size_bytes in zip(leases, (10, 30, 20), strict=True):
        core.release(lease, full=False, resident=told(size_bytes))
    granted = core.acquire(group="run")
    assert granted.cluster.id == leases[1].cluster
    assert granted.cluster.resident == told(30)


def test_a_busy_cluster_with_more_of_the_groups_data_is_waited_for_a_bounded_time() -> None:
    core = Core(locality_wait_s=5)
    first, second = core.lease(group="run"), core.lease(group="run")
    core.release(first, full=False, resident=told(GB))
    core.release(second, full=False, resident=told(10))
    held = core.lease(group="run")
    assert held.cluster == first.cluster
    waiter, patient = core.acquire(group="run"), core.acquire(group="run")
    assert isinstance(waiter, Queued)
    core.go(4)
    core.release(held, full=False)
    assert core.answer(waiter.waiter.id).cluster.id == first.cluster
    core.go(1)
    assert core.answer(patient.waiter.id).cluster.id == second.cluster


def test_a_little_more_data_is_not_worth_a_wait() -> None:
    core = Core(locality_wait_s=5)
    first, second = core.lease(group="run"), core.lease(group="run")
    core.release(first, full=False, resident=told(20))
    core.release(second, full=False, resident=told(10))
    assert core.lease(group="run").cluster == first.cluster
    assert core.lease(group="run").cluster == second.cluster


def test_what_a_holder_did_not_look_at_is_believed_to_be_there_still() -> None:
    core = Core()
    core.release(core.lease(group="run"), full=False, resident=told(10))
    core.release(core.lease(group="run"), full=False)
    assert core.clusters()[0].resident_bytes == 10
    core.release(core.lease(group="run"), full=False, resident=())
    assert core.clusters()[0].resident == ()


def test_nothing_is_believed_resident_after_a_full_reset_or_by_another_group() -> None:
    core = Core(group_rest_s=30)
    lease = core.lease(group="run")
    core.release(lease, full=False, resident=told(10))
    core.go(30)
    core.reset_in_full(lease.cluster)
    assert core.clusters()[0].resident == ()


def test_the_data_of_a_group_goes_when_its_hold_ends() -> None:
    core = Core(group_rest_s=1)
    lease = core.lease(group="run", hold_s=60)
    core.release(lease, full=False, resident=told(10))
    core.go(59)
    assert core.clusters()[0].resident_bytes == 10
    core.go(1)
    assert core.clusters()[0].state is ClusterState.RESETTING
    core.reset_in_full(lease.cluster)
    assert core.clusters()[0].resident == ()


def test_a_cluster_with_resident_data_is_evicted_after_one_without() -> None:
    core = Core(daemon=Ceiling(clusters=2), hold_yield_s=0)
    with_data = core.lease(group="run")
    without = core.lease(group="else")
    core.release(with_data, full=False, resident=told(10), hold_s=100)
    core.go(1)
    core.release(without, full=False, hold_s=100)
    core.acquire(make_key(4))
    assert core.state.clusters[without.cluster].state is ClusterState.STOPPING
    assert core.state.clusters[with_data.cluster].state is ClusterState.IDLE

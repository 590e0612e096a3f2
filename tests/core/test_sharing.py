"""Pools in which several holders of one tenant share a cluster."""

from __future__ import annotations

from pool.core.decisions import Granted, Reset, Stop
from pool.core.events import Reconfigure, Undelivered
from pool.core.model import ClusterState, Outcome
from pool.core.reasons import Reason
from tests.kit import Core, make_rules


def sharing(**fields: object) -> Core:
    return Core(max_leases_per_cluster=2, **fields)


def test_a_second_holder_joins_the_first_and_a_third_waits() -> None:
    core = sharing()
    one, two = core.lease(), core.lease()
    assert one.cluster == two.cluster
    assert one.epoch != two.epoch
    assert not isinstance(core.acquire(), Granted)


def test_a_shared_cluster_is_reset_when_its_last_holder_released_it() -> None:
    core = sharing()
    one, two = core.lease(), core.lease()
    core.release(one)
    assert core.clusters()[0].state is ClusterState.LEASED
    assert not core.all(Reset)
    core.release(two)
    assert len(core.all(Reset)) == 1


def test_a_holder_that_expired_dooms_the_cluster_for_those_who_share_it() -> None:
    core = sharing()
    dead = core.lease(ttl_s=30)
    core.go(20)
    alive = core.lease(ttl_s=100)
    core.go(15)
    assert core.state.ended[dead.id].end_reason is Reason.EXPIRED
    assert core.clusters()[0].doom is Reason.HOLDER_NOT_GONE
    assert not isinstance(core.acquire(), Granted)
    core.release(alive)
    assert core.all(Stop)[0].reason is Reason.HOLDER_NOT_GONE


def test_a_grant_that_was_not_delivered_leaves_nothing_to_reset() -> None:
    core = sharing()
    cluster = core.idle()
    granted = core.acquire()
    assert isinstance(granted, Granted)
    core.tell(Undelivered(granted.lease.id, granted.lease.epoch))
    assert core.state.clusters[cluster.id].state is ClusterState.IDLE
    assert len(core.all(Reset)) == 1


def test_an_undelivered_grant_does_not_hide_what_another_holder_left() -> None:
    core = sharing()
    used = core.lease()
    granted = core.acquire()
    assert isinstance(granted, Granted)
    core.release(used)
    core.tell(Undelivered(granted.lease.id, granted.lease.epoch))
    assert core.clusters()[0].state is ClusterState.RESETTING


def test_a_pool_that_no_longer_shares_grants_no_second_lease() -> None:
    core = sharing()
    core.lease()
    core.tell(Reconfigure(make_rules(max_leases_per_cluster=1)))
    assert not isinstance(core.acquire(), Granted)


def test_a_pool_that_shares_from_now_on_grants_a_second_lease() -> None:
    core = Core()
    core.lease()
    waiter = core.acquire()
    assert not isinstance(waiter, Granted)
    core.tell(Reconfigure(make_rules(max_leases_per_cluster=2)))
    answer = core.answer(waiter.waiter.id)
    assert isinstance(answer, Granted)
    assert answer.lease.outcome is Outcome.WAITED


def test_a_group_shares_the_cluster_that_holds_its_data_without_waiting() -> None:
    core = sharing(locality_wait_s=5)
    core.idle(group="run")
    first = core.lease(group="run")
    second = core.acquire(group="run")
    assert isinstance(second, Granted)
    assert second.cluster.id == first.cluster

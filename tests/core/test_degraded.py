"""A cluster that is not what its key says: nobody new gets it, its holder is told, and it heals or is replaced."""

from __future__ import annotations

import pytest

from pool.core.decisions import Granted, Queued, Stop
from pool.core.events import Degraded, Renew
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from tests.kit import Core

MISSES = "c: 0 of 1 workers run."


def tell(core: Core, detail: str, *, lasting: bool = False, boot_id: str = "") -> None:
    cluster = core.clusters()[0]
    core.tell(Degraded(cluster.id, boot_id or cluster.boot_id, detail, lasting))


def test_an_idle_one_is_not_granted_and_another_is_started_until_it_is_whole_again() -> None:
    core = Core()
    cluster = core.idle()
    tell(core, MISSES)
    waiter = core.acquire()
    assert isinstance(waiter, Queued)
    assert waiter.waiter.miss is Reason.ALL_DEGRADED
    assert len(core.clusters(ClusterState.STARTING)) == 1
    tell(core, "")
    assert core.answer(waiter.waiter.id).cluster.id == cluster.id


def test_its_holder_is_told_and_keeps_the_lease() -> None:
    core = Core()
    lease = core.lease()
    tell(core, MISSES)
    assert core.tell(Renew(lease.id, lease.epoch)).hints == ("degraded",)
    tell(core, "")
    assert core.tell(Renew(lease.id, lease.epoch)).hints == ()


def test_one_that_is_not_whole_in_the_time_of_a_start_is_replaced() -> None:
    core = Core(start_timeout_s=60)
    core.idle()
    tell(core, MISSES)
    core.go(59)
    assert not core.all(Stop)
    core.go(1)
    (stop,) = core.all(Stop)
    assert (stop.reason, stop.detail) == (Reason.DEGRADED, MISSES)


def test_a_leased_one_is_replaced_after_its_lease() -> None:
    core = Core(start_timeout_s=60)
    lease = core.lease()
    tell(core, MISSES)
    core.tell(Renew(lease.id, lease.epoch))
    for _ in range(6):
        core.go(10)
        core.tell(Renew(lease.id, lease.epoch))
    assert core.tell(Renew(lease.id, lease.epoch)).hints == ("drain", "degraded")
    core.release(lease)
    assert [stop.reason for stop in core.all(Stop)] == [Reason.DEGRADED]


def test_a_second_time_has_its_own_time() -> None:
    core = Core(start_timeout_s=60)
    core.idle()
    tell(core, MISSES)
    core.go(50)
    tell(core, "")
    tell(core, MISSES)
    core.go(50)
    assert not core.all(Stop)
    core.go(10)
    assert len(core.all(Stop)) == 1


@pytest.mark.parametrize("leased", [False, True])
def test_an_edited_one_is_replaced_at_once_or_after_its_lease(leased: bool) -> None:
    core = Core()
    if leased:
        lease = core.lease()
        tell(core, "c: somebody changed it.", lasting=True)
        assert not core.all(Stop)
        core.release(lease)
    else:
        core.idle()
        tell(core, "c: somebody changed it.", lasting=True)
    (stop,) = core.all(Stop)
    assert (stop.reason, stop.detail) == (Reason.EDITED, "c: somebody changed it.")


def test_news_of_another_run_of_the_head_is_no_news() -> None:
    core = Core()
    core.idle()
    tell(core, MISSES, boot_id="before")
    assert isinstance(core.acquire(), Granted)


def test_a_reset_that_ends_while_it_misses_workers_does_not_make_it_grantable() -> None:
    core = Core()
    lease = core.lease()
    tell(core, MISSES)
    core.release(lease)
    assert core.clusters()[0].state is ClusterState.IDLE
    assert isinstance(core.acquire(), Queued)

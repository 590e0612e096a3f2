"""Who is served when, and what those who wait are told."""

from __future__ import annotations

import pytest

from policies.reclaim import NeverKeep
from pool.core.decide import Due, decide
from pool.core.decisions import Granted, Queued, Rejected, Start
from pool.core.events import Detached, Release, ResetDone
from pool.core.model import ClusterState, Mode
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from pool.core.timers import Kind
from tests.kit import Core

ONE = Ceiling(clusters=1)


def served(core: Core, first: object) -> list[str]:
    """Release one lease after the other; return the waiters in the order in which they were served."""
    out, lease = [], first
    while True:
        core.release(lease)
        if not core.state.leases:
            return out
        (lease,) = core.state.leases.values()
        out.append(lease.holder)


def test_first_come_first_served_among_equals() -> None:
    core = Core(ceiling=ONE)
    busy = core.lease()
    for n in range(5):
        core.acquire(holder=f"w{n}")
        core.go(0.1)
    assert served(core, busy) == [f"w{n}" for n in range(5)]


def test_first_come_first_served_also_within_one_batch() -> None:
    core = Core(ceiling=ONE)
    busy = core.lease()
    for n in range(5):
        core.acquire(holder=f"w{n}", lease_id=f"l-{9 - n}")
    assert served(core, busy) == [f"w{n}" for n in range(5)]


def test_a_higher_priority_is_served_first_and_waiting_counts() -> None:
    core = Core(ceiling=ONE, aging_s=60, lease_ttl_s=1e6)
    busy = core.lease()
    core.acquire(holder="patient", priority=0)
    core.go(50)
    core.acquire(holder="urgent", priority=1)
    core.go(20)
    core.acquire(holder="late", priority=1)
    assert served(core, busy) == ["urgent", "patient", "late"]


def test_warm_only_fails_at_once_and_says_why() -> None:
    core = Core()
    refused = core.acquire(mode=Mode.WARM_ONLY)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.WARM_ONLY_MISS
    assert Reason.NO_CLUSTER.sentence in refused.detail
    assert not core.clusters()


def test_wait_never_starts_a_cluster() -> None:
    core = Core()
    waiter = core.acquire(mode=Mode.WAIT)
    assert isinstance(waiter, Queued)
    assert waiter.reason is Reason.WAIT_ONLY
    assert not core.clusters()


def test_a_release_may_serve_whoever_waits_for_a_start() -> None:
    core = Core()
    busy = core.lease()
    waiter = core.acquire()
    assert len(core.clusters(ClusterState.STARTING)) == 1
    core.release(busy)
    assert isinstance(core.answer(waiter.waiter.id), Granted)


def learned(core: Core, start_s: float, lease_s: float) -> object:
    """Have a core that has seen how long starts and leases take; return a lease that began just now."""
    lease = core.lease(start_s=start_s, ttl_s=1e6)
    core.go(lease_s)
    core.release(lease)
    return core.lease(ttl_s=1e6)


def test_no_cluster_is_started_when_a_release_is_expected_sooner() -> None:
    core = Core()
    learned(core, start_s=60, lease_s=30)
    core.go(5)
    waiter = core.acquire()
    assert waiter.reason is Reason.RELEASE_EXPECTED
    assert len(core.all(Start)) == 1


def test_a_cluster_is_started_when_a_release_is_expected_later() -> None:
    core = Core()
    learned(core, start_s=10, lease_s=300)
    core.acquire()
    assert len(core.all(Start)) == 2


def test_a_lease_that_is_overdue_promises_nothing() -> None:
    core = Core()
    learned(core, start_s=60, lease_s=30)
    core.go(5)
    core.acquire()
    core.go(30)
    assert len(core.all(Start)) == 2


def test_each_expected_release_serves_one_waiter() -> None:
    core = Core()
    learned(core, start_s=60, lease_s=30)
    core.acquire()
    core.acquire()
    assert len(core.all(Start)) == 2


def test_a_release_promises_nothing_where_no_cluster_is_kept() -> None:
    core = Core(reclaim=NeverKeep())
    learned(core, start_s=60, lease_s=30)
    starts = len(core.all(Start))
    core.acquire()
    assert len(core.all(Start)) == starts + 1


def test_the_answer_says_position_and_expected_time() -> None:
    core = Core(ceiling=ONE)
    learned(core, start_s=60, lease_s=30)
    first, second = core.acquire(), core.acquire()
    assert (first.position, second.position) == (1, 2)
    assert first.expected_at == pytest.approx(core.now + 30, abs=1)
    assert second.expected_at is None


def test_a_waiter_is_refused_when_its_time_is_over() -> None:
    core = Core(ceiling=ONE)
    core.lease(ttl_s=1e6)
    waiter = core.acquire(wait_s=20)
    core.go(20)
    told = core.answer(waiter.waiter.id)
    assert told.reason is Reason.WAIT_TIMEOUT
    assert "20 s" in told.detail


def test_nobody_waits_longer_than_the_pool_allows() -> None:
    core = Core(ceiling=ONE, max_wait_s=10)
    core.lease(ttl_s=1e6)
    waiter = core.acquire(wait_s=10_000)
    core.go(10)
    assert core.answer(waiter.waiter.id).reason is Reason.WAIT_TIMEOUT


def test_a_waiter_that_stopped_asking_is_dropped() -> None:
    core = Core(ceiling=ONE)
    core.lease(ttl_s=1e6)
    waiter = core.acquire()
    core.tell(Detached(waiter.waiter.id, core.now + 5))
    core.go(5)
    assert core.answer(waiter.waiter.id).reason is Reason.WAITER_GONE


def test_a_waiter_that_asks_again_is_not_dropped() -> None:
    core = Core(ceiling=ONE)
    core.lease(ttl_s=1e6)
    ask = core.ask(seen_until=core.now + 5)
    core.tell(ask)
    core.go(4)
    core.tell(ask._replace(seen_until=core.now + 5))
    core.go(4)
    assert ask.lease_id in core.state.waiters


def test_a_full_queue_refuses() -> None:
    core = Core(ceiling=ONE, max_waiting=1)
    core.lease()
    core.acquire()
    assert core.acquire().reason is Reason.QUEUE_FULL


def test_what_is_due_and_no_longer_there_is_no_news() -> None:
    core = Core()
    for kind in Kind:
        assert decide(core.state, Due(kind, "gone"), core.now).changes == []


def test_a_waiter_is_granted_by_the_reset_and_not_by_the_release() -> None:
    core = Core(ceiling=ONE)
    lease = core.lease()
    waiter = core.acquire()
    core.tell(Release(lease.id, lease.epoch))
    assert core.answer(waiter.waiter.id) is None
    core.tell(ResetDone(lease.cluster, core.clusters()[0].epoch, True))
    assert isinstance(core.answer(waiter.waiter.id), Granted)

"""Starts that fail: pauses, the breaker, and what those who wait are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pool.core.decide import due_events
from pool.core.decisions import Nudge, Queued, Rejected, Start, Stop
from pool.core.events import Event, Lost, Progress, Started, StartFailed, Stopped
from pool.core.model import ClusterState, Mode
from pool.core.reasons import Reason
from pool.core.timers import Kind
from tests.kit import KEY, Core, make_key


def fails(core: Core, times: int = 1) -> None:
    """Have the next starts fail, each as soon as it is tried."""
    for _ in range(times):
        while not core.clusters(ClusterState.STARTING):
            core.go(0.5)
        core.start_fails(core.clusters(ClusterState.STARTING)[0])


def test_a_failed_start_is_tried_again_after_a_pause_and_what_was_begun_is_removed() -> None:
    core = Core(backoff_s=4)
    core.acquire()
    cluster = core.clusters()[0]
    core.tell(StartFailed(cluster.id, Reason.START_FAILED, "no such image"))
    assert core.all(Stop)[0].cluster_id == cluster.id
    core.tell(Stopped(cluster.id))
    assert not core.clusters()
    core.go(4)
    assert len(core.clusters(ClusterState.STARTING)) == 1


def test_pauses_double_up_to_a_bound_and_are_spread() -> None:
    core = Core(backoff_s=2, backoff_max_s=16, breaker_failures=100)
    core.acquire(wait_s=1e5)
    pauses = []
    for _ in range(6):
        fails(core)
        pauses.append(core.pool().retry_at - core.now)
    for pause_s, whole_s in zip(pauses, (2, 4, 8, 16, 16, 16), strict=True):
        assert whole_s / 2 <= pause_s <= whole_s
    assert len(set(pauses)) == 6


def test_whoever_waits_for_the_next_try_is_told_so_and_why() -> None:
    core = Core(backoff_s=10)
    core.acquire()
    fails(core)
    second = core.acquire()
    assert second.reason is Reason.START_BACKOFF
    assert "no such image" in second.detail


def test_the_breaker_opens_after_failures_in_a_row_and_says_why() -> None:
    core = Core(breaker_failures=3)
    waiter = core.acquire()
    fails(core, 3)
    told = core.answer(waiter.waiter.id)
    assert isinstance(told, Rejected)
    assert told.reason is Reason.START_FAILED
    assert "no such image" in told.detail
    refused = core.acquire()
    assert refused.reason is Reason.BREAKER_OPEN
    assert "no such image" in refused.detail


def test_the_breaker_half_opens_by_itself_for_one_try() -> None:
    core = Core(breaker_failures=2, breaker_open_s=60)
    core.acquire(mode=Mode.WAIT)
    core.acquire()
    fails(core, 2)
    core.go(61)
    assert isinstance(core.acquire(), Queued)
    second = core.acquire()
    assert len(core.clusters(ClusterState.STARTING)) == 1
    assert second.reason is Reason.STARTING


def test_a_failed_try_opens_the_breaker_again_and_a_good_one_closes_it() -> None:
    core = Core(breaker_failures=2, breaker_open_s=60)
    core.acquire()
    fails(core, 2)
    core.go(61)
    core.acquire()
    fails(core)
    assert core.acquire().reason is Reason.BREAKER_OPEN
    core.go(61)
    core.acquire()
    core.start(core.clusters(ClusterState.STARTING)[0])
    assert (core.pool().failures, core.pool().breaker_until) == (0, 0)
    core.acquire()
    core.acquire()
    assert len(core.clusters(ClusterState.STARTING)) == 2


def test_a_breaker_of_one_pool_does_not_concern_another() -> None:
    core = Core(breaker_failures=1)
    core.acquire()
    fails(core)
    assert isinstance(core.acquire(make_key(image="other:1")), Queued)


def test_whoever_can_still_be_served_by_a_release_is_not_refused_when_the_breaker_opens() -> None:
    core = Core(breaker_failures=1)
    lease = core.lease()
    waiter = core.acquire()
    fails(core)
    assert core.answer(waiter.waiter.id) is None
    core.release(lease)
    assert core.answer(waiter.waiter.id) is not None


def test_a_start_that_takes_too_long_fails_with_the_phase_it_came_to() -> None:
    core = Core(start_timeout_s=100)
    core.acquire()
    cluster = core.clusters()[0]
    core.tell(Progress(cluster.id, "waiting for the dashboard"))
    core.go(100)
    stop = core.all(Stop)[0]
    assert stop.reason is Reason.START_TIMEOUT
    assert "waiting for the dashboard" in stop.detail


def test_a_new_phase_is_news_for_whoever_waits() -> None:
    core = Core()
    ask = core.ask()
    core.tell(ask)
    cluster = core.clusters()[0]
    core.tell(Progress(cluster.id, "starting head"))
    core.tell(Progress(cluster.id, "starting head"))
    assert core.all(Nudge) == [Nudge(KEY.digest)]
    assert core.tell(ask).phase == "starting head"


@pytest.mark.parametrize(
    "late",
    [
        lambda id_: Started(id_, "boot", "x:1"),
        lambda id_: StartFailed(id_, Reason.START_FAILED, ""),
        lambda id_: Progress(id_, "ready"),
    ],
)
def test_what_is_told_of_a_start_that_was_given_up_is_no_news(late: Callable[[str], Event]) -> None:
    core = Core(start_timeout_s=10)
    core.acquire()
    cluster = core.clusters()[0]
    core.go(10)
    decision = core.decide(late(cluster.id))
    assert decision.changes == []
    assert core.state.clusters[cluster.id].state is ClusterState.STOPPING


def test_a_lost_cluster_ends_its_lease_and_is_replaced_for_whoever_waits() -> None:
    core = Core()
    lease = core.lease()
    boot_id = core.clusters()[0].boot_id
    core.tell(Lost(lease.cluster, "boot-of-before", Reason.PROCESS_GONE, "the head died"))
    assert lease.id in core.state.leases
    core.tell(Lost(lease.cluster, boot_id, Reason.PROCESS_GONE, "the head died"))
    ended = core.state.ended[lease.id]
    assert (ended.end_reason, ended.end_detail) == (Reason.CLUSTER_LOST, "the head died")
    assert core.all(Stop)[0].reason is Reason.PROCESS_GONE
    core.acquire()
    assert len(core.all(Start)) == 2


def test_what_was_armed_for_a_state_that_is_over_is_not_decided_again() -> None:
    core = Core(reset_wait_s=10.0, reset_timeout_s=20.0)
    core.release(core.lease())
    assert [cluster.state for cluster in core.clusters()] == [ClusterState.IDLE], "its reset is long done"
    armed = {Kind.START, Kind.RESET, Kind.SLOW}
    assert not armed & {due.kind for due in due_events(core.state, core.now + 60.0)}  # type: ignore[union-attr]

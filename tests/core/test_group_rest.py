"""Between two tasks of a group little is proven, and fast; everybody else gets what was proven in full."""

from __future__ import annotations

from typing import Any

import pytest

from policies.sizing import FloorAndBuffer
from pool.core.decide import decide
from pool.core.decisions import Granted, Queued, Rejected, Reset, Start
from pool.core.events import Prewarm, ResetDone, Undelivered
from pool.core.model import ClusterState, Lease, Mode, Outcome
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from tests.kit import KEY, Core, make_key

LARGE = make_key(4)


def rests(core: Core, group: str = "run", **fields: float) -> Lease:
    """Have one idle cluster that is clean for `group` alone."""
    lease = core.lease(group=group)
    core.release(lease, full=False, **fields)
    assert core.clusters()[0].group_only
    return lease


class Counted(dict[str, Any]):
    """A dictionary that counts how often it is asked."""

    asked = 0

    def __getitem__(self, id_: str) -> Any:
        self.asked += 1
        return super().__getitem__(id_)


def test_somebody_who_waits_looks_at_no_cluster_that_rests_or_is_held_for_others() -> None:
    core = Core(hold_max_s=1000)
    for lease in [core.lease(group=f"run-{n}") for n in range(50)]:
        core.release(lease, full=False, hold_s=500)
    core.acquire(group="other", mode=Mode.WAIT)
    core.state.clusters = counted = Counted(core.state.clusters)
    decide(core.state, core.ask(group="third", mode=Mode.WAIT), core.now)
    assert len(core.state.index[core.pool().digest].held) == 50
    assert counted.asked < 10


def test_the_next_task_of_the_group_gets_it_at_once() -> None:
    core = Core()
    rests(core)
    granted = core.acquire(group="run")
    assert isinstance(granted, Granted)
    assert granted.lease.outcome is Outcome.HIT
    assert [reset.full for reset in core.all(Reset)] == [False]


def test_each_task_of_the_group_leaves_it_clean_for_the_next_one() -> None:
    core = Core()
    rests(core)
    for _ in range(3):
        lease = core.lease(group="run")
        assert lease.outcome is Outcome.HIT
        core.release(lease, full=False)
        assert core.clusters()[0].state is ClusterState.IDLE
    assert [reset.full for reset in core.all(Reset)] == [False] * 4


def test_nobody_of_the_group_comes_and_it_is_reset_in_full_and_anybodys() -> None:
    core = Core(group_rest_s=30)
    lease = rests(core)
    core.go(29)
    assert core.clusters()[0].state is ClusterState.IDLE
    core.go(1)
    assert core.clusters()[0].state is ClusterState.RESETTING
    core.reset_in_full(lease.cluster)
    assert not core.clusters()[0].group_only
    assert core.acquire(group="other").cluster.id == lease.cluster


def test_another_group_has_it_reset_in_full_without_waiting_for_the_rest_and_nothing_is_started() -> None:
    core = Core()
    lease = rests(core)
    waiter = core.acquire(group="other")
    assert isinstance(waiter, Queued)
    assert waiter.reason is Reason.ALL_RESETTING
    assert len(core.all(Start)) == 1
    core.reset_in_full(lease.cluster)
    assert core.answer(waiter.waiter.id).cluster.id == lease.cluster


def test_two_of_another_group_have_one_reset_and_one_started() -> None:
    core = Core()
    rests(core)
    core.acquire(group="other")
    core.acquire(group="third")
    assert [reset.full for reset in core.all(Reset)] == [False, True]
    assert len(core.all(Start)) == 2


def test_it_is_reset_in_full_at_once_when_others_wait_already() -> None:
    core = Core(ceiling=Ceiling(clusters=1))
    busy = core.lease(group="run")
    core.acquire(group="other")
    core.release(busy, full=False)
    assert [reset.full for reset in core.all(Reset)] == [True]


@pytest.mark.parametrize(
    ("settings", "group"), [({}, ""), ({"group_rest_s": 0}, "run"), ({"max_leases_per_cluster": 2}, "run")]
)
def test_without_a_group_a_rest_or_with_sharing_it_is_reset_in_full(settings: dict[str, Any], group: str) -> None:
    core = Core(**settings)
    core.release(core.lease(group=group), full=False)
    assert [reset.full for reset in core.all(Reset)] == [True]


def test_who_waits_for_the_clusters_own_key_counts_and_not_for_the_smaller_one_that_it_served() -> None:
    core = Core(serve_larger=True, ceiling=Ceiling(clusters=1))
    core.idle(LARGE)
    lease = core.lease(KEY, group="run")
    assert core.state.clusters[lease.cluster].pool == LARGE.digest
    core.acquire(LARGE, group="other")
    core.release(lease, full=False)
    assert [reset.full for reset in core.all(Reset)] == [True, True]


def test_a_waiter_of_the_group_gets_it_before_others_make_it_wait_for_a_full_reset() -> None:
    core = Core(ceiling=Ceiling(clusters=1))
    busy = core.lease(group="run")
    core.acquire(group="other")
    own = core.acquire(group="run")
    core.release(busy, full=False)
    assert core.answer(own.waiter.id).cluster.id == busy.cluster


def test_a_hold_that_was_asked_for_stands_and_is_followed_by_a_full_reset() -> None:
    core = Core(ceiling=Ceiling(clusters=1))
    lease = rests(core, hold_s=60)
    waiter = core.acquire(group="other")
    assert waiter.waiter.miss is Reason.ALL_HELD
    core.go(59)
    assert core.clusters()[0].state is ClusterState.IDLE
    core.go(1)
    core.reset_in_full(lease.cluster)
    assert isinstance(core.answer(waiter.waiter.id), Granted)


def test_warm_only_of_another_group_misses_it() -> None:
    core = Core()
    rests(core)
    miss = core.acquire(group="other", mode=Mode.WARM_ONLY)
    assert isinstance(miss, Rejected)
    assert Reason.ALL_RESETTING.sentence in miss.detail


def test_a_grant_that_was_never_delivered_leaves_it_for_its_group_alone() -> None:
    core = Core()
    rests(core)
    granted = core.acquire(group="run")
    core.tell(Undelivered(granted.lease.id, granted.lease.epoch))
    assert core.clusters()[0].group_only
    assert isinstance(core.acquire(group="other"), Queued)


def test_it_counts_as_warm_for_floors_and_prewarming() -> None:
    core = Core(sizing=FloorAndBuffer(min_idle=1))
    core.release(core.lease(group="run"), full=False)
    core.go(1)
    started = len(core.all(Start))
    core.tell(Prewarm(KEY, 1))
    assert len(core.all(Start)) == started


def test_a_late_end_of_the_groups_reset_does_not_pass_for_the_full_one() -> None:
    core = Core()
    lease = rests(core)
    first = core.all(Reset)[0]
    core.acquire(group="other")
    core.tell(ResetDone(lease.cluster, first.epoch, True, full=False))
    assert core.clusters()[0].state is ClusterState.RESETTING

"""A workflow that has ended has nothing held for it any more."""

from __future__ import annotations

from pool.core.decisions import Reset
from pool.core.events import GroupEnded, Release
from pool.core.groups import held_groups
from pool.core.model import ClusterState
from tests.kit import KEY, Core

RUN, TENANT = "run", KEY.tenant


def test_a_hold_ends_with_its_workflow_and_the_cluster_is_reset_for_anybody() -> None:
    core = Core(hold_max_s=1000)
    lease = core.lease(group=RUN)
    core.release(lease, full=False, hold_s=500)
    assert held_groups(core.state, core.now) == [(TENANT, RUN)]
    core.tell(GroupEnded(TENANT, RUN))
    assert core.clusters()[0].state is ClusterState.RESETTING
    assert [reset.full for reset in core.all(Reset)] == [False, True]
    core.reset_in_full(lease.cluster)
    assert held_groups(core.state, core.now) == []
    assert core.acquire(group="other").cluster.id == lease.cluster


def test_a_hold_of_a_cluster_that_is_clean_for_all_ends_too() -> None:
    core = Core(hold_max_s=1000)
    lease = core.lease(group=RUN)
    core.release(lease, full=True, hold_s=500)
    core.tell(GroupEnded(TENANT, RUN))
    assert core.acquire(group="other").cluster.id == lease.cluster


def test_what_is_being_reset_for_the_group_is_not_held_afterwards() -> None:
    core = Core(hold_max_s=1000)
    lease = core.lease(group=RUN)
    core.tell(Release(lease.id, lease.epoch, hold_s=500))
    core.tell(GroupEnded(TENANT, RUN))
    assert core.clusters()[0].hold_until == 0.0


def test_another_group_another_tenant_and_who_is_at_work_keep_what_they_have() -> None:
    core = Core(hold_max_s=1000)
    held, working = core.lease(group=RUN), core.lease(group=RUN)
    core.release(held, full=False, hold_s=500)
    core.tell(GroupEnded(TENANT, "other"))
    core.tell(GroupEnded("other", RUN))
    assert core.state.clusters[held.cluster].hold_until
    core.tell(GroupEnded(TENANT, RUN))
    assert core.state.clusters[held.cluster].state is ClusterState.RESETTING
    assert core.state.clusters[working.cluster].state is ClusterState.LEASED

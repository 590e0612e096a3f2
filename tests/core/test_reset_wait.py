"""Nobody is made to wait for a reset: another idle cluster, or an earlier start, comes first."""

from __future__ import annotations

from pool.core.decisions import Granted, Queued, Start
from pool.core.events import Release, ResetDone
from pool.core.model import Cluster, ClusterState, Mode
from pool.core.settings import Ceiling
from tests.kit import Core


def resets(core: Core, **fields: str) -> Cluster:
    """Have a cluster that is being reset."""
    lease = core.lease(**fields)
    core.tell(Release(lease.id, lease.epoch))
    return core.state.clusters[lease.cluster]


def clean(core: Core, cluster: Cluster) -> None:
    core.tell(ResetDone(cluster.id, cluster.epoch, True))


def test_an_idle_cluster_is_granted_at_once_beside_one_that_is_reset() -> None:
    core = Core()
    first, second = core.lease(), core.lease()
    core.release(first)
    core.tell(Release(second.id, second.epoch))
    granted = core.acquire()
    assert isinstance(granted, Granted)
    assert granted.cluster.id == first.cluster


def test_also_to_the_group_whose_cluster_is_reset() -> None:
    core = Core()
    other, own = core.lease(group="other"), core.lease(group="run")
    core.release(other)
    core.tell(Release(own.id, own.epoch))
    # Its data is there: that is worth a bounded wait, and no more.
    waiter = core.acquire(group="run")
    assert isinstance(waiter, Queued)
    core.go(3)
    answer = core.answer(waiter.waiter.id)
    assert isinstance(answer, Granted)
    assert answer.cluster.id == other.cluster


def test_a_start_that_is_ready_earlier_serves_who_waits_for_a_reset() -> None:
    core = Core()
    lease = core.lease()
    queued = [core.acquire() for _ in range(2)]
    core.tell(Release(lease.id, lease.epoch))
    core.start(core.clusters(ClusterState.STARTING)[0])
    assert isinstance(core.answer(queued[0].waiter.id), Granted)


def test_a_short_reset_starts_nothing() -> None:
    core = Core(reset_wait_s=10)
    cluster = resets(core)
    waiter = core.acquire()
    core.go(9.9)
    clean(core, cluster)
    assert len(core.all(Start)) == 1
    assert core.answer(waiter.waiter.id).cluster.id == cluster.id


def test_who_waits_for_a_slow_reset_has_a_cluster_started_and_takes_what_is_ready_first() -> None:
    for reset_first in (True, False):
        core = Core(reset_wait_s=10)
        cluster = resets(core)
        waiter = core.acquire()
        core.go(10)
        (started,) = core.clusters(ClusterState.STARTING)
        if reset_first:
            clean(core, cluster)
        else:
            core.start(started)
        answer = core.answer(waiter.waiter.id)
        assert isinstance(answer, Granted)
        assert answer.cluster.id == (cluster if reset_first else started).id


def test_who_comes_while_a_reset_is_slow_has_one_started_at_once() -> None:
    core = Core(reset_wait_s=10)
    resets(core)
    core.go(15)
    core.acquire()
    assert len(core.clusters(ClusterState.STARTING)) == 1


def test_a_slow_reset_of_which_nobody_waits_starts_nothing() -> None:
    core = Core(reset_wait_s=10)
    cluster = resets(core)
    core.go(15)
    assert len(core.all(Start)) == 1
    clean(core, cluster)
    assert not core.clusters()[0].slow


def test_no_start_goes_over_a_ceiling_for_it_or_for_who_wants_none() -> None:
    for fields, mode in (({"ceiling": Ceiling(clusters=1)}, Mode.WAIT_OR_CREATE), ({}, Mode.WAIT)):
        core = Core(reset_wait_s=10, **fields)
        cluster = resets(core)
        waiter = core.acquire(mode=mode)
        core.go(15)
        assert len(core.all(Start)) == 1
        clean(core, cluster)
        assert isinstance(core.answer(waiter.waiter.id), Granted)


def test_a_cluster_that_could_not_be_cleaned_has_another_started_at_once() -> None:
    core = Core(quarantine_s=300)
    cluster = resets(core)
    core.acquire()
    core.tell(ResetDone(cluster.id, cluster.epoch, False, "an actor"))
    assert len(core.clusters(ClusterState.STARTING)) == 1

"""A backend without room pushes back: as much is not tried again for a while, instead of starting again and again."""

from __future__ import annotations

from pool.core.decisions import Queued, Start, Stop
from pool.core.events import StartFailed, Stopped
from pool.core.explain import queued
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from tests.kit import KEY, Core, make_key

OTHER, LARGE = make_key(1, image="other:1"), make_key(4)


def refuse(core: Core) -> None:
    """The backend has no room for the cluster that starts."""
    (cluster,) = core.clusters(ClusterState.STARTING)
    core.tell(StartFailed(cluster.id, Reason.NO_CAPACITY, "exceeded quota"))
    core.tell(Stopped(cluster.id))


def test_as_much_is_not_tried_again_before_the_time_is_over() -> None:
    core = Core(breaker_open_s=60, backoff_s=1)
    core.lease(ttl_s=1000.0)
    waiter = core.acquire()
    assert isinstance(waiter, Queued)
    refuse(core)
    core.go(59)
    assert len(core.all(Start)) == 2
    told = queued(core.state, waiter.waiter, core.now)
    assert told.reason is Reason.NO_CAPACITY
    assert "no room for 2 cpus" in told.detail
    assert "tried again in 1 s" in told.detail
    core.go(1)
    assert len(core.all(Start)) == 3


def test_what_was_stopped_meanwhile_makes_room() -> None:
    core = Core(breaker_open_s=60, backoff_s=1)
    lease = core.lease(OTHER, ttl_s=1000.0)
    core.acquire()
    refuse(core)
    core.go(5)
    assert len(core.all(Start)) == 2
    core.release(lease, clean=False)
    core.tell(Stopped(lease.cluster))
    assert len(core.all(Start)) == 3


def test_an_idle_cluster_of_another_key_gives_its_room() -> None:
    core = Core(breaker_open_s=60, backoff_s=1)
    idle = core.idle(OTHER)
    core.acquire()
    refuse(core)
    core.go(2)
    stop = core.all(Stop)[-1]
    assert (stop.cluster_id, stop.reason) == (idle.id, Reason.EVICTED)
    core.tell(Stopped(idle.id))
    assert core.all(Start)[-1].cluster.pool == KEY.digest


def test_a_smaller_cluster_may_still_fit() -> None:
    core = Core(breaker_open_s=60)
    core.acquire(LARGE)
    refuse(core)
    core.acquire(KEY)
    assert [cluster.pool for cluster in core.clusters(ClusterState.STARTING)] == [KEY.digest]

"""What an operator asks: cordon, drain, prewarm, resize, revoke, shutdown."""

from __future__ import annotations

from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.core.decisions import Done, Granted, Queued, Rejected, Start, Stop
from pool.core.events import Cordon, Prewarm, Reconfigure, Release, Renew, Resize, Revoke, Shutdown, Stopped
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from tests.kit import KEY, Core, make_key, make_rules, make_settings

LARGE = make_key(cpu=4)


def test_a_cordoned_cluster_is_not_granted_until_it_is_uncordoned() -> None:
    core = Core(ceiling=Ceiling(clusters=1))
    cluster = core.idle()
    core.tell(Cordon(cluster.id))
    waiter = core.acquire()
    assert isinstance(waiter, Queued)
    assert waiter.waiter.miss is Reason.ALL_CORDONED
    core.tell(Cordon(cluster.id, on=False))
    assert isinstance(core.answer(waiter.waiter.id), Granted)


def test_a_cordoned_pool_refuses_and_keeps_its_leases() -> None:
    core = Core()
    lease = core.lease()
    core.tell(Cordon(KEY.digest))
    refused = core.acquire()
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.POOL_CORDONED
    assert lease.id in core.state.leases


def test_a_cordoned_pool_starts_nothing_for_those_who_wait() -> None:
    core = Core()
    core.acquire()
    core.tell(Cordon(KEY.digest))
    core.start(core.clusters()[0])
    core.go(5)
    core.tell(Resize(KEY.digest, min_idle=2))
    assert len(core.clusters()) == 1


def test_an_uncordoned_pool_serves_those_who_waited() -> None:
    core = Core()
    waiter = core.acquire()
    core.tell(Cordon(KEY.digest))
    core.start(core.clusters()[0])
    assert core.answer(waiter.waiter.id) is None
    core.tell(Cordon(KEY.digest, on=False))
    assert isinstance(core.answer(waiter.waiter.id), Granted)


def test_a_cordoned_pool_does_not_serve_smaller_shapes_either() -> None:
    core = Core(serve_larger=True)
    core.idle(LARGE)
    core.tell(Cordon(LARGE.digest))
    assert not isinstance(core.acquire(), Granted)


def test_a_drained_cluster_stops_when_its_lease_ends_and_its_holder_is_told() -> None:
    core = Core()
    lease = core.lease()
    core.tell(Cordon(lease.cluster, drain=True))
    assert not core.all(Stop)
    assert core.tell(Renew(lease.id, lease.epoch)).hints == ("drain",)
    core.tell(Release(lease.id, lease.epoch))
    assert core.all(Stop)[0].reason is Reason.DRAINED


def test_draining_a_pool_stops_its_idle_clusters_at_once() -> None:
    core = Core()
    core.idle()
    reply = core.tell(Cordon(KEY.digest, drain=True))
    assert isinstance(reply, Done)
    assert core.clusters()[0].state is ClusterState.STOPPING


def test_an_uncordoned_cluster_that_was_drained_lives_on() -> None:
    core = Core()
    lease = core.lease()
    core.tell(Cordon(lease.cluster, drain=True))
    core.tell(Cordon(lease.cluster, on=False))
    core.release(lease)
    assert core.clusters()[0].state is ClusterState.IDLE


def test_a_stopping_cluster_cannot_be_cordoned_and_an_unknown_one_is_not_there() -> None:
    core = Core()
    cluster = core.idle()
    core.tell(Cordon(cluster.id, drain=True))
    assert core.tell(Cordon(cluster.id)).reason is Reason.CONFLICT
    assert core.tell(Cordon("c-none")).reason is Reason.UNKNOWN_CLUSTER


def test_prewarm_starts_as_many_as_are_missing() -> None:
    core = Core()
    core.idle()
    reply = core.tell(Prewarm(KEY, 3))
    assert len(reply.ids) == 2
    assert {start.cluster.cause for start in core.all(Start)[1:]} == {Reason.PREWARM}
    assert core.tell(Prewarm(KEY, 3)).ids == ()


def test_prewarm_stops_at_a_ceiling_and_says_so() -> None:
    core = Core(ceiling=Ceiling(clusters=2))
    reply = core.tell(Prewarm(KEY, 3))
    assert len(reply.ids) == 2
    assert "ceiling" in reply.text
    assert core.tell(Prewarm(KEY, 3)).reason is Reason.POOL_CEILING


def test_a_raised_ceiling_serves_those_who_waited_for_it() -> None:
    core = Core(ceiling=Ceiling(clusters=1))
    core.lease()
    core.acquire()
    core.tell(Resize(KEY.digest, max_clusters=2))
    assert len(core.clusters(ClusterState.STARTING)) == 1


def test_a_resized_floor_is_filled_and_then_kept() -> None:
    core = Core(reclaim=FixedTTL(ttl_s=10, jitter=0))
    core.idle()
    core.tell(Resize(KEY.digest, min_idle=2))
    for cluster in core.clusters(ClusterState.STARTING):
        core.start(cluster)
    core.go(300)
    assert len(core.clusters(ClusterState.IDLE)) == 2


def test_a_floor_over_the_ceiling_and_an_unknown_pool_are_refused() -> None:
    core = Core()
    core.idle()
    assert core.tell(Resize(KEY.digest, min_idle=3, max_clusters=2)).reason is Reason.INVALID_REQUEST
    assert core.tell(Resize("none")).reason is Reason.UNKNOWN_POOL


def test_a_revoked_lease_ends_and_its_cluster_is_recycled() -> None:
    core = Core()
    lease = core.lease()
    core.tell(Revoke(lease.id, "the budget is spent"))
    assert core.tell(Renew(lease.id, lease.epoch)).reason is Reason.LEASE_ENDED
    assert core.all(Stop)[0].reason is Reason.HOLDER_NOT_GONE
    assert core.state.ended[lease.id].end_detail == "the budget is spent"


def test_shutdown_stops_everything_and_tells_everybody() -> None:
    core = Core(ceiling=Ceiling(clusters=1))
    lease = core.lease()
    waiter = core.acquire()
    core.tell(Shutdown())
    assert core.state.ended[lease.id].end_reason is Reason.REVOKED
    assert core.answer(waiter.waiter.id).reason is Reason.SHUTDOWN
    assert [c.state for c in core.clusters()] == [ClusterState.STOPPING]


def test_nothing_starts_again_after_a_shutdown() -> None:
    core = Core(sizing=FloorAndBuffer(min_idle=1))
    lease = core.lease()
    for cluster in core.clusters(ClusterState.STARTING):
        core.start(cluster)
    core.tell(Shutdown())
    for cluster in core.clusters():
        core.tell(Stopped(cluster.id))
    core.go(100)
    assert core.clusters() == []
    assert core.acquire().reason is Reason.SHUTDOWN
    assert core.tell(Prewarm(KEY, 1)).reason is Reason.SHUTDOWN
    assert lease.id in core.state.ended


def test_a_pool_keeps_its_resize_when_the_configuration_changes() -> None:
    core = Core()
    core.idle()
    core.tell(Resize(KEY.digest, max_clusters=1))
    core.tell(Reconfigure(make_rules({KEY.image: make_settings("renamed")})))
    assert core.pool().name == "renamed"
    assert core.pool().max_clusters == 1


def test_a_cordoned_cluster_that_idles_too_long_is_reclaimed() -> None:
    core = Core(reclaim=FixedTTL(ttl_s=10, jitter=0))
    cluster = core.idle()
    core.tell(Cordon(cluster.id))
    core.go(11)
    assert core.clusters()[0].reason is Reason.IDLE_TTL

"""Warm heads: an idle cluster lets its workers go, and gets them back when somebody asks."""

from __future__ import annotations

import pytest

from policies.reclaim import FixedTTL
from pool.core.decisions import Grow, Queued, Rejected, Shrink, Start
from pool.core.events import (
    Cordon,
    Listing,
    Lost,
    Prewarm,
    Progress,
    ResetDone,
    Resize,
    Seen,
    ShrinkFailed,
    Shrunk,
    Started,
    StartFailed,
)
from pool.core.key import Footprint, footprint_of
from pool.core.model import Cluster, ClusterState, Lease, Mode, Outcome
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from tests.kit import Core, make_key

KEY = make_key(workers=[{"name": "w", "cpu": 1, "replicas": 2}])
OTHER = make_key(cpu=3, image="other:1")
HEAD = footprint_of(KEY.shape, {})


def make_core(**fields: object) -> Core:
    settings = {"reclaim": FixedTTL(ttl_s=600, jitter=0, workers_ttl_s=60), **fields}
    return Core(**settings)


def warm_head(core: Core, **fields: object) -> Cluster:
    """Have a cluster that was used once and has let its workers go."""
    cluster = core.idle(KEY, **fields)
    core.go(60)
    core.tell(Shrunk(cluster.id))
    cluster = core.state.clusters[cluster.id]
    assert cluster.state is ClusterState.WARM_HEAD
    return cluster


def grow(core: Core, cluster: Cluster) -> None:
    core.tell(Started(cluster.id, cluster.boot_id, cluster.address))


def granted(core: Core, queued: Queued) -> Lease:
    answer = core.answer(queued.waiter.id)
    assert answer is not None
    assert not isinstance(answer, Rejected), answer
    return answer.lease


# --- letting go


def test_an_idle_cluster_lets_its_workers_go_after_their_time_and_counts_for_its_head_once_they_are_gone() -> None:
    core = make_core()
    cluster = core.idle(KEY)
    core.go(59)
    assert core.state.clusters[cluster.id].state is ClusterState.IDLE
    core.go(1)
    cluster = core.state.clusters[cluster.id]
    assert (cluster.state, cluster.reason) == (ClusterState.SHRINKING, Reason.WORKERS_IDLE_TTL)
    assert cluster.detail == "idle for 60 s, over the 60 s that its workers are kept"
    assert [effect.cluster.id for effect in core.all(Shrink)] == [cluster.id]
    assert core.state.usage == KEY.footprint
    core.tell(Shrunk(cluster.id))
    assert core.state.clusters[cluster.id].state is ClusterState.WARM_HEAD
    assert core.state.usage == HEAD == Footprint(1, 1000)


def test_its_time_is_counted_from_when_it_came_idle_and_it_is_stopped_when_that_is_over() -> None:
    core = make_core()
    cluster = warm_head(core)
    core.go(539)
    assert core.state.clusters[cluster.id].state is ClusterState.WARM_HEAD
    core.go(1)
    stopping = core.state.clusters[cluster.id]
    assert (stopping.state, stopping.reason) == (ClusterState.STOPPING, Reason.IDLE_TTL)
    assert stopping.detail == "idle for 600 s, over its 600 s"


def test_workers_that_hold_objects_stay_and_count_and_so_does_the_cluster_if_all_of_them_do() -> None:
    core = make_core()
    cluster = core.idle(KEY)
    core.go(60)
    core.tell(Shrunk(cluster.id, (("w", 1),), "one holds 40 MB"))
    partly = core.state.clusters[cluster.id]
    assert (partly.state, partly.footprint) == (ClusterState.WARM_HEAD, Footprint(1, 2000))
    assert partly.detail.endswith("; one holds 40 MB")

    core = make_core()
    cluster = core.idle(KEY)
    core.go(60)
    core.tell(Shrunk(cluster.id, (("w", 2),), "both hold 40 MB"))
    kept = core.state.clusters[cluster.id]
    assert (kept.state, kept.reason) == (ClusterState.IDLE, Reason.WORKERS_HOLD_OBJECTS)
    assert kept.detail == "both hold 40 MB"
    core.go(299)
    assert len(core.all(Shrink)) == 1
    core.go(1)
    assert len(core.all(Shrink)) == 2
    core.tell(Shrunk(cluster.id, (("w", 2),), "both hold 40 MB"))
    reply = core.acquire(KEY)
    assert not isinstance(reply, Queued | Rejected)
    assert (reply.lease.outcome, reply.cluster.reason, reply.cluster.detail) == (Outcome.HIT, None, "")


def test_a_hold_keeps_the_workers_of_its_group() -> None:
    core = make_core(hold_max_s=500.0)
    lease = core.lease(KEY, group="g")
    core.release(lease, hold_s=200.0)
    core.go(199)
    assert core.state.clusters[lease.cluster].state is ClusterState.IDLE
    core.go(1)
    assert core.state.clusters[lease.cluster].state is ClusterState.SHRINKING


def test_a_floor_keeps_its_clusters_whole_and_grows_a_warm_head_before_it_starts_another() -> None:
    core = make_core()
    cluster = core.idle(KEY)
    core.tell(Resize(cluster.pool, min_idle=1))
    core.go(120)
    assert core.state.clusters[cluster.id].state is ClusterState.IDLE
    core.tell(Resize(cluster.pool, min_idle=0))
    core.go(60)
    core.tell(Shrunk(cluster.id))
    starts = len(core.all(Start))
    core.tell(Resize(cluster.pool, min_idle=1))
    assert [effect.cluster.id for effect in core.all(Grow)] == [cluster.id]
    assert len(core.all(Start)) == starts
    grow(core, cluster)
    assert core.state.clusters[cluster.id].state is ClusterState.IDLE


@pytest.mark.parametrize("key", [make_key(), make_key(autoscaling=True, workers=[{"replicas": 1, "max_replicas": 3}])])
def test_a_cluster_without_workers_or_with_an_autoscaler_of_its_own_is_left_alone(key) -> None:
    core = make_core()
    core.idle(key)
    core.go(599)
    assert core.all(Shrink) == []
    assert key.warm_head_price == 1.0


def test_the_price_of_a_warm_head_is_what_it_takes_most_of() -> None:
    assert KEY.warm_head_price == pytest.approx(1 / 3)
    key = make_key(cpu=1, workers=[{"cpu": 9, "gpu": 1, "memory": "1Gi"}])
    assert key.warm_head_price == pytest.approx(1 / 10)


def test_a_cordoned_cluster_keeps_its_workers_for_a_look_and_a_cordoned_warm_head_is_not_grown() -> None:
    core = make_core()
    cluster = core.idle(KEY)
    core.tell(Cordon(cluster.id))
    core.go(120)
    assert core.all(Shrink) == []
    core = make_core()
    cluster = warm_head(core)
    core.tell(Cordon(cluster.id))
    reply = core.acquire(KEY)
    assert isinstance(reply, Queued)
    assert (reply.waiter.miss, core.all(Grow)) == (Reason.ALL_CORDONED, [])


# --- growing


def test_who_asks_gets_a_warm_head_with_its_workers_back_and_is_told_how_far_that_is() -> None:
    core = make_core()
    cluster = warm_head(core)
    reply = core.acquire(KEY)
    assert isinstance(reply, Queued)
    assert (reply.waiter.miss, reply.reason, reply.phase) == (Reason.WORKERS_LET_GO, Reason.GROWING, "growing")
    assert reply.expected_at is None
    assert core.state.usage == KEY.footprint
    core.tell(Progress(cluster.id, "workers 1 of 2"))
    assert core.state.clusters[cluster.id].phase == "workers 1 of 2"
    core.go(7)
    grow(core, cluster)
    lease = granted(core, reply)
    assert (lease.outcome, lease.miss, lease.cluster) == (Outcome.WARM_HEAD, Reason.WORKERS_LET_GO, cluster.id)
    assert (core.state.clusters[cluster.id].grow_s, core.state.clusters[cluster.id].resizes) == (7, 2)
    core.release(lease)
    core.go(60)
    core.tell(Shrunk(cluster.id))
    again = core.acquire(KEY)
    assert isinstance(again, Queued)
    assert again.expected_at == core.now + 7


def test_an_idle_cluster_is_preferred_to_a_warm_head_and_a_warm_head_to_a_start() -> None:
    core = make_core()
    leases = [core.lease(KEY, ttl_s=900.0) for _ in range(2)]
    core.release(leases[0])
    core.go(60)
    core.tell(Shrunk(leases[0].cluster))
    core.release(leases[1])
    hit = core.acquire(KEY)
    assert not isinstance(hit, Queued | Rejected)
    assert (hit.lease.outcome, hit.cluster.id) == (Outcome.HIT, leases[1].cluster)
    core.acquire(KEY)
    assert [effect.cluster.id for effect in core.all(Grow)] == [leases[0].cluster]
    assert len(core.all(Start)) == 2


def test_the_warm_head_of_the_askers_own_group_is_grown_first() -> None:
    core = make_core()
    leases = [core.lease(KEY, group=group, ttl_s=900.0) for group in ("g1", "g2")]
    for lease in leases:
        core.release(lease)
    core.go(120)
    for lease in leases:
        core.tell(Shrunk(lease.cluster))
    core.acquire(KEY, group="g1")
    assert [effect.cluster.id for effect in core.all(Grow)] == [leases[0].cluster]


def test_who_wants_nothing_started_gets_a_warm_head_and_who_wants_it_at_once_does_not() -> None:
    core = make_core()
    cluster = warm_head(core)
    refused = core.acquire(KEY, mode=Mode.WARM_ONLY)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.WARM_ONLY_MISS
    reply = core.acquire(KEY, mode=Mode.WAIT)
    assert isinstance(reply, Queued)
    grow(core, cluster)
    assert granted(core, reply).outcome is Outcome.WARM_HEAD


def test_who_asks_while_workers_are_let_go_waits_for_that_and_then_for_the_growth() -> None:
    core = make_core()
    cluster = core.idle(KEY)
    core.go(60)
    reply = core.acquire(KEY)
    assert isinstance(reply, Queued)
    assert (reply.reason, len(core.all(Start))) == (Reason.WORKERS_LET_GO, 1)
    core.tell(Shrunk(cluster.id))
    assert [effect.cluster.id for effect in core.all(Grow)] == [cluster.id]
    grow(core, cluster)
    assert granted(core, reply).outcome is Outcome.WARM_HEAD


def test_an_operators_prewarm_grows_a_warm_head() -> None:
    core = make_core()
    cluster = warm_head(core)
    done = core.tell(Prewarm(KEY, 1))
    assert done.ids == (cluster.id,)
    assert [effect.cluster.id for effect in core.all(Grow)] == [cluster.id]


def test_a_growth_takes_a_slot_of_the_starts() -> None:
    core = make_core(max_starting=1)
    warm_head(core)
    core.acquire(OTHER)
    reply = core.acquire(KEY)
    assert isinstance(reply, Queued)
    assert (reply.reason, core.all(Grow)) == (Reason.MAX_STARTING, [])
    core.start(core.clusters(ClusterState.STARTING)[0])
    assert len(core.all(Grow)) == 1


# --- room


def test_what_workers_that_are_gone_took_is_room_for_others_and_growing_waits_for_it() -> None:
    core = make_core(daemon=Ceiling(milli_cpu=4000))
    cluster = warm_head(core)
    other = core.lease(OTHER, ttl_s=900.0)
    assert core.state.usage.milli_cpu == 4000
    reply = core.acquire(KEY)
    assert isinstance(reply, Queued)
    assert (reply.reason, core.all(Grow)) == (Reason.DAEMON_CEILING, [])
    core.release(other)
    assert core.state.clusters[other.cluster].reason is Reason.EVICTED
    core.tell(Lost(other.cluster, "", Reason.PROCESS_GONE, "gone"))
    core.tell(Listing(core.now + 1, True, (Seen(cluster.id, cluster.boot_id),)))
    assert [effect.cluster.id for effect in core.all(Grow)] == [cluster.id]


def test_a_warm_head_that_stands_in_the_way_of_another_one_of_its_pool_goes() -> None:
    core = make_core(daemon=Ceiling(milli_cpu=6000))
    leases = [core.lease(KEY) for _ in range(2)]
    for lease in leases:
        core.release(lease)
    core.go(60)
    for lease in leases:
        core.tell(Shrunk(lease.cluster))
    narrow = make_core(daemon=Ceiling(milli_cpu=3000)).state.rules
    core.state.set_rules(narrow)
    core.acquire(KEY)
    stopping = core.clusters(ClusterState.STOPPING)
    assert [(c.id, c.reason) for c in stopping] == [(leases[0].cluster, Reason.EVICTED)]


def test_warm_heads_are_evicted_first_and_none_is_that_need_not_be() -> None:
    core = make_core(daemon=Ceiling(milli_cpu=7000))
    head = warm_head(core)
    idle = core.idle(OTHER)
    small = make_key(cpu=4, image="small:1")
    core.acquire(small)
    assert core.state.clusters[head.id].state is ClusterState.STOPPING
    assert core.state.clusters[idle.id].state is ClusterState.IDLE
    core = make_core(daemon=Ceiling(milli_cpu=7000))
    head = warm_head(core)
    idle = core.idle(OTHER)
    core.acquire(make_key(cpu=6, image="large:1"))
    assert core.state.clusters[head.id].state is ClusterState.WARM_HEAD
    assert core.state.clusters[idle.id].state is ClusterState.STOPPING


# --- what goes wrong


def test_a_growth_that_fails_costs_the_cluster_and_its_waiter_gets_a_start() -> None:
    core = make_core(backoff_s=2.0)
    cluster = warm_head(core)
    reply = core.acquire(KEY)
    assert isinstance(reply, Queued)
    core.tell(StartFailed(cluster.id, Reason.START_FAILED, "no such image"))
    assert core.state.clusters[cluster.id].state is ClusterState.STOPPING
    assert core.pool(KEY).failures == 1
    core.go(2)
    (started,) = core.clusters(ClusterState.STARTING)
    core.start(started)
    assert granted(core, reply).outcome is Outcome.COLD


def test_a_growth_that_finds_no_room_costs_its_workers_alone() -> None:
    core = make_core()
    cluster = warm_head(core)
    core.acquire(KEY)
    core.tell(StartFailed(cluster.id, Reason.NO_CAPACITY, "no node"))
    assert core.state.clusters[cluster.id].state is ClusterState.SHRINKING
    assert len(core.all(Shrink)) == 2
    core.tell(Shrunk(cluster.id))
    assert core.state.clusters[cluster.id].state is ClusterState.WARM_HEAD
    assert core.state.usage == HEAD


def test_a_growth_that_takes_too_long_has_failed() -> None:
    core = make_core()
    cluster = warm_head(core)
    core.acquire(KEY)
    core.go(120)
    stopping = core.state.clusters[cluster.id]
    assert (stopping.state, stopping.reason) == (ClusterState.STOPPING, Reason.START_TIMEOUT)


def test_a_head_that_was_replaced_while_it_grew_is_lost() -> None:
    core = make_core()
    cluster = warm_head(core)
    core.acquire(KEY)
    core.tell(Started(cluster.id, "boot-other", "x:1"))
    assert core.state.clusters[cluster.id].reason is Reason.HEAD_REPLACED


def test_workers_that_do_not_go_are_asked_again_and_cost_the_cluster_in_the_end() -> None:
    core = make_core()
    cluster = core.idle(KEY)
    core.go(60)
    core.tell(ShrinkFailed(cluster.id, "no answer"))
    assert core.state.usage == KEY.footprint
    decision = core.decide(Listing(core.now, True, (Seen(cluster.id, cluster.boot_id),)))
    assert decision.drift == {"shrink_again": 1}
    assert [effect.cluster.resizes for effect in core.all(Shrink)] == [1, 1]
    core.go(120)
    assert core.state.clusters[cluster.id].reason is Reason.SHRINK_FAILED


def test_a_growth_that_nobody_remembers_is_taken_up_again() -> None:
    core = make_core()
    cluster = warm_head(core)
    core.acquire(KEY)
    decision = core.decide(Listing(core.now, True, (Seen(cluster.id, cluster.boot_id),)))
    assert decision.drift == {"grow_again": 1}
    assert [effect.cluster.resizes for effect in core.all(Grow)] == [2, 2]


def test_a_warm_head_that_is_lost_is_removed() -> None:
    core = make_core()
    cluster = warm_head(core)
    core.tell(Lost(cluster.id, cluster.boot_id, Reason.PROCESS_GONE, "the head died"))
    assert core.state.clusters[cluster.id].state is ClusterState.STOPPING


def test_a_cluster_that_is_clean_for_its_group_alone_is_reset_in_full_before_its_workers_go() -> None:
    core = make_core(group_rest_s=100.0)
    lease = core.lease(KEY, group="g")
    core.release(lease, full=False)
    assert core.state.clusters[lease.cluster].group_only
    core.go(100)
    assert core.state.clusters[lease.cluster].state is ClusterState.RESETTING
    core.tell(ResetDone(lease.cluster, core.state.clusters[lease.cluster].epoch, True))
    core.go(60)
    assert core.state.clusters[lease.cluster].state is ClusterState.SHRINKING

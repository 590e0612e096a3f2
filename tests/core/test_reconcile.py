"""What the backend has is compared with what the pool believes; a restart is the same look."""

from __future__ import annotations

import pytest

from pool.core.decisions import Granted, Reset, Start, Stop, StopOrphan
from pool.core.events import Listing, Release, Renew, ResetDone, Seen
from pool.core.model import ClusterState, LeaseState
from pool.core.reasons import Reason
from pool.core.recover import restore
from tests.invariants import check
from tests.kit import T0, Core, make_rules


def look(core: Core, *seen: Seen, complete: bool = True, **fields: object) -> dict[str, int]:
    core.now += 1
    return core.decide(Listing(core.now, complete, seen, **fields)).drift


def test_a_cluster_that_is_gone_is_believed_gone_only_from_a_complete_and_recent_listing() -> None:
    core = Core()
    lease = core.lease()
    assert look(core, complete=False) == {}
    core.decide(Listing(core.clusters()[0].changed_at, True, ()))
    assert lease.id in core.state.leases
    assert look(core) == {"gone": 1}
    assert core.state.ended[lease.id].end_reason is Reason.CLUSTER_LOST


def test_what_is_under_way_is_left_alone() -> None:
    core = Core()
    core.lease()
    core.acquire()
    busy = frozenset(c.id for c in core.clusters())
    assert look(core, busy=busy) == {}


def test_a_head_that_was_silently_replaced_is_no_longer_the_cluster() -> None:
    core = Core()
    lease = core.lease()
    assert look(core, Seen(lease.cluster, "boot-other")) == {"replaced": 1}
    assert core.all(Stop)[0].reason is Reason.HEAD_REPLACED


@pytest.mark.parametrize("seen", [True, False])
def test_a_lost_start_is_begun_again(seen: bool) -> None:
    core = Core()
    core.acquire()
    cluster = core.clusters()[0]
    drift = look(core, *([Seen(cluster.id)] if seen else []))
    assert drift == {"start_again": 1}
    assert [start.cluster.id for start in core.all(Start)] == [cluster.id] * 2


def test_a_lost_reset_and_a_lost_stop_are_begun_again() -> None:
    core = Core(max_uses=2)
    lease = core.lease()
    core.tell(Release(lease.id, lease.epoch))
    boot = core.clusters()[0].boot_id
    assert look(core, Seen(lease.cluster, boot)) == {"reset_again": 1}
    assert len(core.all(Reset)) == 2
    core.go(31)
    assert look(core, Seen(lease.cluster, boot)) == {"stop_again": 1}
    assert look(core) == {}
    assert not core.clusters()


def test_an_orphan_of_our_own_is_stopped() -> None:
    core = Core()
    assert look(core, Seen("c-unknown-1")) == {"orphan": 1}
    assert core.all(StopOrphan) == [StopOrphan("c-unknown-1")]


# --- restart -------------------------------------------------------------------------------------------------------


def restarted(core: Core, down_s: float, previous_opened_at: float = T0) -> Core:
    """Return a core made of what was durable in another one: renewals and phases are forgotten."""
    after = Core(make_rules())
    after.now = core.now + down_s
    before = core.state
    after.state = restore(
        before.rules, after.now, generation=before.generation + 1, previous_opened_at=previous_opened_at,
        pools=before.pools.values(), clusters=before.clusters.values(), leases=before.leases.values(),
        waiters=before.waiters.values(), ended=list(before.ended.values()),
        starts=[(digest, 7.0) for digest in before.pools],
    )  # fmt: skip
    for records in (before.pools, before.clusters, before.leases, before.waiters):
        after.watch.load(records.values())
    check(after.state, after.now)
    return after


def test_a_restart_resets_a_held_cluster_for_its_group_alone_so_that_its_data_stays() -> None:
    core = Core()
    lease = core.lease(group="run", hold_s=300)
    core.release(lease, full=False)
    cluster = core.state.clusters[lease.cluster]
    # As the store keeps it: see `pool.store.mapping`.
    core.state.clusters[cluster.id] = cluster._replace(state=ClusterState.RESETTING, group_only=False)
    after = restarted(core, down_s=10)
    look(after, Seen(cluster.id, cluster.boot_id))
    (reset,) = after.all(Reset)
    assert not reset.full
    after.tell(ResetDone(cluster.id, reset.epoch, True, full=False))
    granted = after.acquire(group="run", lease_id="l-next", request_id="r-next")
    assert isinstance(granted, Granted)
    assert granted.cluster.id == cluster.id


def test_a_restart_gives_every_live_lease_its_full_ttl() -> None:
    core = Core()
    lease = core.lease(ttl_s=30)
    after = restarted(core, down_s=1000)
    assert after.state.leases[lease.id].expires_at == after.now + 30


def test_a_lease_that_was_not_renewed_since_the_restart_before_is_not_extended_again() -> None:
    core = Core()
    lease = core.lease(ttl_s=30)
    once = restarted(core, down_s=10)
    twice = restarted(once, down_s=20, previous_opened_at=once.now)
    assert twice.state.leases[lease.id].expires_at == once.now + 30


def test_a_lease_that_was_renewed_in_between_is_extended_again() -> None:
    core = Core()
    lease = core.lease(ttl_s=30)
    once = restarted(core, down_s=10)
    assert once.decide(Renew(lease.id, lease.epoch)).changes[0].durable
    assert not once.decide(Renew(lease.id, lease.epoch)).changes[0].durable
    twice = restarted(once, down_s=100, previous_opened_at=once.now)
    assert twice.state.leases[lease.id].expires_at == twice.now + 30


def test_a_restart_ends_no_lease_later_than_its_max_lease() -> None:
    core = Core(max_lease_s=40)
    lease = core.lease(ttl_s=30)
    core.go(20)
    assert restarted(core, down_s=5).state.leases[lease.id].expires_at == T0 + 40


def test_waiters_have_time_to_ask_again_and_keep_their_order() -> None:
    core = Core(lease_ttl_s=30)
    for n in range(3):
        core.acquire(holder=f"w{n}", seen_until=core.now + 1)
        core.go(0.1)
    after = restarted(core, down_s=100)
    digest = next(iter(after.state.pools))
    assert [w.holder for w in after.state.queue(digest)] == ["w0", "w1", "w2"]
    assert all(w.seen_until == after.now + 30 for w in after.state.waiters.values())


def test_the_time_without_a_daemon_does_not_count_against_a_start() -> None:
    core = Core(start_timeout_s=100)
    core.acquire(wait_s=1e6)
    after = restarted(core, down_s=500)
    after.go(99)
    assert after.clusters(ClusterState.STARTING)
    after.go(1)
    assert not after.clusters(ClusterState.STARTING)


def test_a_restart_knows_how_long_starts_and_leases_take() -> None:
    core = Core()
    lease = core.lease()
    core.go(20)
    core.tell(Renew(lease.id, lease.epoch))
    core.go(20)
    core.release(core.state.leases[lease.id])
    after = restarted(core, down_s=1)
    (digest,) = after.state.pools
    assert after.state.typical_start_s(digest) == 7.0
    assert after.state.typical_lease_s(digest) == 40.0
    assert after.state.ended[lease.id].state is LeaseState.ENDED

"""A lease from its grant to its end."""

from __future__ import annotations

import pytest

from policies.reclaim import NeverKeep
from pool.core.decide import due_events
from pool.core.decisions import Ended, Granted, Queued, Rejected, Renewed, Reset, Stop
from pool.core.errors import TransitionError
from pool.core.events import Cancel, Paused, Release, Renew, ResetDone, Revoke, Undelivered
from pool.core.lifecycle import LeaseMove, lease_after
from pool.core.model import ClusterState, LeaseState, Mode, Outcome
from pool.core.reasons import Reason
from pool.core.timers import Kind
from tests.kit import T0, Core


def test_a_hit_needs_no_waiting_and_has_no_reason() -> None:
    core = Core()
    core.idle()
    granted = core.acquire()
    assert isinstance(granted, Granted)
    assert (granted.lease.outcome, granted.lease.miss) == (Outcome.HIT, None)


def test_a_grant_that_waited_for_a_start_is_cold_and_one_that_waited_for_a_release_is_not() -> None:
    core = Core()
    cold = core.lease()
    assert (cold.outcome, cold.miss) == (Outcome.COLD, Reason.NO_CLUSTER)
    waiter = core.acquire(mode=Mode.WAIT)
    core.release(cold)
    waited = core.answer(waiter.waiter.id)
    assert (waited.lease.outcome, waited.lease.miss) == (Outcome.WAITED, Reason.ALL_LEASED)


def test_the_epoch_rises_with_every_grant_and_every_end() -> None:
    core = Core()
    epochs = []
    for _ in range(3):
        lease = core.lease()
        epochs.append(lease.epoch)
        core.release(lease)
        epochs.append(core.clusters()[0].epoch)
    assert epochs == sorted(set(epochs))


def test_a_renewed_lease_lives_for_its_ttl_from_then_on() -> None:
    core = Core()
    lease = core.lease(ttl_s=30)
    core.go(29)
    assert isinstance(core.tell(Renew(lease.id, lease.epoch)), Renewed)
    core.go(29)
    assert lease.id in core.state.leases
    core.go(1)
    assert core.state.ended[lease.id].end_reason is Reason.EXPIRED


def test_an_expired_lease_has_its_cluster_recycled_and_never_reset() -> None:
    core = Core()
    core.lease(ttl_s=30)
    core.go(31)
    assert not core.all(Reset)
    assert core.all(Stop)[0].reason is Reason.HOLDER_NOT_GONE


def test_a_grant_that_nobody_picks_up_expires_quickly() -> None:
    core = Core(pickup_s=15, lease_ttl_s=60)
    core.idle()
    granted = core.acquire()
    core.go(15)
    assert core.state.ended[granted.lease.id].end_reason is Reason.UNCLAIMED


@pytest.mark.parametrize("epoch", [0, 99])
def test_a_stale_epoch_changes_nothing(epoch: int) -> None:
    core = Core()
    lease = core.lease()
    before = dict(core.state.leases)
    for ask in (Renew(lease.id, epoch), Release(lease.id, epoch)):
        assert core.tell(ask).reason is Reason.STALE_EPOCH
    assert core.state.leases == before


def test_a_holder_whose_lease_ended_can_change_nothing() -> None:
    core = Core()
    lease = core.lease()
    core.tell(Revoke(lease.id))
    other = core.lease()
    before = dict(core.state.clusters)
    assert core.tell(Renew(lease.id, lease.epoch)).reason is Reason.LEASE_ENDED
    assert core.tell(Release(lease.id, lease.epoch)).reason is Reason.LEASE_ENDED
    assert core.state.clusters == before
    assert other.id in core.state.leases


def test_what_a_holder_says_of_its_end_is_kept_with_the_lease() -> None:
    core = Core()
    said, silent = core.lease(), core.lease()
    core.release(said, note="the task's command ended")
    core.release(silent)
    assert core.state.ended[said.id].end_detail == "the task's command ended"
    assert core.state.ended[silent.id].end_detail == Reason.RELEASED.sentence


def test_a_release_may_be_asked_twice() -> None:
    core = Core()
    lease = core.lease()
    assert core.release(lease) == Ended(lease.id, Reason.RELEASED)
    assert core.tell(Release(lease.id, lease.epoch)) == Ended(lease.id, Reason.RELEASED)


def test_a_lease_ends_at_its_max_lease_however_often_it_is_renewed() -> None:
    core = Core(max_lease_s=100, lease_ttl_s=30)
    lease = core.lease()
    hints = []
    for _ in range(9):
        core.go(11)
        hints.append(core.tell(Renew(lease.id, lease.epoch)).hints)
    assert hints[0] == ()
    assert hints[-1] == ("max_lease",)
    core.go(1)
    assert core.state.ended[lease.id].end_reason is Reason.MAX_LEASE


def test_a_pause_does_not_lengthen_a_lease_beyond_its_max_lease() -> None:
    core = Core(max_lease_s=100, lease_ttl_s=30)
    lease = core.lease()
    core.now += 90
    core.tell(Paused(90))
    assert core.state.leases[lease.id].expires_at == T0 + 100


def test_a_lease_that_was_renewed_or_is_over_is_nothing_to_decide_when_it_was_to_be_looked_at() -> None:
    core = Core(pickup_s=15, lease_ttl_s=60)
    gone, renewed = core.lease(), core.lease()
    core.release(gone)
    core.now += 10
    core.tell(Renew(renewed.id, renewed.epoch))
    core.now += 10
    assert [due.id for due in due_events(core.state, core.now) if due.kind is Kind.LEASE] == []
    core.go(49)
    assert renewed.id in core.state.leases
    core.go(1)
    assert core.state.ended[renewed.id].end_reason is Reason.EXPIRED


def test_a_max_lease_shorter_than_the_pickup_ends_the_lease_in_time() -> None:
    core = Core(max_lease_s=5, pickup_s=15)
    core.idle()
    granted = core.acquire()
    core.go(5)
    assert granted.lease.id in core.state.ended


def test_time_in_which_the_daemon_stood_still_does_not_count() -> None:
    core = Core()
    lease = core.lease(ttl_s=30)
    core.now += 300
    core.tell(Paused(300))
    core.go(29)
    assert lease.id in core.state.leases


def test_an_undelivered_grant_gives_the_cluster_back_as_it_was() -> None:
    core = Core()
    cluster = core.idle()
    granted = core.acquire()
    core.tell(Undelivered(granted.lease.id, granted.lease.epoch))
    after = core.state.clusters[cluster.id]
    assert after.state is ClusterState.IDLE
    assert after.epoch > granted.lease.epoch
    assert isinstance(core.acquire(), Granted)


def test_a_grant_that_was_claimed_is_not_undelivered() -> None:
    core = Core()
    lease = core.lease()
    assert core.tell(Undelivered(lease.id, lease.epoch)) is None
    assert lease.id in core.state.leases


def test_a_cancelled_waiter_leaves_and_a_cancelled_grant_gives_its_cluster_back() -> None:
    core = Core()
    waiter = core.acquire()
    assert core.tell(Cancel(waiter.waiter.id)) == Ended(waiter.waiter.id, Reason.CANCELLED)
    core.start(core.clusters()[0])
    granted = core.acquire()
    assert core.tell(Cancel(granted.lease.id)) == Ended(granted.lease.id, Reason.CANCELLED)
    assert core.clusters()[0].state is ClusterState.RESETTING


def test_the_same_request_gets_the_same_answer() -> None:
    core = Core()
    ask = core.ask()
    first = core.tell(ask)
    again = core.tell(ask._replace(lease_id="l-other"))
    assert isinstance(again, Queued)
    assert again.waiter.id == first.waiter.id
    core.start(core.clusters()[0])
    granted = core.tell(ask._replace(lease_id="l-third"))
    assert isinstance(granted, Granted)
    assert granted.lease.id == first.waiter.id
    assert len(core.state.leases) == 1


def test_a_request_never_grants_again_after_its_lease_ended() -> None:
    core = Core()
    ask = core.ask()
    core.tell(ask)
    core.start(core.clusters()[0])
    core.release(core.state.leases[ask.lease_id])
    refused = core.tell(ask._replace(lease_id="l-other"))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.REQUEST_ENDED


def test_a_request_id_belongs_to_its_caller_its_key_and_its_holder() -> None:
    core = Core()
    ask = core.ask()
    core.tell(ask)
    assert core.tell(ask._replace(lease_id="l-2", holder="somebody else")).reason is Reason.REQUEST_MISMATCH
    assert isinstance(core.tell(ask._replace(lease_id="l-3", caller="another")), Queued)


def test_a_dirty_cluster_is_replaced() -> None:
    core = Core()
    core.release(core.lease(), clean=False)
    stop = core.all(Stop)[0]
    assert (stop.reason, stop.detail) == (Reason.RESET_FAILED, "an actor is left")


def test_a_dirty_cluster_is_kept_for_a_look_where_the_pool_says_so() -> None:
    core = Core(quarantine_s=60)
    core.release(core.lease(), clean=False)
    assert core.clusters()[0].state is ClusterState.QUARANTINED
    assert not isinstance(core.acquire(mode=Mode.WARM_ONLY), Granted)
    core.go(60)
    assert core.all(Stop)[0].reason is Reason.QUARANTINE_OVER


def test_a_reset_that_never_ends_has_its_cluster_replaced() -> None:
    core = Core(reset_timeout_s=20)
    lease = core.lease()
    core.tell(Release(lease.id, lease.epoch))
    core.go(31)
    assert core.all(Stop)[0].reason is Reason.RESET_FAILED


def test_the_result_of_an_older_reset_is_no_news() -> None:
    core = Core()
    lease = core.lease()
    core.tell(Release(lease.id, lease.epoch))
    core.tell(ResetDone(lease.cluster, lease.epoch, True))
    assert core.clusters()[0].state is ClusterState.RESETTING


def test_a_cluster_retires_after_its_uses() -> None:
    core = Core(max_uses=2)
    core.release(core.lease())
    assert not core.all(Stop)
    core.release(core.lease())
    assert core.all(Stop)[0].reason is Reason.MAX_USES


def test_a_cold_pool_uses_no_cluster_twice() -> None:
    core = Core(reclaim=NeverKeep())
    core.release(core.lease())
    assert core.all(Stop)[0].reason is Reason.NEVER_KEPT


def test_an_ended_lease_has_no_move() -> None:
    core = Core()
    lease = core.lease()
    core.release(lease)
    ended = core.state.ended[lease.id]
    assert ended.state is LeaseState.ENDED
    with pytest.raises(TransitionError, match="is ended"):
        lease_after(ended, LeaseMove.RENEW)

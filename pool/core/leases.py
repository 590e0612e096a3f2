"""What holders ask, and how leases end."""

from __future__ import annotations

from pool.core import ahead, capacity, grant, learning, standing
from pool.core.decisions import Answer, Ended, Granted, Queued, Rejected, Renewed, Reply
from pool.core.events import Acquire, Cancel, Detached, Release, Renew, Revoke, Undelivered
from pool.core.explain import queued
from pool.core.hints import hints
from pool.core.lifecycle import ClusterMove, LeaseMove, lease_after
from pool.core.model import Cluster, ClusterState, Lease, LeaseState, Mode, Outcome, Pool, ResidentValue, Waiter
from pool.core.policy import Wish
from pool.core.reasons import Reason
from pool.core.timers import Kind
from pool.core.turn import Turn

# --- acquire -------------------------------------------------------------------------------------------------------


def acquire(turn: Turn, ask: Acquire) -> Reply:
    """Grant, queue or refuse; the same request id gets the same answer."""
    known = turn.state.requests.get((ask.caller, ask.request_id))
    if known is not None:
        return _ask_again(turn, ask, known)
    refused = _refuse(turn, ask)
    if refused is not None:
        return refused
    pool = turn.pool(ask.key)
    index = turn.state.index[pool.digest]
    index.last_asked_at = turn.now
    learning.asked(turn.state, pool.digest, ask.lease_id, ask.group, turn.now)
    local = ask.mode is not Mode.WARM_ONLY and _waits_for_data(turn, pool, ask.group)
    # Whoever waits had the choice before: what is there now is for nobody in the queue, or for this group alone.
    if index.free or index.held or index.roomy or not index.queue:
        cluster = grant.pick(turn.state, pool, ask.group, turn.now, own_only=local)
        if cluster is not None:
            return grant.grant(turn, cluster, ask, Outcome.HIT, None)
    miss = Reason.LOCALITY_WAIT if local and index.free else grant.miss_reason(turn.state, pool)
    if ask.mode is Mode.WARM_ONLY:
        learning.ended(turn.state, pool.digest, ask.lease_id, ask.group, turn.now)
        return Rejected(Reason.WARM_ONLY_MISS, f"No idle cluster: {miss.sentence}", "Ask with mode wait_or_create.")
    return _enqueue(turn, ask, pool, miss, local)


def _waits_for_data(turn: Turn, pool: Pool, group: str) -> bool:
    """Tell whether the group's data is on a busy cluster rather than on an idle one."""
    waits = bool(group) and turn.settings(pool.digest).locality_wait_s > 0
    return waits and grant.data_is_busy(turn.state, turn.state.index[pool.digest], group)


def _ask_again(turn: Turn, ask: Acquire, known: str) -> Reply:
    state = turn.state
    record: Lease | Waiter | None = state.leases.get(known) or state.waiters.get(known) or state.ended.get(known)
    if record is None or record.pool != ask.key.digest or record.holder != ask.holder:
        return Rejected(
            Reason.REQUEST_MISMATCH,
            f"Request id {ask.request_id!r} was used before for another cluster key or holder.",
            "Use a fresh request id for each thing you ask.",
        )
    if isinstance(record, Waiter):
        # To listen again is to be alive; it says nothing worth a commit.
        waiter = turn.update(record, durable=False, seen_until=max(record.seen_until, ask.seen_until))
        turn.touch(waiter.pool)
        return queued(state, waiter, turn.now)
    if record.ended_at is not None:
        return _request_ended(record)
    return Granted(record, state.clusters[record.cluster])


def _request_ended(lease: Lease) -> Rejected:
    reason = lease.end_reason or Reason.LEASE_ENDED
    return Rejected(
        Reason.REQUEST_ENDED,
        f"The lease of this request id ended: {reason.sentence}",
        "Ask with a fresh request id.",
    )


def _refuse(turn: Turn, ask: Acquire) -> Rejected | None:
    state, now = turn.state, turn.now
    if state.closing:
        return Rejected(Reason.SHUTDOWN, Reason.SHUTDOWN.sentence, "Ask again later.")
    if text := capacity.never_fits(state, ask.key):
        return Rejected(Reason.SHAPE_TOO_LARGE, text, "Ask for a smaller shape, or raise the ceiling named.")
    pool = state.pools.get(ask.key.digest)
    if pool is None:
        return None
    if pool.cordoned:
        return Rejected(Reason.POOL_CORDONED, f"Pool {pool.digest} is cordoned.", "Ask again once it is uncordoned.")
    index = state.index[pool.digest]
    settings = turn.settings(pool.digest)
    if len(index.queue) >= settings.max_waiting:
        return Rejected(
            Reason.QUEUE_FULL, f"{len(index.queue)} are waiting, of {settings.max_waiting} at most.", "Ask again later."
        )
    if ask.mode is Mode.WAIT_OR_CREATE and not index.live:
        blocked = capacity.start_blocked(state, pool, now)
        if blocked is not None and blocked[0] is Reason.BREAKER_OPEN:
            return Rejected(blocked[0], blocked[1], "Mend the cause, then ask again once the time named is over.")
    return None


def _enqueue(turn: Turn, ask: Acquire, pool: Pool, miss: Reason, local: bool) -> Reply:
    settings = turn.settings(pool.digest)
    now = turn.now
    timers = turn.state.timers
    deadline = min(ask.deadline, now + settings.max_wait_s)
    waiter = Waiter(
        id=ask.lease_id,
        pool=pool.digest,
        tenant=pool.key.tenant,
        caller=ask.caller,
        request_id=ask.request_id,
        holder=ask.holder,
        group=ask.group,
        priority=ask.priority,
        mode=ask.mode,
        asked_at=now,
        rank=settings.queue_order.rank(Wish(ask.priority, now, deadline, settings.aging_s)),
        deadline=deadline,
        seen_until=ask.seen_until,
        ttl_s=ask.ttl_s if ask.ttl_s is not None else settings.lease_ttl_s,
        hold_s=ask.hold_s if ask.hold_s is not None else settings.hold_s,
        miss=miss,
        local_until=now + settings.locality_wait_s if local else 0.0,
    )
    turn.change(None, waiter)
    timers.arm(Kind.DEADLINE, waiter.id, waiter.deadline)
    timers.arm(Kind.SEEN, waiter.id, waiter.seen_until)
    if waiter.local_until:
        timers.arm(Kind.LOCAL, waiter.id, waiter.local_until)
    turn.touch(pool.digest)
    # How it stands is said once the queues were served.
    return Queued(waiter, 0, miss, "", None, "")


def settle_reply(turn: Turn, ask: Acquire, reply: Reply) -> Reply:
    """Return what the asker is told after the queues were served: it may have been granted or refused by then."""
    if not isinstance(reply, Queued):
        return reply
    effects = turn.decision.effects
    lease_id = reply.waiter.id
    for effect in effects:
        if isinstance(effect, Answer) and effect.lease_id == lease_id:
            return effect.reply
    return queued(turn.state, turn.state.waiters[lease_id], turn.now) if ask.told else reply


# --- a live lease --------------------------------------------------------------------------------------------------


def _live(turn: Turn, lease_id: str, epoch: int | None) -> Lease | Rejected:
    state = turn.state
    lease = state.leases.get(lease_id)
    if lease is None:
        ended = state.ended.get(lease_id)
        if ended is None:
            return Rejected(Reason.UNKNOWN_LEASE, f"There is no lease {lease_id}.", "Acquire one.")
        reason = ended.end_reason or Reason.LEASE_ENDED
        return Rejected(Reason.LEASE_ENDED, f"The lease ended ({reason}): {ended.end_detail}", "Acquire a new lease.")
    if epoch is not None and epoch != lease.epoch:
        return Rejected(
            Reason.STALE_EPOCH, f"Epoch {epoch} is not this lease's epoch.", "Use the epoch that the grant gave."
        )
    return lease


def renew(turn: Turn, ask: Renew) -> Reply:
    """Extend a lease. Only the first renewal after a restart of the daemon is written down."""
    lease = _live(turn, ask.lease_id, ask.epoch)
    if isinstance(lease, Rejected):
        return lease
    now = turn.now
    until = now + lease.ttl_s
    if lease.max_until:
        until = min(until, lease.max_until)
    lease = turn.update(
        lease,
        durable=lease.renewed_in != turn.state.generation,
        state=lease_after(lease, LeaseMove.RENEW),
        expires_at=until,
        renewed_in=turn.state.generation,
    )
    cluster = turn.state.clusters[lease.cluster]
    return Renewed(lease, cluster, hints(lease, cluster, now))


def release(turn: Turn, ask: Release) -> Reply:
    """End a lease as its holder wants; the cluster is reset, and held for the group if asked."""
    lease = _live(turn, ask.lease_id, ask.epoch)
    if isinstance(lease, Rejected):
        return _released_before(turn, ask) or lease
    hold_s = lease.hold_s
    if ask.hold_s is not None:
        hold_s = min(ask.hold_s, turn.settings(lease.pool).hold_max_s)
    _release(turn, lease, Reason.RELEASED, ask.note, hold_s, ask.resident)
    return Ended(lease.id, Reason.RELEASED)


def _released_before(turn: Turn, ask: Release) -> Ended | None:
    """A release is idempotent: its answer may have been lost on the way."""
    ended = turn.state.ended.get(ask.lease_id)
    if ended is not None and ended.epoch == ask.epoch and ended.end_reason is Reason.RELEASED:
        return Ended(ended.id, Reason.RELEASED)
    return None


def cancel(turn: Turn, ask: Cancel) -> Reply:
    """Take a waiter out of the queue. If it was granted meanwhile, the grant is released."""
    state = turn.state
    waiter = state.waiters.get(ask.lease_id)
    if waiter is not None:
        refuse_waiter(turn, waiter, Reason.CANCELLED, Reason.CANCELLED.sentence)
        return Ended(waiter.id, Reason.CANCELLED)
    lease = _live(turn, ask.lease_id, None)
    if isinstance(lease, Rejected):
        return lease
    _release(turn, lease, Reason.CANCELLED, "", 0.0)
    return Ended(lease.id, Reason.CANCELLED)


def detached(turn: Turn, event: Detached) -> Reply:
    """Nobody listens for this waiter now; it is kept a little while."""
    waiter = turn.state.waiters.get(event.lease_id)
    if waiter is not None and event.seen_until < waiter.seen_until:
        turn.update(waiter, durable=False, seen_until=event.seen_until)
        turn.state.timers.arm(Kind.SEEN, waiter.id, event.seen_until)
    return None


def undelivered(turn: Turn, event: Undelivered) -> Reply:
    """Take back a grant of which its holder never learned: the cluster is as it was."""
    lease = turn.state.leases.get(event.lease_id)
    if lease is None or lease.epoch != event.epoch or lease.state is not LeaseState.GRANTED:
        return None
    if lease.renewed_in != turn.state.generation:
        # Granted before a restart, and renewals are not stored: its holder may be at work.
        return None
    cluster = turn.state.clusters[lease.cluster]
    fields = turn.end_lease(lease, Reason.UNDELIVERED)
    if fields["leases"]:
        turn.move(cluster, ClusterMove.LEASE_ENDED, **fields)
    elif cluster.doom is not None:
        turn.stop_cluster(cluster, cluster.doom, cluster.doomed, **fields)
    elif cluster.epoch == lease.epoch:
        turn.move(cluster, ClusterMove.NEVER_USED, **fields)
    else:
        # A lease that shared the cluster ended meanwhile: what its holder left is still there.
        turn.begin_reset(turn.move(cluster, ClusterMove.RELEASED, group_only=False, **fields))
    return Ended(lease.id, Reason.UNDELIVERED)


def revoke(turn: Turn, ask: Revoke) -> Reply:
    """End a lease by force; the cluster is recycled, since its holder may go on using it."""
    lease = _live(turn, ask.lease_id, None)
    if isinstance(lease, Rejected):
        return lease
    end_by_force(turn, lease, Reason.REVOKED, ask.detail)
    return Ended(lease.id, Reason.REVOKED, ask.detail)


# --- ends ----------------------------------------------------------------------------------------------------------


def _release(
    turn: Turn,
    lease: Lease,
    reason: Reason,
    detail: str,
    hold_s: float,
    resident: tuple[ResidentValue, ...] | None = None,
) -> None:
    cluster = turn.state.clusters[lease.cluster]
    fields = turn.end_lease(lease, reason, detail)
    if resident is not None:
        fields["resident"] = resident
    if fields["leases"]:
        turn.move(cluster, ClusterMove.LEASE_ENDED, **fields)
        return
    why = _worn(turn, cluster)
    if turn.settings(cluster.pool).standing is not None:
        # Somebody else's goes on, and what began under the lease is ended whatever becomes of the cluster here.
        fields |= {"doom": why[0]} if why is not None else {}
    elif why is not None:
        turn.stop_cluster(cluster, why[0], why[1], **fields)
        return
    hold_until = turn.now + hold_s if hold_s and lease.group else 0.0
    new = turn.move(cluster, ClusterMove.RELEASED, group=lease.group, hold_until=hold_until, group_only=False, **fields)
    if hold_until:
        ahead.look(turn.state, (lease.tenant, lease.group), turn.now)
    turn.begin_reset(new, full=resets_in_full(turn, new))


def resets_in_full(turn: Turn, cluster: Cluster) -> bool:
    """Tell whether to prove a cluster clean for everybody at once: its holder had no group, or others wait already."""
    settings, index = turn.settings(cluster.pool), turn.state.index[cluster.pool]
    if not cluster.group or not settings.group_rest_s or settings.max_leases_per_cluster > 1:
        return True
    return bool(index.queue) and cluster.group not in index.waiters_by_group


def _worn(turn: Turn, cluster: Cluster) -> tuple[Reason, str] | None:
    """Return why a cluster is not used again after this lease, None if it may be."""
    settings = turn.settings(cluster.pool)
    if cluster.doom is not None:
        return cluster.doom, cluster.doomed
    if settings.standing is not None:
        return None
    if settings.max_uses and cluster.uses >= settings.max_uses:
        return Reason.MAX_USES, f"it served {cluster.uses} leases, of {settings.max_uses} at most"
    if cluster.retires_at and turn.now >= cluster.retires_at:
        return Reason.MAX_LIFETIME, f"it is {turn.now - cluster.created_at:.0f} s old"
    if not settings.reclaim.keeps():
        return Reason.NEVER_KEPT, Reason.NEVER_KEPT.sentence
    return None


def end_by_force(turn: Turn, lease: Lease, reason: Reason, detail: str = "") -> None:
    """End a lease whose holder was not seen gone: its cluster is recycled, at once or after those who share it."""
    cluster = turn.state.clusters[lease.cluster]
    fields = turn.end_lease(lease, reason, detail)
    why = f"lease {lease.id} ended: {reason.sentence}"
    if fields["leases"]:
        turn.move(cluster, ClusterMove.LEASE_ENDED, doom=Reason.HOLDER_NOT_GONE, detail=why, **fields)
    elif turn.settings(cluster.pool).standing is None:
        turn.stop_cluster(cluster, Reason.HOLDER_NOT_GONE, why, **fields)
    else:
        standing.reset_behind_back(turn, cluster, why, **fields)


def lose_leases(turn: Turn, cluster: Cluster, detail: str) -> Cluster:
    """End every lease of a lost cluster and return the cluster without them (its state is the caller's to change)."""
    for lease_id in cluster.leases:
        fields = turn.end_lease(turn.state.leases[lease_id], Reason.CLUSTER_LOST, detail)
        cluster = turn.update(turn.state.clusters[cluster.id], **fields)
    return cluster


def refuse_waiter(turn: Turn, waiter: Waiter, reason: Reason, detail: str, remedy: str = "") -> None:
    """Take a waiter out of the queue and tell it why."""
    turn.change(waiter, None)
    learning.ended(turn.state, waiter.pool, waiter.id, waiter.group, turn.now)
    turn.touch(waiter.pool)
    turn.effect(Answer(waiter.id, Rejected(reason, detail, remedy)))


# --- what is due ---------------------------------------------------------------------------------------------------


def lease_due(turn: Turn, lease_id: str) -> float | None:
    """Expire a lease whose time has come; return when to look again if it has not."""
    lease = turn.state.leases.get(lease_id)
    if lease is None:
        return None
    if turn.now < lease.expires_at:
        return lease.expires_at
    if lease.max_until and turn.now >= lease.max_until:
        held_s = turn.now - lease.granted_at
        end_by_force(turn, lease, Reason.MAX_LEASE, f"It was held for {held_s:.0f} s.")
    elif lease.state is LeaseState.GRANTED:
        end_by_force(turn, lease, Reason.UNCLAIMED)
    else:
        end_by_force(turn, lease, Reason.EXPIRED, f"Not renewed for {lease.ttl_s:.0f} s.")
    return None


def deadline_due(turn: Turn, waiter_id: str) -> float | None:
    """Refuse a waiter that has waited as long as it wanted."""
    waiter = turn.state.waiters.get(waiter_id)
    if waiter is None:
        return None
    if turn.now < waiter.deadline:
        return waiter.deadline
    told = queued(turn.state, waiter, turn.now)
    refuse_waiter(
        turn,
        waiter,
        Reason.WAIT_TIMEOUT,
        f"Nothing came free within {turn.now - waiter.asked_at:.0f} s: {told.detail}",
        "Ask again with a longer timeout_s, or have the operator raise the ceiling named.",
    )
    return None


def seen_due(turn: Turn, waiter_id: str) -> float | None:
    """Drop a waiter that stopped asking."""
    waiter = turn.state.waiters.get(waiter_id)
    if waiter is None:
        return None
    if turn.now < waiter.seen_until:
        return waiter.seen_until
    refuse_waiter(turn, waiter, Reason.WAITER_GONE, Reason.WAITER_GONE.sentence, "Ask again.")
    return None


def local_due(turn: Turn, waiter_id: str) -> float | None:
    """A waiter has waited long enough for the cluster with its data: now any will do."""
    waiter = turn.state.waiters.get(waiter_id)
    if waiter is not None and waiter.local_until:
        if turn.now < waiter.local_until:
            return waiter.local_until
        turn.update(waiter, local_until=0.0)
        turn.touch(waiter.pool)
    return None


def is_reset_pending(cluster: Cluster, epoch: int) -> bool:
    """Tell whether the result of a reset of `epoch` still concerns the cluster."""
    return cluster.state is ClusterState.RESETTING and cluster.epoch == epoch

"""Records as callers see them: without secrets, with times both absolute and relative, and with words."""

from __future__ import annotations

from typing import Literal

from pool.api.needs import Daemon
from pool.core.decisions import Granted, Queued
from pool.core.key import describe, to_json
from pool.core.model import Cluster, ClusterState, Lease, LeaseState, Pool, Waiter
from pool.core.state import State
from pool.wire.leases import ClusterAccess, GrantAnswer, QueuedAnswer, ResidentItem
from pool.wire.views import ClusterView, EvidenceItem, LeaseView, PoolView, WaiterView, WearItem

_HIT = "An idle cluster was there."


def grant_answer(daemon: Daemon, granted: Granted) -> GrantAnswer:
    """Return the answer that holds a grant, with its secrets."""
    lease, cluster = granted.lease, granted.cluster
    tokens = daemon.tokens
    return GrantAnswer(
        lease_id=lease.id,
        token=tokens.lease_token(lease.id, lease.epoch),
        epoch=lease.epoch,
        outcome=lease.outcome,
        reason=lease.miss,
        explanation=_HIT if lease.miss is None else lease.miss.sentence,
        waited_s=lease.granted_at - lease.asked_at,
        ttl_s=lease.ttl_s,
        remaining_s=max(0.0, lease.expires_at - daemon.clock.now()),
        cluster=ClusterAccess(
            id=cluster.id,
            address=cluster.address,
            client_address=cluster.client_address,
            dashboard_url=cluster.dashboard_url,
            ray_version=cluster.ray_version,
            token=daemon.cluster_token(cluster.id),
        ),
        pool=lease.pool,
        group=lease.group,
        # A grant to another group forgets which group was there.
        group_was_here=bool(lease.group) and cluster.group == lease.group,
        resident=[value.name for value in cluster.resident],
    )


def queued_answer(queued: Queued, now: float) -> QueuedAnswer:
    """Return the answer to one who must wait."""
    waiter = queued.waiter
    return QueuedAnswer(
        lease_id=waiter.id,
        position=queued.position,
        reason=queued.reason,
        explanation=queued.detail or queued.reason.sentence,
        expected_s=_until(queued.expected_at, now),
        phase=queued.phase,
        waited_s=max(0.0, now - waiter.asked_at),
        remaining_s=max(0.0, waiter.deadline - now),
    )


def lease_view(state: State, lease: Lease, now: float) -> LeaseView:
    """Return a lease, living or ended."""
    ended = lease.state is LeaseState.ENDED
    end_words = lease.end_detail or (lease.end_reason.sentence if lease.end_reason else "")
    return LeaseView(
        id=lease.id,
        cluster=lease.cluster,
        pool=lease.pool,
        pool_name=_pool_name(state, lease.pool),
        tenant=lease.tenant,
        caller=lease.caller,
        request_id=lease.request_id,
        holder=lease.holder,
        group=lease.group,
        priority=lease.priority,
        mode=lease.mode,
        state=lease.state,
        outcome=lease.outcome,
        reason=lease.miss,
        explanation=_HIT if lease.miss is None else lease.miss.sentence,
        epoch=lease.epoch,
        asked_at=lease.asked_at,
        granted_at=lease.granted_at,
        waited_s=lease.granted_at - lease.asked_at,
        expires_at=lease.expires_at,
        remaining_s=0.0 if ended else max(0.0, lease.expires_at - now),
        ended_at=lease.ended_at,
        end_reason=lease.end_reason,
        end_explanation=end_words if ended else "",
    )


def waiter_view(state: State, queued: Queued, now: float) -> WaiterView:
    """Return a waiter and where it stands."""
    waiter: Waiter = queued.waiter
    return WaiterView(
        id=waiter.id,
        pool=waiter.pool,
        pool_name=_pool_name(state, waiter.pool),
        tenant=waiter.tenant,
        caller=waiter.caller,
        request_id=waiter.request_id,
        holder=waiter.holder,
        group=waiter.group,
        priority=waiter.priority,
        mode=waiter.mode,
        position=queued.position,
        reason=queued.reason,
        explanation=queued.detail or queued.reason.sentence,
        phase=queued.phase,
        asked_at=waiter.asked_at,
        waited_s=max(0.0, now - waiter.asked_at),
        deadline=waiter.deadline,
        expected_s=_until(queued.expected_at, now),
    )


def cluster_view(state: State, cluster: Cluster, now: float) -> ClusterView:
    """Return a cluster, living or stopped."""
    pool = state.pools.get(cluster.pool)
    return ClusterView(
        id=cluster.id,
        pool=cluster.pool,
        pool_name=pool.name if pool else "",
        tenant=cluster.tenant,
        image=pool.key.image if pool else "",
        shape=describe(pool.key.shape) if pool else "",
        state=cluster.state,
        state_for_s=max(0.0, now - cluster.changed_at),
        age_s=max(0.0, now - cluster.created_at),
        start_s=None if cluster.ready_at is None else max(0.0, cluster.ready_at - cluster.created_at),
        phase=cluster.phase,
        epoch=cluster.epoch,
        uses=cluster.uses,
        leases=list(cluster.leases),
        group=cluster.group,
        held_until=cluster.hold_until if cluster.hold_until > now else None,
        cordoned=cluster.cordoned,
        degraded=cluster.degraded,
        resident=[ResidentItem(**value._asdict()) for value in cluster.resident],
        evidence=EvidenceItem.model_validate(cluster.evidence._asdict()) if cluster.evidence is not None else None,
        wear=WearItem(**cluster.wear._asdict()) if cluster.wear is not None else None,
        cause=cluster.cause,
        reason=cluster.reason,
        explanation=_cluster_words(cluster, now),
        dashboard_url=cluster.dashboard_url,
        ray_version=cluster.ray_version,
    )


def _cluster_words(cluster: Cluster, now: float) -> str:
    if cluster.doom and cluster.state not in (ClusterState.STOPPING, ClusterState.STOPPED):
        return f"It will be stopped when its lease ends. {cluster.doomed}"
    if cluster.degraded:
        return cluster.degraded
    if cluster.evidence is not None and cluster.evidence.holder:
        return f"{cluster.detail}; left by {cluster.evidence.holder}"
    if cluster.detail:
        return cluster.detail
    if cluster.reason:
        return cluster.reason.sentence
    if cluster.state is ClusterState.STARTING:
        return f"It is starting. {cluster.cause.sentence}"
    if cluster.state is ClusterState.GROWING:
        return "It is getting its workers back."
    if cluster.state is ClusterState.IDLE and cluster.hold_until > now:
        return f"It is held for group {cluster.group} for another {cluster.hold_until - now:.0f} s."
    return ""


def pool_view(state: State, pool: Pool, now: float) -> PoolView:
    """Return a pool and its counts."""
    index = state.index[pool.digest]
    breaker: Literal["closed", "open", "half_open"] = "closed"
    if pool.breaker_until:
        breaker = "open" if pool.breaker_until > now else "half_open"
    return PoolView(
        digest=pool.digest,
        name=pool.name,
        tenant=pool.key.tenant,
        image=pool.key.image,
        shape=describe(pool.key.shape),
        key=to_json(pool.key),
        clusters={state.value: count for state, count in index.counts.items() if state is not ClusterState.STOPPED},
        waiters=len(index.queue),
        cordoned=pool.cordoned,
        min_idle=pool.min_idle,
        max_clusters=pool.max_clusters,
        failures=pool.failures,
        breaker=breaker,
        last_error=pool.last_error,
        next_start_s=_until(max(pool.breaker_until, pool.retry_at), now) or None,
        start_typical_s=state.typical_start_s(pool.digest),
        grow_typical_s=state.typical_grow_s(pool.digest),
        warm_head_price=pool.key.warm_head_price,
        lease_typical_s=state.typical_lease_s(pool.digest),
    )


def _pool_name(state: State, digest: str) -> str:
    pool = state.pools.get(digest)
    return pool.name if pool else ""


def _until(when: float | None, now: float) -> float | None:
    return None if when is None else max(0.0, when - now)

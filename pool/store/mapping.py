"""Records to rows and back: plain tuples in the order of a table's columns, since tens of thousands are read at once.

A cluster's phase is not stored: it is news of a start, and after a restart the backend tells it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from pool.core.key import Footprint, canonical, key_from, to_json
from pool.core.model import Cluster, ClusterState, Lease, LeaseState, Mode, Outcome, Pool, Waiter
from pool.core.reasons import Reason

Row = Sequence[Any]
"""One row, values in the order of the table's columns."""

_E = TypeVar("_E", bound=StrEnum)


def _by_value(kind: type[_E]) -> Callable[[str], _E]:
    # A dictionary answers several times faster than calling the enum.
    return {member.value: member for member in kind}.__getitem__


_CLUSTER_STATE = _by_value(ClusterState)
_LEASE_STATE = _by_value(LeaseState)
_MODE = _by_value(Mode)
_OUTCOME = _by_value(Outcome)
_REASON = _by_value(Reason)


def pool_row(p: Pool) -> tuple[Any, ...]:
    """Return the row of a pool."""
    return (
        p.digest,
        canonical(to_json(p.key)),
        p.name,
        p.next_seq,
        p.failures,
        p.retry_at,
        p.breaker_until,
        p.last_error,
        p.cordoned,
        p.min_idle,
        p.max_clusters,
        p.created_at,
    )


def pool_of(row: Row) -> Pool:
    """Return the pool of a row of `tables.pools`."""
    digest, key, name, next_seq, failures, retry_at, breaker_until, last_error, cordoned, *rest = row
    key = key_from(json.loads(key))
    return Pool(digest, key, name, next_seq, failures, retry_at, breaker_until, last_error, bool(cordoned), *rest)


def cluster_row(c: Cluster) -> tuple[Any, ...]:
    """Return the row of a cluster."""
    footprint = c.footprint
    return (
        c.id,
        c.pool,
        c.tenant,
        c.seq,
        footprint.clusters,
        footprint.milli_cpu,
        footprint.memory_bytes,
        footprint.gpu,
        c.state.value,
        c.cause.value,
        c.created_at,
        c.changed_at,
        c.epoch,
        json.dumps(c.leases) if c.leases else "[]",
        c.uses,
        c.ready_at,
        c.boot_id,
        c.address,
        c.client_address,
        c.dashboard_url,
        c.ray_version,
        c.group,
        c.hold_until,
        c.cordoned,
        c.doom and c.doom.value,
        c.reason and c.reason.value,
        c.detail,
        c.retires_at,
    )


def cluster_of(row: Row) -> Cluster:
    """Return the cluster of a row of `tables.clusters`."""
    # By position: half the time of going by name.
    id_, pool, tenant, seq, n, milli_cpu, memory_bytes, gpu, state, cause, created_at, changed_at, epoch, *more = row
    leases, uses, ready_at, boot_id, address, client, dashboard, version, group, hold_until, *end = more
    cordoned, doom, reason, detail, retires_at = end
    return Cluster(
        id_,
        pool,
        tenant,
        seq,
        Footprint(n, milli_cpu, memory_bytes, gpu),
        _CLUSTER_STATE(state),
        _REASON(cause),
        created_at,
        changed_at,
        epoch,
        () if leases == "[]" else tuple(json.loads(leases)),
        uses,
        ready_at,
        boot_id,
        address,
        client,
        dashboard,
        version,
        group,
        hold_until,
        bool(cordoned),
        None if doom is None else _REASON(doom),
        None if reason is None else _REASON(reason),
        detail,
        retires_at,
    )


def lease_row(x: Lease) -> tuple[Any, ...]:
    """Return the row of a lease."""
    return (
        x.id,
        x.cluster,
        x.pool,
        x.tenant,
        x.caller,
        x.request_id,
        x.holder,
        x.group,
        x.priority,
        x.mode.value,
        x.epoch,
        x.state.value,
        x.outcome.value,
        x.miss and x.miss.value,
        x.asked_at,
        x.granted_at,
        x.ttl_s,
        x.expires_at,
        x.max_until,
        x.hold_s,
        x.ended_at,
        x.end_reason and x.end_reason.value,
        x.end_detail,
        x.renewed_in,
    )


def lease_of(row: Row) -> Lease:
    """Return the lease of a row of `tables.leases`."""
    id_, cluster, pool, tenant, caller, request_id, holder, group, priority, mode, epoch, state, outcome, *more = row
    miss, asked_at, granted_at, ttl_s, expires_at, max_until, hold_s, ended_at, end_reason, end_detail, renewed = more
    return Lease(
        id_,
        cluster,
        pool,
        tenant,
        caller,
        request_id,
        holder,
        group,
        priority,
        _MODE(mode),
        epoch,
        _LEASE_STATE(state),
        _OUTCOME(outcome),
        None if miss is None else _REASON(miss),
        asked_at,
        granted_at,
        ttl_s,
        expires_at,
        max_until,
        hold_s,
        ended_at,
        None if end_reason is None else _REASON(end_reason),
        end_detail,
        renewed,
    )


def waiter_row(w: Waiter) -> tuple[Any, ...]:
    """Return the row of a waiter."""
    return (
        w.id,
        w.pool,
        w.tenant,
        w.caller,
        w.request_id,
        w.holder,
        w.group,
        w.priority,
        w.mode.value,
        w.asked_at,
        w.rank,
        w.deadline,
        w.seen_until,
        w.ttl_s,
        w.hold_s,
        w.miss.value,
        w.local_until,
    )


def waiter_of(row: Row) -> Waiter:
    """Return the waiter of a row of `tables.waiters`."""
    id_, pool, tenant, caller, request_id, holder, group, priority, mode, *more = row
    asked_at, rank, deadline, seen_until, ttl_s, hold_s, miss, local_until = more
    return Waiter(
        id_,
        pool,
        tenant,
        caller,
        request_id,
        holder,
        group,
        priority,
        _MODE(mode),
        asked_at,
        rank,
        deadline,
        seen_until,
        ttl_s,
        hold_s,
        _REASON(miss),
        local_until,
    )

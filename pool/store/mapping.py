"""Records to rows and back.

A restart reads tens of thousands of rows: so they are decoded column by column, without a line of Python for each row.

A cluster's phase is not stored: it is news of a start, and after a restart the backend tells it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from itertools import repeat
from typing import Any, TypeVar

from pydantic_core import to_json as json_of
from sqlalchemy import Table

from pool.core.key import ClusterKey, Footprint, canonical, key_from, to_json
from pool.core.model import Cluster, ClusterState, Evidence, Lease, LeaseState, Mode, Outcome, Pool, Waiter
from pool.core.reasons import Reason
from pool.store import tables
from pool.store.base import stored_state

Row = Sequence[Any]
"""One row, values in the order of the table's columns."""

_R = TypeVar("_R", Pool, Cluster, Lease, Waiter)


def _by_value(kind: type[StrEnum]) -> Callable[[str | None], Any]:
    # A dictionary answers several times faster than calling the enum.
    members: dict[str | None, StrEnum | None] = {member.value: member for member in kind}
    members[None] = None
    return members.__getitem__


_CLUSTER_STATE = _by_value(ClusterState)
_LEASE_STATE = _by_value(LeaseState)
_MODE = _by_value(Mode)
_OUTCOME = _by_value(Outcome)


class _Reasons(dict[str | None, Reason | None]):
    """Reasons by code. One that only a newer version knows is read as ``internal``, as clients read it."""

    def __missing__(self, code: str | None) -> Reason:
        return Reason.INTERNAL


_REASONS = _Reasons({reason.value: reason for reason in Reason})
_REASONS[None] = None
_REASON = _REASONS.__getitem__


def _key_of(text: str) -> ClusterKey:
    return key_from(json.loads(text))


def _ids_of(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def _evidence_of(text: str) -> Evidence | None:
    if not text:
        return None
    lease, holder, found_at, left = json.loads(text)
    return Evidence(lease, holder, found_at, tuple(left))


def _make(kind: type[_R], columns: dict[str, Iterable[Any]]) -> list[_R]:
    """Return the records whose fields are named columns."""
    return list(map(kind._make, zip(*(columns[field] for field in kind._fields))))  # noqa: B905


def _columns(table: Table, rows: Sequence[Row]) -> dict[str, Iterable[Any]]:
    return dict(zip(table.columns.keys(), zip(*rows, strict=True), strict=True))


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


def pools_of(rows: Sequence[Row]) -> list[Pool]:
    """Return the pools of rows of `tables.pools`."""
    if not rows:
        return []
    columns = _columns(tables.pools, rows)
    columns["key"] = map(_key_of, columns["key"])
    columns["cordoned"] = map(bool, columns["cordoned"])
    return _make(Pool, columns)


def cluster_row(c: Cluster, booked_state: str = "", booked_at: float = 0.0) -> tuple[Any, ...]:
    """Return the row of a cluster, with what of it is in the ledger."""
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
        stored_state(c).value,
        c.cause.value,
        c.created_at,
        c.changed_at,
        c.epoch,
        json_of(c.leases).decode() if c.leases else "[]",
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
        c.idle_since,
        c.resizes,
        c.grow_s,
        json_of(c.evidence).decode() if c.evidence is not None else "",
        booked_state,
        booked_at,
    )


def clusters_of(rows: Sequence[Row]) -> list[Cluster]:
    """Return the clusters of rows of `tables.clusters`."""
    if not rows:
        return []
    columns = _columns(tables.clusters, rows)
    sizes = (columns[name] for name in ("footprint_clusters", "milli_cpu", "memory_bytes", "gpu"))
    columns["footprint"] = map(Footprint, *sizes)
    columns["state"] = map(_CLUSTER_STATE, columns["state"])
    columns["leases"] = map(_ids_of, columns["leases"])
    columns["cordoned"] = map(bool, columns["cordoned"])
    for name in ("cause", "doom", "reason"):
        columns[name] = map(_REASON, columns[name])
    columns["grown_at"] = repeat(0.0)
    columns["phase"] = repeat("")
    columns["group_only"] = repeat(False)
    columns["degraded"] = repeat("")
    columns["degraded_at"] = repeat(0.0)
    columns["resident"] = repeat(())
    columns["wear"] = repeat(None)
    columns["slow"] = repeat(False)
    columns["evidence"] = map(_evidence_of, columns["evidence"])
    return _make(Cluster, columns)


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


def leases_of(rows: Sequence[Row]) -> list[Lease]:
    """Return the leases of rows of `tables.leases`."""
    if not rows:
        return []
    columns = _columns(tables.leases, rows)
    columns["mode"] = map(_MODE, columns["mode"])
    columns["state"] = map(_LEASE_STATE, columns["state"])
    columns["outcome"] = map(_OUTCOME, columns["outcome"])
    for name in ("miss", "end_reason"):
        columns[name] = map(_REASON, columns[name])
    return _make(Lease, columns)


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


def waiters_of(rows: Sequence[Row]) -> list[Waiter]:
    """Return the waiters of rows of `tables.waiters`."""
    if not rows:
        return []
    columns = _columns(tables.waiters, rows)
    columns["mode"] = map(_MODE, columns["mode"])
    columns["miss"] = map(_REASON, columns["miss"])
    return _make(Waiter, columns)

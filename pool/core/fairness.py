"""Whose turn it is when several pools want the same room under a ceiling, by the pools' queue orders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from pool.core.key import Footprint
from pool.core.model import Cluster, Pool
from pool.core.policy import Share
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from pool.core.state import State

SUPPOSED_LEASE_S = 60.0
"""What a lease takes in a pool of which none has ended yet."""

LOOKED_AT = 256
"""So many pools that want room are compared with one that has some."""

FIRST = 8
"""So many of them are looked at before it."""

LEAST = 1e-6
"""The least part that a cluster takes."""

Place = tuple[float, float, float, int, str]


class Rival(NamedTuple):
    """A pool of another tenant with waiters that want room."""

    share: Share
    digest: str


def size(ceiling: Ceiling, footprint: Footprint) -> float:
    """Return the dominant share: the largest part that a cluster takes of anything that is bounded.

    1 if nothing is bounded, and more than 0 for a cluster that takes nothing of what is.
    """
    bounded = (
        (footprint.clusters, ceiling.clusters),
        (footprint.milli_cpu, ceiling.milli_cpu),
        (footprint.memory_bytes, ceiling.memory_bytes),
        (footprint.gpu, ceiling.gpu),
    )
    return max(LEAST, max((used / most for used, most in bounded if most), default=1.0))


def share(state: State, pool: Pool) -> Share:
    """Return how the tenant of a pool stands, with a lease of that pool as its next one."""
    tenant = pool.key.tenant
    lease_s = state.index[pool.digest].lease_s.value_s or SUPPOSED_LEASE_S
    weight = state.rules.tenant_weight(tenant)
    return Share(state.shares.begun(tenant), lease_s * size(state.rules.daemon, pool.key.footprint) / weight)


def _rivals(state: State, pool: Pool, among: Iterable[str]) -> Iterator[Rival]:
    """Yield the pools of other tenants that have waiters, and serve them by shares."""
    for digest in islice(among, LOOKED_AT):
        other = state.pools[digest]
        if (
            other.key.tenant != pool.key.tenant
            and state.index[digest].queue
            and state.settings(digest).queue_order.shares()
        ):
            yield Rival(share(state, other), digest)


def entitled(state: State, pool: Pool) -> list[Rival]:
    """Return those to whom a pool's free clusters go rather than to its own waiters, first served first."""
    order = state.settings(pool.digest).queue_order
    if not state.blocked or not order.shares():
        return []
    own = share(state, pool)
    return sorted(rival for rival in _rivals(state, pool, state.blocked) if order.gives_way(own, rival.share))


def before(state: State, pool: Pool) -> list[Rival]:
    """Return those who have the room that comes free before a pool's own waiters, first served first."""
    if not state.blocked or not state.settings(pool.digest).queue_order.shares():
        return []
    begun = state.shares.begun(pool.key.tenant)
    return sorted(rival for rival in _rivals(state, pool, state.blocked) if rival.share.begun < begun)[:FIRST]


def ahead(state: State, pool: Pool, position: int) -> list[tuple[str, int]]:
    """Return which pools of other tenants are given how many leases before the waiter at a place of a pool's queue."""
    if not state.blocked or not state.settings(pool.digest).queue_order.shares():
        return []
    own = share(state, pool)
    begins = own.begun + (position - 1) * own.takes
    found: list[tuple[str, int]] = []
    for other, digest in _rivals(state, pool, state.blocked):
        before = min(len(state.index[digest].queue), math.ceil((begins - other.begun) / other.takes))
        if before > 0:
            found.append((digest, before))
    return found


def place(state: State, digest: str) -> Place:
    """Return the place of a pool among those that want room: lower is looked at first."""
    queue = state.index[digest].queue
    if not queue:
        return float("inf"), 0.0, 0.0, 0, digest
    order = state.settings(digest).queue_order
    rank, asked_at, arrival, _ = queue[0]
    stands = share(state, state.pools[digest]) if order.shares() else Share(0.0, 0.0)
    return order.precedence(rank, stands), rank, asked_at, arrival, digest


def charge(state: State, pool: Pool) -> None:
    """Note that the tenant of a pool is given a lease, or a start for one, if others wait for room meanwhile."""
    if not state.settings(pool.digest).queue_order.shares():
        return
    short = any(state.index[digest].queue for digest in islice(state.blocked, LOOKED_AT))
    waiting = [rival.share.begun for rival in _rivals(state, pool, state.waiting_pools)] if short else []
    if waiting:
        state.shares.charge(pool.key.tenant, share(state, pool).takes, min(waiting))
    else:
        state.shares.rest()


def prepaid(cluster: Cluster) -> bool:
    """Tell whether a cluster's next lease was charged as it was started: its tenant has had its turn for it."""
    return cluster.uses == 0 and cluster.cause is Reason.MISS


def charge_grant(state: State, pool: Pool, cluster: Cluster) -> None:
    """Note that the tenant of a pool is given a lease of a cluster, unless its start was charged already."""
    if not prepaid(cluster):
        charge(state, pool)

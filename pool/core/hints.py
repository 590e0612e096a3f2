"""What a holder is asked for, or told of its cluster, while its lease goes on. Pure."""

from __future__ import annotations

from pool.core.model import Cluster, Lease

FINISH_HINT_SHARE = 0.1
"""A holder is told that `max_lease` comes when this share of it is left."""


def hints(lease: Lease, cluster: Cluster, now: float) -> tuple[str, ...]:
    """Return the hints for the holder of a lease, as of now."""
    found: list[str] = []
    if cluster.doom is not None or cluster.cordoned:
        found.append("drain")
    if cluster.degraded:
        found.append("degraded")
    if lease.max_until and lease.max_until - now < FINISH_HINT_SHARE * (lease.max_until - lease.granted_at):
        found.append("max_lease")
    return tuple(found)

"""What becomes of the workers of clusters that nobody uses: let go after a time, and got back when somebody asks.

How they are got back is a start in everything but its length (`pool.core.capacity`, `pool.core.clusters`).
"""

from __future__ import annotations

import math

from pool.core import idling
from pool.core.decisions import Reply
from pool.core.events import Shrunk
from pool.core.key import footprint_of
from pool.core.lifecycle import ClusterMove
from pool.core.model import Cluster, ClusterState
from pool.core.reasons import Reason
from pool.core.turn import Turn

HOLDING_LOOK_S = 300.0
"""Workers that hold objects are looked at again this often."""


def workers_due(turn: Turn, cluster_id: str) -> float | None:
    """Let the workers of an idle cluster go that its policy no longer keeps and no floor or hold protects."""
    state, now = turn.state, turn.now
    cluster = state.clusters.get(cluster_id)
    if cluster is None or cluster.state is not ClusterState.IDLE:
        return None
    pool = state.pools[cluster.pool]
    price = pool.key.warm_head_price
    if price >= 1:
        return None
    due = turn.settings(cluster.pool).reclaim.workers_until(cluster, pool, price, now)
    if due == math.inf:
        return None
    due = max(due, cluster.hold_until)
    if now < due:
        return due
    if cluster.reason is Reason.WORKERS_HOLD_OBJECTS and now < (again := cluster.changed_at + HOLDING_LOOK_S):
        return again
    if not cluster.grantable or cluster.group_only or idling.floor_needs(state, cluster, now):
        return now + idling.FLOOR_LOOK_S
    idle_s = now - cluster.idle_since
    detail = f"idle for {idle_s:.0f} s, over the {due - cluster.idle_since:.0f} s that its workers are kept"
    turn.shrink_cluster(cluster, Reason.WORKERS_IDLE_TTL, detail)
    return None


def shrunk(turn: Turn, event: Shrunk) -> Reply:
    """Workers were let go and seen gone: their room is free. Those that hold something are still there."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is None or cluster.state is not ClusterState.SHRINKING:
        return None
    if cluster.doom is not None:
        turn.stop_cluster(cluster, cluster.doom, cluster.doomed)
        return None
    shape = turn.state.key_of(cluster).shape
    footprint = footprint_of(shape, dict(event.left))
    if footprint == cluster.footprint:
        turn.move(cluster, ClusterMove.KEPT, reason=Reason.WORKERS_HOLD_OBJECTS, detail=event.detail)
    else:
        detail = f"{cluster.detail}; {event.detail}" if event.detail else cluster.detail
        turn.move(cluster, ClusterMove.SHRUNK, footprint=footprint, detail=detail)
    return None


def shrink_due(turn: Turn, cluster_id: str) -> float | None:
    """Letting workers go took too long: nobody knows how many of them are left, so the cluster is given up."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is not None and cluster.state is ClusterState.SHRINKING:
        due = cluster.changed_at + turn.settings(cluster.pool).start_timeout_s
        if turn.now < due:
            return due
        waited_s = turn.now - cluster.changed_at
        turn.stop_cluster(cluster, Reason.SHRINK_FAILED, f"its workers were not gone after {waited_s:.0f} s")
    return None


def grown(turn: Turn, cluster: Cluster) -> None:
    """A cluster has its workers back: it is idle as before, and how long it took is learned."""
    grow_s = turn.now - cluster.changed_at
    turn.state.index[cluster.pool].grow_s.add(grow_s)
    turn.move(cluster, ClusterMove.READY, grow_s=grow_s, grown_at=turn.now, phase="")

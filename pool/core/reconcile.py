"""Compare what the backend has with what the pool believes, and act on the difference.

The same look serves every case: a lost effect, a crash between commit and act, a cluster that vanished or was
replaced, one that nobody knows. It is also how a restarted daemon adopts its clusters.
"""

from __future__ import annotations

from pool.core import clusters, leases
from pool.core.decisions import Reply, StopOrphan
from pool.core.events import Listing
from pool.core.lifecycle import ClusterMove
from pool.core.model import Cluster, ClusterState
from pool.core.reasons import Reason
from pool.core.turn import Turn

EXPECTED_DRIFTS = ("start_again", "stop_again", "reset_again", "shrink_again", "grow_again")
"""Kinds that every restart of the daemon brings: effects that were under way are taken up again."""

DRIFTS = (*EXPECTED_DRIFTS, "orphan", "gone", "replaced")
"""Every kind of difference between the backend and the pool."""


def listing(turn: Turn, event: Listing) -> Reply:
    """Act on what the backend has. Absence counts only in a complete listing younger than our last change."""
    state = turn.state
    seen = {one.cluster_id: one.boot_id for one in event.seen}
    for cluster in list(state.clusters.values()):
        if cluster.id in event.busy:
            continue
        if cluster.id in seen:
            _present(turn, cluster, seen[cluster.id])
        elif event.complete and event.started_at > cluster.changed_at:
            _absent(turn, cluster)
        elif cluster.state is ClusterState.STARTING and event.complete:
            _drift(turn, "start_again")
            turn.begin_start(cluster)
    for id_ in seen:
        if id_ not in state.clusters and id_ not in event.busy:
            _drift(turn, "orphan")
            turn.effect(StopOrphan(id_))
    # Level-triggered: whatever waits is looked at again, should a wake-up have been lost.
    for digest in list(state.waiting_pools):
        turn.touch(digest)
    for digest in list(state.blocked):
        turn.touch(digest)
    return None


def _drift(turn: Turn, kind: str) -> None:
    drift = turn.decision.drift
    drift[kind] = drift.get(kind, 0) + 1


def _present(turn: Turn, cluster: Cluster, boot_id: str) -> None:
    state = cluster.state
    if state is ClusterState.STARTING:
        _drift(turn, "start_again")
        turn.begin_start(cluster)
    elif state is ClusterState.STOPPING:
        _drift(turn, "stop_again")
        turn.begin_stop(cluster)
    elif boot_id and cluster.boot_id and boot_id != cluster.boot_id:
        _drift(turn, "replaced")
        clusters.lose(turn, cluster, Reason.HEAD_REPLACED, Reason.HEAD_REPLACED.sentence)
    elif state is ClusterState.RESETTING:
        _drift(turn, "reset_again")
        # One that was clean for its group alone has had its time; after a restart it has it once more, with its data.
        turn.begin_reset(cluster, full=cluster.group_only or leases.resets_in_full(turn, cluster))
    elif state is ClusterState.SHRINKING:
        _drift(turn, "shrink_again")
        turn.begin_shrink(cluster)
    elif state is ClusterState.GROWING:
        _drift(turn, "grow_again")
        turn.begin_grow(cluster)


def _absent(turn: Turn, cluster: Cluster) -> None:
    if cluster.state is ClusterState.STARTING:
        _drift(turn, "start_again")
        turn.begin_start(cluster)
    elif cluster.state is ClusterState.STOPPING:
        turn.move(cluster, ClusterMove.GONE)
    else:
        _drift(turn, "gone")
        clusters.lose(turn, cluster, Reason.PROCESS_GONE, Reason.PROCESS_GONE.sentence)

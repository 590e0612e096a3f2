"""What becomes of a cluster that could not be proven clean: kept for a look with the evidence, then replaced."""

from __future__ import annotations

from typing import Any

from pool.core.decisions import Reply
from pool.core.events import Readmit
from pool.core.lifecycle import ClusterMove
from pool.core.model import Cluster, ClusterState, Evidence
from pool.core.reasons import Reason
from pool.core.settings import PoolSettings
from pool.core.timers import Kind
from pool.core.turn import Turn

CLEAN_AGAIN_S = 60.0
"""A cluster that somebody else runs and that could not be proven clean is tried again this often."""


def unclean(turn: Turn, cluster: Cluster, why: str, left: tuple[str, ...]) -> None:
    """Keep a cluster that is not proven clean for a look, or replace it at once; what was left is kept with it."""
    last = turn.last_lease(cluster)
    lease, holder = (last.id, last.holder) if last is not None else ("", "")
    cluster = turn.update(cluster, evidence=Evidence(lease, holder, turn.now, left))
    if _quarantine_s(turn.settings(cluster.pool)):
        keep(turn, cluster, why)
    else:
        turn.stop_cluster(cluster, Reason.RESET_FAILED, why)


def keep(turn: Turn, cluster: Cluster, why: str, reason: Reason = Reason.RESET_FAILED) -> None:
    """Keep a cluster from everybody, until somebody has looked at it or it is looked at again."""
    turn.move(cluster, ClusterMove.DIRTY, reason=reason, detail=why, hold_until=0.0)
    until = turn.now + _quarantine_s(turn.settings(cluster.pool))
    turn.state.timers.arm(Kind.QUARANTINE, cluster.id, until)


def _quarantine_s(settings: PoolSettings) -> float:
    """Return for how long what is not clean is kept: what is somebody else's, until it is tried again."""
    return settings.quarantine_s if settings.standing is None else settings.quarantine_s or CLEAN_AGAIN_S


def readmit(turn: Turn, event: Readmit) -> Reply:
    """Let a quarantined cluster serve again, if it is clean."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is not None and cluster.state is ClusterState.QUARANTINED:
        try_again(turn, cluster, doom=None)
    return None


def try_again(turn: Turn, cluster: Cluster, **fields: Any) -> None:
    """Reset a quarantined cluster once more: it serves again if it is found clean."""
    turn.begin_reset(turn.move(cluster, ClusterMove.READMIT, **fields))


def quarantine_due(turn: Turn, cluster_id: str) -> float | None:
    """A quarantine is over."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is not None and cluster.state is ClusterState.QUARANTINED:
        settings = turn.settings(cluster.pool)
        due = cluster.changed_at + _quarantine_s(settings)
        if turn.now < due:
            return due
        if settings.standing is not None and cluster.reason is not Reason.RESET_FAILED:
            return turn.now + CLEAN_AGAIN_S
        if settings.standing is not None:
            try_again(turn, cluster)
            return None
        turn.stop_cluster(cluster, Reason.QUARANTINE_OVER, cluster.detail)
    return None

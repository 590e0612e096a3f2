"""The transitions of clusters and leases, and nothing else. What a table does not have raises and changes nothing."""

from __future__ import annotations

from enum import StrEnum

from pool.core.errors import TransitionError
from pool.core.model import Cluster, ClusterState, Lease, LeaseState


class ClusterMove(StrEnum):
    """What can happen to a cluster."""

    READY = "ready"
    GRANT = "grant"
    LEASE_ENDED = "lease_ended"  # others share it still
    RELEASED = "released"  # the last lease ended by a release
    NEVER_USED = "never_used"  # the only lease was never delivered
    CLEAN = "clean"
    RESET_AGAIN = "reset_again"  # clean for its group so far, and now for everybody
    DIRTY = "dirty"
    SHRINK = "shrink"  # let the workers go
    SHRUNK = "shrunk"
    KEPT = "kept"  # its workers hold what must not be lost
    GROW = "grow"
    READMIT = "readmit"  # out of quarantine, if a reset finds it clean
    STOP = "stop"
    GONE = "gone"


class LeaseMove(StrEnum):
    """What can happen to a lease."""

    RENEW = "renew"
    END = "end"


CLUSTER_TABLE: dict[tuple[ClusterState, ClusterMove], ClusterState] = {
    (ClusterState.STARTING, ClusterMove.READY): ClusterState.IDLE,
    (ClusterState.STARTING, ClusterMove.STOP): ClusterState.STOPPING,
    (ClusterState.IDLE, ClusterMove.GRANT): ClusterState.LEASED,
    (ClusterState.IDLE, ClusterMove.RESET_AGAIN): ClusterState.RESETTING,
    (ClusterState.IDLE, ClusterMove.SHRINK): ClusterState.SHRINKING,
    (ClusterState.IDLE, ClusterMove.STOP): ClusterState.STOPPING,
    (ClusterState.LEASED, ClusterMove.GRANT): ClusterState.LEASED,
    (ClusterState.LEASED, ClusterMove.LEASE_ENDED): ClusterState.LEASED,
    (ClusterState.LEASED, ClusterMove.RELEASED): ClusterState.RESETTING,
    (ClusterState.LEASED, ClusterMove.NEVER_USED): ClusterState.IDLE,
    (ClusterState.LEASED, ClusterMove.STOP): ClusterState.STOPPING,
    (ClusterState.RESETTING, ClusterMove.CLEAN): ClusterState.IDLE,
    (ClusterState.RESETTING, ClusterMove.DIRTY): ClusterState.QUARANTINED,
    (ClusterState.RESETTING, ClusterMove.STOP): ClusterState.STOPPING,
    (ClusterState.SHRINKING, ClusterMove.SHRUNK): ClusterState.WARM_HEAD,
    (ClusterState.SHRINKING, ClusterMove.KEPT): ClusterState.IDLE,
    (ClusterState.SHRINKING, ClusterMove.STOP): ClusterState.STOPPING,
    (ClusterState.WARM_HEAD, ClusterMove.GROW): ClusterState.GROWING,
    (ClusterState.WARM_HEAD, ClusterMove.STOP): ClusterState.STOPPING,
    (ClusterState.GROWING, ClusterMove.READY): ClusterState.IDLE,
    (ClusterState.GROWING, ClusterMove.SHRINK): ClusterState.SHRINKING,
    (ClusterState.GROWING, ClusterMove.STOP): ClusterState.STOPPING,
    (ClusterState.QUARANTINED, ClusterMove.READMIT): ClusterState.RESETTING,
    (ClusterState.QUARANTINED, ClusterMove.STOP): ClusterState.STOPPING,
    (ClusterState.STOPPING, ClusterMove.GONE): ClusterState.STOPPED,
}

LEASE_TABLE: dict[tuple[LeaseState, LeaseMove], LeaseState] = {
    (LeaseState.GRANTED, LeaseMove.RENEW): LeaseState.ACTIVE,
    (LeaseState.GRANTED, LeaseMove.END): LeaseState.ENDED,
    (LeaseState.ACTIVE, LeaseMove.RENEW): LeaseState.ACTIVE,
    (LeaseState.ACTIVE, LeaseMove.END): LeaseState.ENDED,
}


def cluster_after(cluster: Cluster, move: ClusterMove) -> ClusterState:
    """Return the state that `move` leads to.

    Raises:
        TransitionError: if the table does not have it.
    """
    try:
        return CLUSTER_TABLE[cluster.state, move]
    except KeyError:
        raise TransitionError(f"{cluster.id} is {cluster.state}: {move} is not possible.") from None


def lease_after(lease: Lease, move: LeaseMove) -> LeaseState:
    """Return the state that `move` leads to.

    Raises:
        TransitionError: if the table does not have it.
    """
    try:
        return LEASE_TABLE[lease.state, move]
    except KeyError:
        raise TransitionError(f"{lease.id} is {lease.state}: {move} is not possible.") from None


def diagram() -> str:
    """Return the cluster's table as a Mermaid state diagram (the documentation is drawn from it)."""
    rows = [f"    {old} --> {new}: {move}" for (old, move), new in CLUSTER_TABLE.items()]
    return "\n".join(
        ["stateDiagram-v2", f"    [*] --> {ClusterState.STARTING}", *rows, f"    {ClusterState.STOPPED} --> [*]"]
    )

"""Clusters that somebody else runs: how many are still to be taken, and why somebody waits for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pool.core.larger import serves
from pool.core.lifecycle import ClusterMove
from pool.core.model import Cluster, ClusterState, Pool
from pool.core.reasons import Reason
from pool.core.state import State
from pool.core.turn import Turn

_WHY_NONE = (
    (ClusterState.RESETTING, Reason.ALL_RESETTING),
    (ClusterState.LEASED, Reason.ALL_LEASED),
    (ClusterState.QUARANTINED, Reason.ALL_QUARANTINED),
)


def missing(state: State, pool: Pool) -> int:
    """Return how many clusters of exactly this key are there and not taken yet."""
    standing = state.settings(pool.digest).standing
    if standing is None or not standing.clusters:
        return 0
    # One that the configuration no longer names is there in another's place, until its lease ends.
    taken = sum(
        1 for one in state.clusters.values() if one.pool == pool.digest and Reason.REMOVED not in (one.doom, one.reason)
    )
    return standing.clusters - taken


def why_none(state: State, pool: Pool) -> Reason:
    """Return why none of the clusters that could serve the key of `pool` does."""
    found = list(_candidates(state, pool))
    idle = [one for one in found if one.state is ClusterState.IDLE]
    if idle and all(one.hold_until for one in idle if one.grantable) and any(one.grantable for one in idle):
        return Reason.ALL_HELD
    for at, reason in _WHY_NONE:
        if any(one.state is at for one in found):
            return reason
    if any(one.degraded for one in idle):
        return Reason.ALL_DEGRADED
    return Reason.ALL_CORDONED if idle else Reason.NONE_REACHED


def _candidates(state: State, pool: Pool) -> Iterator[Cluster]:
    for one in state.clusters.values():
        if one.tenant == pool.key.tenant and (one.pool == pool.digest or serves(state, state.pools[one.pool], pool)):
            yield one


def reset_behind_back(turn: Turn, cluster: Cluster, detail: str, **fields: Any) -> None:
    """End what began under a lease whose holder may go on; what then becomes of the cluster, `reset_done` says.

    For clusters that cannot be recycled, since they are somebody else's.
    """
    doom = Reason.REMOVED if cluster.doom is Reason.REMOVED else Reason.HOLDER_NOT_GONE
    new = turn.move(
        cluster,
        ClusterMove.RELEASED,
        doom=doom,
        reason=doom,
        detail=detail,
        group="",
        hold_until=0.0,
        group_only=False,
        **fields,
    )
    turn.begin_reset(new)

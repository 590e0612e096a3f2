"""Clusters that somebody else runs: how many are still to be taken, which requests they serve, and why one waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pool.core.key import Node, Shape, dominates
from pool.core.lifecycle import ClusterMove
from pool.core.model import Cluster, ClusterState, Pool
from pool.core.reasons import Reason
from pool.core.state import State
from pool.core.turn import Turn

_MOST_NODES = 10_000
"""No request asks for so many."""

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


def serves(state: State, larger: Pool, pool: Pool) -> bool:
    """Tell whether the clusters of `larger` may serve those who ask for the key of `pool`."""
    standing = state.settings(larger.digest).standing
    if standing is None:
        return dominates(larger.key, pool.key)
    have, want = larger.key, pool.key
    return (
        (have.cluster_type, have.tenant) == (want.cluster_type, want.tenant)
        and (standing.any_image or have.image == want.image)
        and covers(have.shape, want.shape)
    )


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


def covers(large: Shape, small: Shape) -> bool:
    """Tell whether the nodes of `large` have room for those that `small` asks for, at their least.

    For clusters that somebody else runs: which of their nodes is called what, and how they were started, is nothing
    that a request could choose. A pod template asks for rights that nobody gives there, so it is never covered. Nodes
    asked for are placed one by one, the largest first, each where it fits first.
    """
    nodes = [large.head, *(group.node for group in large.workers for _ in range(group.min_replicas))]
    wanted = [group.node for group in small.workers for _ in range(group.min_replicas)]
    wanted.sort(key=lambda node: (node.gpu, node.milli_cpu, node.memory_bytes), reverse=True)
    if len(wanted) > _MOST_NODES or any(node.pod for node in (small.head, *wanted)):
        return False
    left = _less(nodes[0], small.head)
    if left is None:
        return False
    nodes[0] = left
    for node in wanted:
        for place, have in enumerate(nodes):
            if (left := _less(have, node)) is not None:
                nodes[place] = left
                break
        else:
            return False
    return True


def _less(have: Node, want: Node) -> Node | None:
    """Return what a node has left beside `want`, None if it has no room for it."""
    custom = dict(have.custom)
    if (
        have.milli_cpu < want.milli_cpu
        or have.gpu < want.gpu
        or have.memory_bytes < want.memory_bytes
        or have.object_store_bytes < want.object_store_bytes
        or (want.accelerator and have.accelerator != want.accelerator)
        or any(custom.get(name, 0.0) < amount for name, amount in want.custom)
    ):
        return None
    custom |= {name: custom[name] - amount for name, amount in want.custom if name in custom}
    return replace(
        have,
        milli_cpu=have.milli_cpu - want.milli_cpu,
        gpu=have.gpu - want.gpu,
        memory_bytes=have.memory_bytes - want.memory_bytes,
        object_store_bytes=have.object_store_bytes - want.object_store_bytes,
        custom=tuple(custom.items()),
    )


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

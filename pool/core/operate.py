"""What an operator asks of clusters and pools."""

from __future__ import annotations

from pool.core import capacity, leases
from pool.core.decisions import Done, Rejected, Reply
from pool.core.events import Cordon, Prewarm, Resize, Shutdown
from pool.core.model import Cluster, ClusterState
from pool.core.quarantine import try_again
from pool.core.reasons import Reason
from pool.core.turn import Turn


def cordon(turn: Turn, ask: Cordon) -> Reply:
    """Cordon, uncordon or drain a cluster, or a whole pool by its digest."""
    state = turn.state
    pool = state.pools.get(ask.target)
    if pool is not None:
        turn.update(pool, cordoned=ask.on)
        turn.touch(pool.digest)
        ids = [c.id for c in state.clusters.values() if c.pool == pool.digest] if ask.drain else []
        for id_ in ids:
            _drain(turn, state.clusters[id_])
        return Done(f"pool {pool.digest} {_verb(ask)}", tuple(ids))
    cluster = state.clusters.get(ask.target)
    if cluster is None:
        return Rejected(
            Reason.UNKNOWN_CLUSTER, f"There is no cluster or pool {ask.target}.", "List them with `warmpool clusters`."
        )
    if cluster.state is ClusterState.STOPPING:
        return Rejected(Reason.CONFLICT, f"{cluster.id} is stopping already.", "There is nothing to do.")
    if not ask.on and cluster.doom is Reason.DRAINED:
        cluster = turn.update(cluster, doom=None)
    standing = turn.settings(cluster.pool).standing is not None
    cluster = turn.update(cluster, cordoned=ask.on)
    turn.touch(cluster.pool)
    if not ask.on and standing and cluster.state is ClusterState.QUARANTINED:
        try_again(turn, cluster, doom=None)
        return Done(f"{cluster.id} serves again once it is proven clean", (cluster.id,))
    if ask.drain and standing:
        return Done(f"{cluster.id} cordoned: somebody else runs it, and it goes on", (cluster.id,))
    if ask.drain:
        _drain(turn, cluster)
    return Done(f"{cluster.id} {_verb(ask)}", (cluster.id,))


def _verb(ask: Cordon) -> str:
    return "drains" if ask.drain else "cordoned" if ask.on else "uncordoned"


def _drain(turn: Turn, cluster: Cluster) -> None:
    if turn.settings(cluster.pool).standing is not None:
        # What cannot be stopped is granted to nobody: its pool is cordoned.
        return
    if cluster.state in (ClusterState.LEASED, ClusterState.RESETTING):
        if cluster.doom is None:
            turn.update(cluster, doom=Reason.DRAINED, cordoned=True)
    elif cluster.state is not ClusterState.STOPPING:
        turn.stop_cluster(cluster, Reason.DRAINED, Reason.DRAINED.sentence)


def prewarm(turn: Turn, ask: Prewarm) -> Reply:
    """Start clusters until `count` are idle or starting, as far as the ceilings allow."""
    if turn.state.closing:
        return Rejected(Reason.SHUTDOWN, Reason.SHUTDOWN.sentence, "Ask again later.")
    if text := capacity.never_fits(turn.state, ask.key):
        return Rejected(Reason.SHAPE_TOO_LARGE, text, "Ask for a smaller shape, or raise the ceiling named.")
    pool = turn.pool(ask.key)
    index = turn.state.index[pool.digest]
    index.last_asked_at = turn.now
    have = len(index.free) + len(index.resting) + index.coming
    begun: list[str] = []
    for _ in range(ask.count - have):
        pool = turn.state.pools[pool.digest]
        blocked = capacity.start_blocked(turn.state, pool, turn.now)
        if blocked is not None:
            reason, detail = blocked
            if not begun:
                return Rejected(reason, detail, "Ask again once that has changed.")
            return Done(f"{len(begun)} starting, {have} were there; no more: {detail}", tuple(begun))
        begun.append(capacity.bring(turn, pool, Reason.PREWARM).id)
    return Done(f"{len(begun)} starting, {have} were there", tuple(begun))


def resize(turn: Turn, ask: Resize) -> Reply:
    """Set a pool's floor and ceiling over its configuration."""
    pool = turn.state.pools.get(ask.pool)
    if pool is None:
        return Rejected(Reason.UNKNOWN_POOL, f"There is no pool {ask.pool}.", "List them with `warmpool pools`.")
    min_idle = pool.min_idle if ask.min_idle is None else ask.min_idle
    most = pool.max_clusters if ask.max_clusters is None else ask.max_clusters
    if min_idle is not None and most is not None and min_idle > most:
        return Rejected(
            Reason.INVALID_REQUEST, f"min_idle {min_idle} is over max_clusters {most}.", "Lower one or raise the other."
        )
    turn.update(pool, min_idle=min_idle, max_clusters=most)
    turn.touch(pool.digest)
    set_ = {"min_idle": min_idle, "max_clusters": most}
    said = ", ".join(f"no {name}" if value is None else f"{name} {value}" for name, value in set_.items())
    return Done(f"pool {pool.digest}: {said}")


def shutdown(turn: Turn, _: Shutdown) -> Reply:
    """Stop every cluster, refuse every waiter, and start nothing again: no floor, and nobody who asks now."""
    state = turn.state
    state.closing = True
    for waiter in list(state.waiters.values()):
        leases.refuse_waiter(turn, waiter, Reason.SHUTDOWN, Reason.SHUTDOWN.sentence, "Ask again later.")
    for cluster in list(state.clusters.values()):
        if cluster.state is not ClusterState.STOPPING:
            for lease_id in cluster.leases:
                fields = turn.end_lease(state.leases[lease_id], Reason.REVOKED, Reason.SHUTDOWN.sentence)
                cluster = turn.update(state.clusters[cluster.id], **fields)
            turn.stop_cluster(cluster, Reason.SHUTDOWN, Reason.SHUTDOWN.sentence)
    return Done("every cluster is stopping")

"""What is kept for a group whose workflow has ended."""

from __future__ import annotations

from pool.core import ahead
from pool.core.decisions import Reply
from pool.core.events import GroupEnded
from pool.core.model import IDLE, RESETTING
from pool.core.state import State
from pool.core.turn import Turn


def held_groups(state: State, now: float) -> list[tuple[str, str]]:
    """Return tenant and group of what is held for a group at present, or clean for it alone."""
    found = dict.fromkeys(
        (state.pools[cluster.pool].key.tenant, cluster.group)
        for cluster in state.clusters.values()
        if cluster.state in (IDLE, RESETTING) and cluster.group and (cluster.hold_until > now or cluster.group_only)
    )
    return list(found)


def group_ended(turn: Turn, event: GroupEnded) -> Reply:
    """Hold nothing for the group any more: what is clean for it alone is reset in full, and anybody's then."""
    state = turn.state
    ahead.group_over(state, (event.tenant, event.group), turn.now)
    for digest, index in state.index.items():
        if state.pools[digest].key.tenant != event.tenant:
            continue
        ids = [*index.by_group.get(event.group, ()), *index.busy_by_group.get(event.group, ())]
        for cluster in [state.clusters[id_] for id_ in ids]:
            if cluster.state not in (IDLE, RESETTING):
                # Somebody of the group is at work all the same.
                continue
            new = turn.update(cluster, hold_until=0.0) if cluster.hold_until else cluster
            if new.state is IDLE and new.group_only:
                turn.reset_again(new)
            turn.touch(digest)
    return None

"""What idle clusters are worth that may be stopped to make room, as the daemon's eviction policy has it."""

from __future__ import annotations

from collections.abc import Iterable

from pool.core.fairness import size
from pool.core.model import Cluster
from pool.core.policy import Worth
from pool.core.settings import Ceiling
from pool.core.state import State

SUPPOSED_START_S = 60.0
"""What a start takes in a pool of which none was seen."""


def value(state: State, cluster: Cluster, ceiling: Ceiling) -> float:
    """Return what an idle cluster is worth under a ceiling; lower is evicted first."""
    eviction, index = state.rules.eviction, state.index[cluster.pool]
    if eviction is None:
        return cluster.idle_since
    start_s = index.weighed_s or SUPPOSED_START_S
    return eviction.value(
        cluster, Worth(state.ages.of(cluster.id), index.grants, start_s, size(ceiling, cluster.footprint))
    )


def in_order(state: State, clusters: Iterable[Cluster], ceiling: Ceiling) -> list[Cluster]:
    """Return idle clusters, given by how long they are idle, least valuable first."""
    eviction = state.rules.eviction
    if eviction is None or not eviction.sorts():
        return list(clusters)
    return sorted(clusters, key=lambda cluster: value(state, cluster, ceiling))

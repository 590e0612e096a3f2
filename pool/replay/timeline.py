"""What every cluster did and when, as a replay goes: what a picture of it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pool.core.decisions import Decision
from pool.core.model import Cluster, ClusterState
from pool.replay.figures import Ledger


class Spell(NamedTuple):
    """Some time that a cluster was in one state."""

    cluster: str
    pool: str
    state: ClusterState
    begins_s: float
    ends_s: float


class Timeline(Ledger):
    """A ledger that also notes what every cluster did: give it to a replay in place of its own.

    Attributes:
        spells: by when they ended.
    """

    def __init__(self, charged_s: Mapping[str, float]) -> None:
        super().__init__(charged_s)
        self.spells: list[Spell] = []

    def observe(self, decision: Decision) -> None:
        """Count and note one decision."""
        super().observe(decision)
        for old, new, _ in decision.changes:
            if type(old) is Cluster and type(new) is Cluster and old.state is not new.state:
                self._note(old, decision.now)

    def close(self, clusters: Mapping[str, Cluster], now: float) -> None:
        """Count and note the clusters that are still there at the end."""
        super().close(clusters, now)
        for cluster in clusters.values():
            self._note(cluster, now)

    def _note(self, cluster: Cluster, now: float) -> None:
        begins_s = max(cluster.changed_at, self.since_s)
        if now > begins_s:
            self.spells.append(Spell(cluster.id, cluster.pool, cluster.state, begins_s, now))

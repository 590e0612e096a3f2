"""What is counted of a replay, as its decisions are made."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pool.core.decisions import Decision
from pool.core.key import ClusterKey, footprint_of
from pool.core.model import IDLE, LEASED, STARTING, WARM_HEAD, Cluster, ClusterState, Lease, Outcome
from pool.core.settings import Prices


@dataclass(slots=True)
class PoolFigures:
    """Of one pool.

    Attributes:
        outcomes: leases by how they came by their cluster.
        state_s: cluster seconds by state.
        waits_s: of every lease, from asking to its cluster.
        started: clusters that were started.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    state_s: defaultdict[ClusterState, float] = field(default_factory=lambda: defaultdict(float))
    waits_s: list[float] = field(default_factory=list)
    started: int = 0

    @property
    def leases(self) -> int:
        """How many leases were granted."""
        return len(self.waits_s)

    @property
    def misses(self) -> int:
        """Leases that no idle cluster answered at once."""
        return self.leases - self.outcomes[Outcome.HIT]

    @property
    def idle_s(self) -> float:
        """Seconds in which clusters stood idle, with their workers or without."""
        return self.state_s[IDLE] + self.state_s[WARM_HEAD]

    @property
    def busy_s(self) -> float:
        """Seconds in which clusters were leased."""
        return self.state_s[LEASED]

    def add(self, other: PoolFigures) -> None:
        """Count what another pool has, too."""
        self.outcomes += other.outcomes
        for state, seconds in other.state_s.items():
            self.state_s[state] += seconds
        self.waits_s += other.waits_s
        self.started += other.started


def cost_of(figures: PoolFigures, key: ClusterKey, prices: Prices) -> float:
    """Return what a replay cost in one pool, as the ledger counts it: leased time costs nothing."""
    full, head = prices.idle(key.footprint), prices.idle(footprint_of(key.shape, {}))
    hours = {state: seconds / 3600 for state, seconds in figures.state_s.items() if state is not LEASED}
    unused = sum(hours[state] * (head if state is WARM_HEAD else full) for state in hours)
    return unused + prices.waiting * sum(figures.waits_s) / 3600


class Ledger:
    """Counts every decision of a replay.

    Args:
        charged_s: by cluster id, what its start is charged where starts take no time.

    Attributes:
        pools: what was counted, by digest.
        since_s: nothing before that is counted.
        left_out: leases that are not counted, by id.
    """

    def __init__(self, charged_s: Mapping[str, float]) -> None:
        self.pools: defaultdict[str, PoolFigures] = defaultdict(PoolFigures)
        self.since_s = -math.inf
        self.left_out: Collection[str] = frozenset()
        self._charged_s = charged_s

    def leave_out(self, until_s: float, leases: Collection[str]) -> None:
        """Count no lease of those, and of clusters only what they do, and which are started, from then on."""
        self.since_s, self.left_out = until_s, leases

    def observe(self, decision: Decision) -> None:
        """Count one decision."""
        now = decision.now
        for old, new, _ in decision.changes:
            if type(new) is Cluster:
                if now < self.since_s:
                    continue
                if type(old) is not Cluster:
                    self.pools[new.pool].started += 1
                elif old.state is not new.state:
                    self.pools[new.pool].state_s[old.state] += now - max(old.changed_at, self.since_s)
            elif type(new) is Lease and old is None and new.id not in self.left_out:
                self._granted(new)

    def _granted(self, lease: Lease) -> None:
        figures = self.pools[lease.pool]
        figures.outcomes[lease.outcome] += 1
        waited_s = lease.granted_at - lease.asked_at
        if lease.outcome is Outcome.COLD and self._charged_s:
            seconds = self._charged_s[lease.cluster]
            waited_s += seconds
            figures.state_s[STARTING] += seconds
        figures.waits_s.append(waited_s)

    def close(self, clusters: Mapping[str, Cluster], now: float) -> None:
        """Count the clusters that are still there at the end."""
        for cluster in clusters.values():
            self.pools[cluster.pool].state_s[cluster.state] += now - max(cluster.changed_at, self.since_s)

    def total(self) -> PoolFigures:
        """Return the figures of all pools together."""
        out = PoolFigures()
        for figures in self.pools.values():
            out.add(figures)
        return out

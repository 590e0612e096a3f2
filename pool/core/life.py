"""Which free clusters of a pool retire first, and which last.

A cluster retires at the age that `max_lifetime` gives it, or with its last lease of `max_uses`, whichever comes first.
The second time is not known; supposed is that it is leased without a pause, each time for as long as is typical.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pool.core.model import Cluster


class Limits(NamedTuple):
    """What a cluster's life is bounded by.

    Attributes:
        max_uses: grants before it retires; 0 for no limit.
        lease_s: how long a lease lasts typically.
        now: seconds since the epoch.
    """

    max_uses: int
    lease_s: float
    now: float

    def used_up_at(self, uses: int) -> float:
        """Return when a cluster of so many grants has served its last lease, at the soonest."""
        return self.now + max(0, self.max_uses - uses) * self.lease_s if self.max_uses else math.inf

    def retires_at(self, cluster: Cluster) -> float:
        """Return when a cluster retires, at the soonest; infinity for never."""
        return min(_aged_at(cluster), self.used_up_at(cluster.uses))


class ByLife:
    """Clusters in two orders, by age and by use: what retires first is first in one of them."""

    def __init__(self, clusters: Iterable[Cluster]) -> None:
        self._clusters = {cluster.id: cluster for cluster in clusters}
        self._by_age = sorted((_aged_at(cluster), id_) for id_, cluster in self._clusters.items())
        self._by_uses = sorted((cluster.uses, id_) for id_, cluster in self._clusters.items())

    def take(self, cluster: Cluster) -> None:
        """Add one."""
        self._clusters[cluster.id] = cluster
        insort(self._by_age, (_aged_at(cluster), cluster.id))
        insort(self._by_uses, (cluster.uses, cluster.id))

    def drop(self, cluster: Cluster) -> None:
        """Remove one, given as it was added."""
        del self._clusters[cluster.id]
        del self._by_age[bisect_left(self._by_age, (_aged_at(cluster), cluster.id))]
        del self._by_uses[bisect_left(self._by_uses, (cluster.uses, cluster.id))]

    def soonest(self, limits: Limits) -> Iterator[Cluster]:
        """Yield all, what retires first first."""
        aged: Iterable[tuple[float, str]] = self._by_age
        used = ((limits.used_up_at(uses), id_) for uses, id_ in reversed(self._by_uses))
        seen: set[str] = set()
        # Each is in both orders, and the least of two minima is the least of all: the first time it comes counts.
        for _, id_ in heapq.merge(aged, used):
            if id_ not in seen:
                seen.add(id_)
                yield self._clusters[id_]

    def latest(self, limits: Limits) -> Iterator[Cluster]:
        """Yield all, what retires last first.

        Both orders are gone through from their ends, until one is found that nothing below can outlive (the threshold
        algorithm of Fagin, Lotem, Naor, *Optimal aggregation algorithms for middleware*, 2003).
        """
        found: list[tuple[float, str]] = []
        seen: set[str] = set()
        for (aged_at, one), (uses, other) in zip(reversed(self._by_age), self._by_uses, strict=True):
            for id_ in (one, other):
                if id_ not in seen:
                    seen.add(id_)
                    heapq.heappush(found, (-limits.retires_at(self._clusters[id_]), id_))
            most = min(aged_at, limits.used_up_at(uses))
            while found and -found[0][0] >= most:
                yield self._clusters[heapq.heappop(found)[1]]


def _aged_at(cluster: Cluster) -> float:
    return cluster.retires_at or math.inf

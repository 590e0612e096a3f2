"""Which idle cluster is stopped where a ceiling leaves no room for one that somebody waits for."""

from __future__ import annotations

from dataclasses import dataclass

from pool.core.model import Cluster
from pool.core.policy import Worth


@dataclass(frozen=True, slots=True)
class LongestIdle:
    """What has been idle for longest: least recently used.

    No policy that cannot see what comes is better in the worst case (Sleator and Tarjan, CACM 28, 1985, for pages of
    one size and one cost).
    """

    def value(self, cluster: Cluster, worth: Worth) -> float:
        """Return since when it is idle: lower is stopped first."""
        return cluster.idle_since

    def sorts(self) -> bool:
        """Return False: the pool has its idle clusters in this order anyway."""
        return False


@dataclass(frozen=True, slots=True)
class GreedyDual:
    """What is used least for its size, and costs least to start again; what is long unused ages.

    ``value = clock + uses * start_s / size``, where the clock is the value of what was evicted last, as it was when the
    cluster was last used; uses are those of its pool's clusters that live, and the size is the largest part that a
    cluster takes of what the ceiling bounds. Source: FaasCache (Fuerst and Sharma, *FaasCache: keeping serverless
    computing alive with greedy-dual caching*, ASPLOS 2021), after Greedy-Dual-Size-Frequency (Cherkasova, 1998). A
    policy of this kind costs at most as many times the optimum as there is room for clusters (Young, *On-line file
    caching*, 1998). Meant for ``reclaim: until_evicted``. A restart keeps uses and begins with a clock of 0.
    """

    def value(self, cluster: Cluster, worth: Worth) -> float:
        """Return the value: lower is stopped first."""
        return worth.clock + worth.uses * worth.start_s / worth.size

    def sorts(self) -> bool:
        """Return True."""
        return True

"""Which idle cluster a waiter gets.

All orders first look for a cluster that the asker's own group used last, the one with most of its data first. They
differ in what comes next: HikariCP and psycopg_pool discuss the first two for connections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pool.core.model import Cluster
from pool.core.policy import IdleView


@dataclass(frozen=True, slots=True)
class MostRecentlyUsed:
    """Last in, first out: the busy stay busy, and what is not needed grows old and is reclaimed.

    Use it where idle clusters cost money (the default).
    """

    def pick(self, idle: IdleView, now: float) -> Cluster | None:
        """Return the group's own cluster, or the one most recently idle, or None."""
        own = next(idle.of_group(), None)
        return own if own is not None else next(idle.newest(), None)


@dataclass(frozen=True, slots=True)
class LeastRecentlyUsed:
    """First in, first out: use, and so wear, is spread evenly, and no cluster is reclaimed while demand is steady.

    Use it where a start is dear and idle time is not.
    """

    def pick(self, idle: IdleView, now: float) -> Cluster | None:
        """Return the group's own cluster, or the longest idle one, or None."""
        own = next(idle.of_group(), None)
        return own if own is not None else next(idle.oldest(), None)


@dataclass(frozen=True, slots=True)
class SoonestToRetire:
    """What retires first, by `max_uses` or `max_lifetime`, is used first: every start serves as many leases as it may.

    A cluster's life runs out whether it is used or not, and of two idle clusters the one that goes first anyway is best
    used while it is there. Ends are spread: clusters are worn out one after the other, and not all at once. Use it
    where clusters retire often, and try it first: on drawn workflows it saved no start (docs/policies.md). A new group
    may get a cluster that does not last for all of its tasks.
    """

    def pick(self, idle: IdleView, now: float) -> Cluster | None:
        """Return the group's own cluster, or the one that retires first, or None."""
        own = next(idle.of_group(), None)
        return own if own is not None else next(idle.soonest(), None)


@dataclass(frozen=True, slots=True)
class LatestToRetire:
    """What retires last is used first: a new group's cluster, and the data left there, lasts for all of its tasks.

    Wear is spread evenly, so that clusters that were started together are also worn out together, and what is left
    unused ends by its age. Use it where losing a group's data costs more than a start.
    """

    def pick(self, idle: IdleView, now: float) -> Cluster | None:
        """Return the group's own cluster, or the one that retires last, or None."""
        own = next(idle.of_group(), None)
        return own if own is not None else next(idle.latest(), None)


@dataclass(frozen=True, slots=True)
class Locality:
    """Where most of the group's data is, also on a cluster of a larger key: then most recently used.

    The score of a cluster is how many bytes its group left there, 0 for anybody else. A larger cluster (where
    `serve_larger` allows it) is taken instead of one of the key that was asked for if its score is higher by more than
    `least_mb`: less is sooner read from its durable copy than the larger cluster is missed. Use it for workflows whose
    tasks of different shapes hand on data. (Tasks that go to their data: Zaharia et al., *Delay scheduling*, EuroSys
    2010, whose waiting for a busy cluster is the pool's `locality_wait`, with any order.)

    Attributes:
        least_mb: by how many millions of bytes a larger cluster must have more of the group's data.

    Raises:
        ValueError: if it is out of range.
    """

    least_mb: float = 50.0

    def __post_init__(self) -> None:
        if not (self.least_mb >= 0 and math.isfinite(self.least_mb)):
            raise ValueError(f"least_mb is {self.least_mb:g}; it must be 0 or more")

    def pick(self, idle: IdleView, now: float) -> Cluster | None:
        """Return the cluster with most of the group's data, or the one most recently idle, or None."""
        own, there = next(idle.of_group(), None), next(idle.elsewhere(), None)
        here_bytes = 0 if own is None else own.resident_bytes
        if there is not None and there.resident_bytes - here_bytes > 1e6 * self.least_mb:
            return there
        return own if own is not None else next(idle.newest(), None)

"""Which idle cluster a waiter gets.

Both orders first look for a cluster that the asker's own group used last, since its data is there. They differ in
what comes next (HikariCP and psycopg_pool discuss the same choice for connections).
"""

from __future__ import annotations

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

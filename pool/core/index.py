"""Indexes of one pool, so that a decision costs the same at 100 clusters and at 100,000.

They are derived from the records: `State` calls `take` and `drop` as records come and go.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from itertools import count
from typing import Any

from pool.core import by_bytes
from pool.core.by_bytes import ByBytes
from pool.core.expected import Expected
from pool.core.key import Footprint
from pool.core.life import ByLife
from pool.core.load import Load
from pool.core.model import (
    GROWING,
    IDLE,
    LEASED,
    RESETTING,
    SHRINKING,
    STARTING,
    WARM_HEAD,
    Cluster,
    ClusterState,
    Mode,
    Waiter,
)
from pool.core.uses import Uses

Ids = OrderedDict[str, None]

_LAST = 25
"""Of so many observations a typical one is taken."""


class Typical:
    """The typical length (median) of the last times seen. An estimate: it lives in memory and is not undone.

    They are kept in order, since every miss asks for a few medians, and adds to as many.

    Attributes:
        value_s: the median, None if nothing was seen.
    """

    def __init__(self) -> None:
        self.value_s: float | None = None
        self._seen: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take one more observation."""
        seen, ordered = self._seen, self._sorted
        if len(seen) == _LAST:
            del ordered[bisect_left(ordered, seen.popleft())]
        seen.append(seconds)
        insort(ordered, seconds)
        middle = len(ordered) // 2
        self.value_s = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class PoolIndex:
    """The clusters and waiters of one pool, by what the decisions ask for.

    Attributes:
        counts: clusters by state.
        free: grantable idle clusters that are not held, longest idle first.
        held: grantable idle clusters that are held for a group, or clean for it alone.
        wanted: held clusters whose group has a waiter.
        resting: those of them that nobody asked to hold: a full reset makes them anybody's.
        degraded: idle clusters that miss workers.
        slow: resetting clusters whose reset takes so long that nobody counts on it.
        life: the free ones by when they retire; None until somebody asks for that.
        by_group: grantable idle clusters by the group that used them last, those with most of its data first.
        busy_by_group: leased or resetting clusters that hold a group's data, likewise.
        roomy: leased clusters that may take one more lease (pools that share).
        shrunk: warm heads that may get their workers back, longest without them first.
        shrunk_by_group: those of them by the group that used them last.
        starting: ids of starting and growing clusters, first begun first.
        queue: (rank, asked_at, arrival, waiter id), best first; those who came in one batch have one `asked_at`.
        granted: live leases by the second in which they were granted.
        takers: waiters that take any cluster of the pool (the others wait for their data's cluster first).
        creators: waiters that a start may serve; `local` of them wait for their data's cluster first.
        usage: of the pool's ceiling.
        load: what was seen of demand, where its sizing asks for it.
        uses: when it was used, where it is prewarmed by that.
        expected: what idle clusters are wanted for, beside those that its sizing wants.
        reserve: idle clusters that its sizing wanted at the last look, beside those of larger pools; None before.
        in_reserve: what those find who ask for it, and when that was reckoned (`pool.core.idling.reserve_of`).
        counted_on: idle clusters of larger pools that it counted on at the last look.
        grants: so far, of all its clusters that live.
    """

    def __init__(self) -> None:
        self.counts: dict[ClusterState, int] = dict.fromkeys(ClusterState, 0)
        self.free: Ids = OrderedDict()
        self.life: ByLife | None = None
        self.held: Ids = OrderedDict()
        self.wanted: Ids = OrderedDict()
        self.resting: Ids = OrderedDict()
        self.degraded: Ids = OrderedDict()
        self.slow: Ids = OrderedDict()
        self.by_group: dict[str, ByBytes] = {}
        self.busy_by_group: dict[str, ByBytes] = {}
        self.roomy: Ids = OrderedDict()
        self.shrunk: Ids = OrderedDict()
        self.shrunk_by_group: dict[str, Ids] = {}
        self.starting: Ids = OrderedDict()
        self.queue: list[tuple[float, float, int, str]] = []
        self._arrivals = count()
        self._arrived: dict[str, int] = {}
        self.waiters_by_group: dict[str, Ids] = {}
        self.granted: dict[int, int] = {}
        self.takers = 0
        self.creators = 0
        self.local = 0
        self.usage = Footprint()
        self.grants = 0
        self.start_s = Typical()
        self.charged_s = Typical()
        self.grow_s = Typical()
        self.lease_s = Typical()
        self.last_asked_at = 0.0
        self.load: Load | None = None
        self.uses = Uses()
        self.expected = Expected()
        self.reserve: int | None = None
        self.counted_on = 0
        self.in_reserve: tuple[float, Any] | None = None

    @property
    def weighed_s(self) -> float | None:
        """What a start takes typically, to weigh idle time against: what it is charged, where starts take no time."""
        charged_s = self.charged_s.value_s
        return self.start_s.value_s if charged_s is None else charged_s

    @property
    def live(self) -> int:
        """Clusters that serve or will serve."""
        counts = self.counts
        serving = counts[IDLE] + counts[LEASED] + counts[WARM_HEAD]
        return serving + self.coming

    @property
    def coming(self) -> int:
        """Clusters that will be idle, or may be grown, before long: whoever waits need not have another one begun."""
        counts = self.counts
        return counts[STARTING] + self.resetting + counts[SHRINKING] + counts[GROWING]

    @property
    def resetting(self) -> int:
        """Clusters whose reset will be done before long."""
        return self.counts[RESETTING] - len(self.slow)

    def take_cluster(self, cluster: Cluster, shares: int) -> None:
        """Add a cluster to the indexes of its state."""
        state = cluster.state
        self.counts[state] += 1
        self.grants += cluster.uses
        if state is IDLE:
            if cluster.degraded:
                self.degraded[cluster.id] = None
            if cluster.grantable:
                if cluster.hold_until or cluster.group_only:
                    self._hold(cluster)
                else:
                    self.free[cluster.id] = None
                    if self.life is not None:
                        self.life.take(cluster)
                if cluster.group:
                    by_bytes.put(self.by_group, cluster.group, cluster)
        elif state is WARM_HEAD:
            if cluster.grantable:
                self.shrunk[cluster.id] = None
                if cluster.group:
                    _put(self.shrunk_by_group, cluster.group, cluster.id)
        elif state is STARTING or state is GROWING:
            self.starting[cluster.id] = None
        elif state is LEASED or state is RESETTING:
            if cluster.group:
                by_bytes.put(self.busy_by_group, cluster.group, cluster)
            if cluster.slow:
                self.slow[cluster.id] = None
            if state is LEASED and len(cluster.leases) < shares and cluster.grantable:
                self.roomy[cluster.id] = None

    def _hold(self, cluster: Cluster) -> None:
        self.held[cluster.id] = None
        if not cluster.hold_until:
            self.resting[cluster.id] = None
        if cluster.group in self.waiters_by_group:
            self.wanted[cluster.id] = None

    def drop_cluster(self, cluster: Cluster) -> None:
        """Remove a cluster from the indexes of its state."""
        state, id_ = cluster.state, cluster.id
        self.counts[state] -= 1
        self.grants -= cluster.uses
        if state is IDLE:
            if self.free.pop(id_, self) is self:
                for ids in (self.held, self.wanted, self.resting):
                    ids.pop(id_, None)
            elif self.life is not None:
                self.life.drop(cluster)
            if cluster.degraded:
                del self.degraded[id_]
            if cluster.group:
                by_bytes.pop(self.by_group, cluster.group, id_)
        elif state is WARM_HEAD:
            self.shrunk.pop(id_, None)
            if cluster.group:
                _pop(self.shrunk_by_group, cluster.group, id_)
        elif state is STARTING or state is GROWING:
            del self.starting[id_]
        elif state is LEASED or state is RESETTING:
            if self.roomy:
                self.roomy.pop(id_, None)
            if cluster.slow:
                del self.slow[id_]
            if cluster.group:
                by_bytes.pop(self.busy_by_group, cluster.group, id_)

    def take_waiter(self, waiter: Waiter) -> None:
        """Add a waiter to the queue."""
        self._arrived[waiter.id] = next(self._arrivals)
        insort(self.queue, self._place(waiter))
        group = waiter.group
        if group:
            if group not in self.waiters_by_group:
                self.wanted.update((id_, None) for id_ in self.by_group.get(group, ()) if id_ in self.held)
            _put(self.waiters_by_group, group, waiter.id)
        self._count(waiter, 1)

    def drop_waiter(self, waiter: Waiter) -> None:
        """Remove a waiter from the queue."""
        del self.queue[self.position(waiter) - 1]
        del self._arrived[waiter.id]
        group = waiter.group
        if group:
            _pop(self.waiters_by_group, group, waiter.id)
            if group not in self.waiters_by_group:
                for id_ in self.by_group.get(group, ()):
                    self.wanted.pop(id_, None)
        self._count(waiter, -1)

    def update_waiter(self, old: Waiter, new: Waiter) -> None:
        """Note that a waiter changed; it keeps its place."""
        self._count(old, -1)
        self._count(new, 1)

    def position(self, waiter: Waiter) -> int:
        """Return the waiter's place, 1 for the first."""
        return bisect_left(self.queue, self._place(waiter)) + 1

    def _place(self, waiter: Waiter) -> tuple[float, float, int, str]:
        return waiter.rank, waiter.asked_at, self._arrived[waiter.id], waiter.id

    def _count(self, waiter: Waiter, by: int) -> None:
        if not waiter.local_until:
            self.takers += by
        if waiter.mode is Mode.WAIT_OR_CREATE:
            self.creators += by
            if waiter.local_until:
                self.local += by

    def take_lease(self, granted_at: float) -> None:
        """Count a live lease."""
        second = int(granted_at)
        self.granted[second] = self.granted.get(second, 0) + 1

    def drop_lease(self, granted_at: float) -> None:
        """Forget a live lease."""
        second = int(granted_at)
        left = self.granted[second] - 1
        if left:
            self.granted[second] = left
        else:
            del self.granted[second]

    def releases_within(self, now: float, within_s: float) -> int:
        """Return how many leases are expected to end in the next `within_s` (to the second).

        A lease is expected to last as long as is typical; one that is overdue promises nothing.
        """
        typical_s = self.lease_s.value_s
        if typical_s is None or not self.granted:
            return 0
        first = int(now - typical_s) + 1
        last = int(now - typical_s + within_s)
        return sum(self.granted.get(second, 0) for second in range(first, last + 1))


def _put(groups: dict[str, Ids], group: str, id_: str) -> None:
    ids = groups.get(group)
    if ids is None:
        ids = groups[group] = OrderedDict()
    ids[id_] = None


def _pop(groups: dict[str, Ids], group: str, id_: str) -> None:
    ids = groups.get(group)
    if ids is not None:
        ids.pop(id_, None)
        if not ids:
            del groups[group]

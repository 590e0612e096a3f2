"""Clusters by the group that used them last, each group's by how much of its data they have in memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from itertools import count
from typing import TypeVar

from pool.core.model import Cluster

G = TypeVar("G", bound=Hashable)


class ByBytes:
    """The clusters of one group. Iteration begins with what has most of its data, the latest first among equals."""

    def __init__(self) -> None:
        self._order: list[tuple[int, int, str]] = []
        self._places: dict[str, tuple[int, int, str]] = {}
        self._arrivals = count()

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._places

    def __iter__(self) -> Iterator[str]:
        for *_, id_ in self._order:
            yield id_

    @property
    def most_bytes(self) -> int:
        """How much of the data the first has."""
        return -self._order[0][0] if self._order else 0

    def take(self, cluster: Cluster) -> None:
        """Add one."""
        place = self._places[cluster.id] = (-cluster.resident_bytes, -next(self._arrivals), cluster.id)
        insort(self._order, place)

    def drop(self, id_: str) -> None:
        """Remove one, if it is there."""
        place = self._places.pop(id_, None)
        if place is not None:
            del self._order[bisect_left(self._order, place)]


def put(groups: dict[G, ByBytes], group: G, cluster: Cluster) -> None:
    """Add a cluster to a group's."""
    of_group = groups.get(group)
    if of_group is None:
        of_group = groups[group] = ByBytes()
    of_group.take(cluster)


def pop(groups: dict[G, ByBytes], group: G, id_: str) -> None:
    """Remove a cluster from a group's, if it is there; groups without clusters are not kept."""
    of_group = groups.get(group)
    if of_group is not None:
        of_group.drop(id_)
        if not of_group:
            del groups[group]

"""What is due when: heaps that hold each thing once and are corrected lazily.

A lease renewed ten times a minute must not cost ten heap entries: an entry is only a promise to look again, and
whoever looks finds the true time in the record.
"""

from __future__ import annotations

import heapq
import math
from enum import StrEnum


class Kind(StrEnum):
    """What to look at when the time has come."""

    LEASE = "lease"
    DEADLINE = "deadline"
    SEEN = "seen"
    LOCAL = "local"
    START = "start"
    RESET = "reset"
    SLOW = "slow"
    KEEP = "keep"
    WORKERS = "workers"
    SHRINK = "shrink"
    HOLD = "hold"
    REST = "rest"
    DEGRADED = "degraded"
    RETIRE = "retire"
    QUARANTINE = "quarantine"
    POOL = "pool"


SPAN_S = 1.0
"""What is due within so many seconds of each other stands in one heap."""


class Timers:
    """A set of (kind, id), each with the time at which to look at it.

    Every lease and cluster has a few. One heap of them all would be deep, and each look at it would go through memory
    that was not touched for long: so there is a heap for each span of time, which is none before its time has come.
    """

    def __init__(self) -> None:
        self._armed: dict[tuple[Kind, str], float] = {}
        self._within: dict[int, list[tuple[float, Kind, str]]] = {}
        # The spans in which something is due, a heap; and those of them that are heaps already.
        self._spans: list[int] = []
        self._heaps: set[int] = set()
        # When something is due next, None where that was not looked for.
        self._next_due: float | None = math.inf

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, kind: Kind, id_: str, due: float) -> None:
        """Look at it at `due` at the latest (infinity is never); an earlier promise stands."""
        what = (kind, id_)
        if due >= self._armed.get(what, math.inf):
            return
        self._armed[what] = due
        if self._next_due is not None and due < self._next_due:
            self._next_due = due
        span = int(due / SPAN_S)
        within = self._within.get(span)
        if within is None:
            self._within[span] = [(due, kind, id_)]
            heapq.heappush(self._spans, span)
        elif span in self._heaps:
            heapq.heappush(within, (due, kind, id_))
        else:
            within.append((due, kind, id_))

    def due(self, kind: Kind, id_: str) -> float:
        """Return when it is looked at, infinity for never."""
        return self._armed.get((kind, id_), math.inf)

    def next_due(self) -> float:
        """Return when something is due next, infinity for never."""
        if self._next_due is None:
            self._next_due = self._first()
        return self._next_due

    def pop(self, now: float) -> tuple[Kind, str] | None:
        """Return something due, which is then no longer armed, or None."""
        if self._next_due is None or self._next_due <= now:
            self._next_due = self._first()
        if self._next_due > now:
            return None
        _, kind, id_ = heapq.heappop(self._within[self._spans[0]])
        del self._armed[kind, id_]
        self._next_due = None
        return kind, id_

    def _first(self) -> float:
        """Have what is due next stand first in the first heap, and return when that is."""
        while self._spans:
            span = self._spans[0]
            within = self._within[span]
            if span not in self._heaps:
                heapq.heapify(within)
                self._heaps.add(span)
            while within:
                due, kind, id_ = within[0]
                if self._armed.get((kind, id_)) == due:
                    return due
                heapq.heappop(within)
            heapq.heappop(self._spans)
            self._heaps.discard(span)
            del self._within[span]
        return math.inf

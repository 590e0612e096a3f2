"""What is due when: a heap that holds each thing once and is corrected lazily.

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


class Timers:
    """A set of (kind, id), each with the time at which to look at it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, Kind, str]] = []
        self._armed: dict[tuple[Kind, str], float] = {}

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, kind: Kind, id_: str, due: float) -> None:
        """Look at it at `due` at the latest (infinity is never); an earlier promise stands."""
        what = (kind, id_)
        if due < self._armed.get(what, math.inf):
            self._armed[what] = due
            heapq.heappush(self._heap, (due, kind, id_))

    def next_due(self) -> float:
        """Return when something is due next, infinity for never."""
        while self._heap:
            due, kind, id_ = self._heap[0]
            if self._armed.get((kind, id_)) == due:
                return due
            heapq.heappop(self._heap)
        return math.inf

    def pop(self, now: float) -> tuple[Kind, str] | None:
        """Return something due, which is then no longer armed, or None."""
        if self.next_due() > now:
            return None
        _, kind, id_ = heapq.heappop(self._heap)
        del self._armed[kind, id_]
        return kind, id_

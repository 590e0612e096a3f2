"""When a pool was used: the rhythm of what comes again and again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

REMEMBERED = 24
"""So many gaps between uses are known of a pool, the latest: what was before is forgotten."""

TOGETHER_S = 5.0
"""Asks that are not further apart are one use."""


class Use(NamedTuple):
    """When a pool was used, and how long after that the next time."""

    at: float
    gap_s: float


class Uses:
    """The latest uses of one pool.

    Attributes:
        as_of: what was known by then is in it; 0 if it was not read from a snapshot.
        last_at: when it was used last, 0 for never.
    """

    def __init__(self) -> None:
        self.as_of = 0.0
        self.last_at = 0.0
        self.seen: deque[Use] = deque(maxlen=REMEMBERED)

    def used(self, now: float) -> None:
        """Note a use."""
        if now <= self.as_of:
            return
        gap_s = now - self.last_at
        if self.last_at and gap_s > TOGETHER_S:
            self.seen.append(Use(self.last_at, gap_s))
        self.last_at = now

"""How a head's clock stands to ours, from the ``Date`` headers of its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

RESOLUTION_S = 1.0
"""A ``Date`` is cut to the second."""


class HeadClock:
    """Bounds of (head's time - our time), which every answer narrows.

    An answer dated D that was asked for at A and came at B was made between the two, when the head's clock was at
    D to D + 1 s: so the offset is between D - B and D + 1 s - A (Cristian's algorithm). What many answers have in
    common is narrower by far than a second, since they fall at different moments of it.

    Attributes:
        now: our time: that by which spans of time will be given.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._low_s = float("-inf")
        self._high_s = float("inf")

    def __repr__(self) -> str:
        return f"<HeadClock {self._low_s:+.3f} to {self._high_s:+.3f} s>"

    def note(self, asked_at: float, came_at: float, date: str) -> None:
        """Take an answer's ``Date`` into account; what cannot be read says nothing."""
        try:
            dated = parsedate_to_datetime(date)
        except ValueError:
            return
        second = (dated if dated.tzinfo else dated.replace(tzinfo=UTC)).timestamp()
        low_s, high_s = second - came_at, second + RESOLUTION_S - asked_at
        self._low_s, self._high_s = max(self._low_s, low_s), min(self._high_s, high_s)
        if self._low_s > self._high_s:
            # A clock was set, or has drifted: what was known of it is over.
            self._low_s, self._high_s = low_s, high_s

    def window_ms(self, since: float, until: float) -> tuple[int, int]:
        """Return from when to when, in milliseconds of the head, our time from `since` to `until` can have been.

        Rather too long than too short: within it things are taken for a holder's.
        """
        low_s = self._low_s if self._low_s != float("-inf") else -RESOLUTION_S
        high_s = self._high_s if self._high_s != float("inf") else RESOLUTION_S
        return int((since + low_s) * 1000), int((until + high_s) * 1000) + 1

"""The daemon's one clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. The daemon reads it once per batch of events; the core never does."""

    def now(self) -> float:
        """Return seconds since the epoch (UTC)."""


class WallClock:
    """The system's time, never running backwards within one process.

    It advances with the monotonic clock from the wall time at the start, so that a step of the system's time ends no
    lease early.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Return seconds since the epoch (UTC)."""
        return self._offset + time.monotonic()

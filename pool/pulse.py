"""When the daemon last did what it must keep doing: the daemon writes it, the metrics show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Pulse:
    """Signs of life of the writer, in seconds of the daemon's clock.

    Attributes:
        committing_since: when the commit now under way began; None if none is.
        committed_at: when the last commit ended; 0 before the first.
        listed_at: when the backend was last asked what it has and answered completely; 0 before that.
        waiting: events that wait to be decided.
        foreign: clusters of somebody else that the last listing showed.
    """

    committing_since: float | None = None
    committed_at: float = 0.0
    listed_at: float = 0.0
    waiting: int = 0
    foreign: int = 0

    def committing_s(self, now: float) -> float:
        """Return for how long the commit now under way has run; 0 if none is."""
        return 0.0 if self.committing_since is None else max(0.0, now - self.committing_since)

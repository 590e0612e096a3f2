"""How many minutes clusters were idle before somebody came, counted per pool.

As in `pool.core.gaps`, each ask is paired with the latest release of its pool that has none yet. Old ones count less.
Estimates: they live in memory, are bounded, and are not undone with a decision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

MINUTES = 240
"""Idle times up to so many minutes are told apart, each minute from the others; longer ones are counted together."""

DEEPEST = 256
"""The stack of a pool is no deeper: below it, releases are forgotten."""

FADES_EVERY = 7
"""What was counted fades so many times in a half-life."""


class Minutes:
    """Idle times of one pool.

    Attributes:
        counts: for each minute, how many ended in it, old ones counting less.
        beyond: how many lasted longer.
        as_of: what was known by then is in it; 0 for one that was not read from a snapshot.
    """

    __slots__ = ("_faded_at", "as_of", "beyond", "counts")

    def __init__(self) -> None:
        self.counts = [0.0] * MINUTES
        self.beyond = 0.0
        self.as_of = 0.0
        self._faded_at = 0.0

    @property
    def within(self) -> float:
        """How many ended within the minutes that are told apart."""
        return sum(self.counts)

    def add(self, idle_s: float, now: float, half_life_s: float) -> None:
        """Count one that ended now."""
        since_s = now - self._faded_at
        if self._faded_at and since_s >= half_life_s / FADES_EVERY:
            left = 0.5 ** (since_s / half_life_s)
            self.counts = [count * left for count in self.counts]
            self.beyond *= left
            self._faded_at = now
        self._faded_at = self._faded_at or now
        minute = int(idle_s // 60)
        if minute < MINUTES:
            self.counts[minute] += 1.0
        else:
            self.beyond += 1.0

    def told(self) -> list[Any]:
        """Return all that a restart needs."""
        seen = {str(minute): round(count, 4) for minute, count in enumerate(self.counts) if count}
        return [self._faded_at, round(self.beyond, 4), seen]

    @staticmethod
    def of(told: Sequence[Any], as_of: float) -> Minutes:
        """Return what was told.

        Raises:
            ValueError, TypeError, IndexError: if it is not that.
        """
        faded_at, beyond, seen = told
        made = Minutes()
        made.as_of, made._faded_at, made.beyond = as_of, float(faded_at), float(beyond)
        for minute, count in dict(seen).items():
            made.counts[int(minute)] = float(count)
        return made


class IdleTimes:
    """Idle times of all pools.

    Attributes:
        unsaved: pools that have changed since the last snapshot of them.
    """

    def __init__(self) -> None:
        self.unsaved: dict[str, None] = {}
        self._of: dict[str, Minutes] = {}
        self._released: dict[str, deque[float]] = {}

    def of(self, pool: str) -> Minutes | None:
        """Return what was seen of a pool, None if nothing was."""
        return self._of.get(pool)

    def released(self, pool: str, now: float) -> None:
        """Note that a cluster of a pool comes idle."""
        self._released.setdefault(pool, deque(maxlen=DEEPEST)).append(now)

    def asked(self, pool: str, now: float, half_life_s: float) -> None:
        """Note that somebody asks: the idle time of the latest release is over."""
        released = self._released.get(pool)
        if not released:
            return
        idle_s = now - released.pop()
        minutes = self._of.setdefault(pool, Minutes())
        if now > minutes.as_of:
            minutes.add(idle_s, now, half_life_s)
            self.unsaved[pool] = None

    def told(self, name: str) -> list[Any] | None:
        """Return all that a restart needs of a pool."""
        minutes = self._of.get(name)
        return None if minutes is None else minutes.told()

    def recall(self, name: str, told: Sequence[Any], as_of: float) -> None:
        """Take over what was told of a pool.

        Raises:
            ValueError, TypeError, IndexError: if it is not that.
        """
        self._of[name] = Minutes.of(told, as_of)

"""How busy each hour of the day and each day of the week is, against the mean.

Hours and days are told apart by UTC, and multiply: a Friday's noon is as much busier than its morning as a Monday's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

HOURS, DAYS = 24, 7
HOUR_S, DAY_S, WEEK_S = 3_600.0, 86_400.0, 604_800.0

FADES_AFTER_S = 8 * WEEK_S
"""When so much time was seen, what was counted so far counts half from then on."""

SAMPLES = 24
"""A mean over a time is taken at so many moments of it at most."""


class Rhythm:
    """Counts what happens, by hour and by day.

    An hour's factor is ``(n + k p) / (e + k)``: n things happened in it, e would have at the mean rate, and p, what is
    supposed, counts like k things: the posterior mean of a Poisson rate under a gamma prior. So is a day's, with 2 k.

    Args:
        supposed: k.
        like: where p is taken from; without it, p is 1.
    """

    __slots__ = ("_at", "_cached", "_counted", "_counts", "_like", "_seen_all_s", "_seen_s", "_supposed")

    def __init__(self, supposed: float, like: Rhythm | None = None) -> None:
        self._supposed = supposed
        self._like = like
        # Hours first, then days.
        self._counts = [0.0] * (HOURS + DAYS)
        self._seen_s = [0.0] * (HOURS + DAYS)
        # Of all hours together.
        self._counted = self._seen_all_s = 0.0
        self._at = 0.0
        # Of an hour since the epoch: asked for at every event of a pool.
        self._cached = -1, 1.0

    def count(self, now: float) -> None:
        """Count one thing that happens now."""
        self.passed(now)
        self._counts[_hour(now)] += 1.0
        self._counts[_day(now)] += 1.0
        self._counted += 1.0
        self._cached = -1, 1.0

    def passed(self, now: float) -> None:
        """Count the time until now."""
        at = self._at or now
        self._seen_all_s += max(0.0, now - at)
        weeks = max(0.0, (now - at) // WEEK_S)
        if weeks:
            for slot in range(HOURS + DAYS):
                self._seen_s[slot] += weeks * WEEK_S / (HOURS if slot < HOURS else DAYS)
            at += weeks * WEEK_S
        while at < now:
            until_s = min(now, (at // HOUR_S + 1.0) * HOUR_S)
            self._seen_s[_hour(at)] += until_s - at
            self._seen_s[_day(at)] += until_s - at
            at = until_s
        self._at = max(now, self._at)
        if self._seen_all_s > FADES_AFTER_S:
            self._counted /= 2.0
            self._seen_all_s /= 2.0
            self._counts = [n / 2.0 for n in self._counts]
            self._seen_s = [seconds / 2.0 for seconds in self._seen_s]

    def factor(self, at: float) -> float:
        """Return how busy a time is against the mean, as was known when it was asked for first in this hour."""
        hour = int(at // HOUR_S)
        if self._cached[0] != hour:
            found = self._slot(_hour(at), self._supposed) * self._slot(_day(at), 2.0 * self._supposed)
            self._cached = hour, found
        return self._cached[1]

    def mean(self, from_s: float, until_s: float) -> float:
        """Return how busy the times between two are on average, against the mean of all."""
        if until_s - from_s <= HOUR_S:
            return self.factor((from_s + until_s) / 2)
        samples = min(SAMPLES, math.ceil((until_s - from_s) / HOUR_S))
        step_s = (until_s - from_s) / samples
        return sum(self.factor(from_s + (n + 0.5) * step_s) for n in range(samples)) / samples

    def told(self) -> list[Any]:
        """Return all that a restart needs."""
        return [self._at, [round(n, 4) for n in self._counts], [round(seconds, 1) for seconds in self._seen_s]]

    def recall(self, told: Sequence[Any]) -> None:
        """Take over what was told.

        Raises:
            ValueError, TypeError: if it is not that.
        """
        at, counts, seen_s = told
        if not len(counts) == len(seen_s) == HOURS + DAYS:
            raise ValueError("another number of hours and days")
        self._at, self._counts, self._seen_s = float(at), [float(n) for n in counts], [float(s) for s in seen_s]
        self._cached = -1, 1.0
        self._counted, self._seen_all_s = sum(self._counts[HOURS:]), sum(self._seen_s[HOURS:])

    def _slot(self, slot: int, supposed: float) -> float:
        like = 1.0 if self._like is None else self._like._slot(slot, self._like._supposed * supposed / self._supposed)
        if not self._seen_all_s:
            return like
        expected = self._counted / self._seen_all_s * self._seen_s[slot]
        return (self._counts[slot] + supposed * like) / (expected + supposed)


def _hour(at: float) -> int:
    return int(at // HOUR_S) % HOURS


def _day(at: float) -> int:
    # The epoch began on a Thursday; which one is called 0 matters to nobody.
    return HOURS + int(at // DAY_S) % DAYS

"""What was seen of a pool's demand, for policies of sizing. Every event takes the same small time.

Old demand counts less: an ask `half_life_s` ago counts half. Weights grow with time instead of shrinking the past, as
those of `pool.core.gaps` do. Estimates: they live in memory, are bounded, are not undone with a decision, and are made
anew after a restart from the leases that history has.
"""

from __future__ import annotations

import math
from collections import deque

DEEPEST = 64
"""So many clusters more than were in use are told apart; what needed more needed as many."""

LEAST_SEEN_S = 3_600.0
"""Demand is counted as if nobody had asked for so long before: the first ask says little of how often they come."""

_REBASE = 2.0**40
"""When the weight of now is so large, weights are made small again."""


class Load:
    """The demand of one pool.

    Args:
        half_life_s: an ask that long ago counts half.
        now: from when on it is seen.
    """

    __slots__ = (
        "_asks", "_at", "_before", "_deep", "_ends", "_exposed", "_half_life_s", "_in_use", "_leased_s", "_lows",
        "_squares", "_sum", "_unforeseen", "_weight",
    )  # fmt: skip

    def __init__(self, half_life_s: float, now: float) -> None:
        self._half_life_s = half_life_s
        self._at = now
        self._weight = 1.0
        self._before = LEAST_SEEN_S
        self._asks = self._ends = self._leased_s = 0.0
        # Integrals over time, weighted: of 1, of how many are in use, and of its square.
        self._exposed = self._sum = self._squares = 0.0
        self._in_use = 0
        self._unforeseen = 0
        # The least number that was in use, unforeseen, since each of these times: both rise from front to back.
        self._lows: deque[tuple[float, int]] = deque([(now, 0)])
        self._deep: list[float] = []

    def asked(self, now: float, lead_s: float, *, foreseen: bool = False) -> None:
        """Somebody asks for a cluster.

        Args:
            now: seconds since the epoch.
            lead_s: what a start takes.
            foreseen: a cluster was wanted for this very ask, so that it took none of those that stand for others.
        """
        weight = self._pass(now)
        self._asks += weight
        self._in_use += 1
        if foreseen:
            return
        self._change_unforeseen(1, now)
        lows = self._lows
        while len(lows) > 1 and lows[1][0] < now - lead_s:
            lows.popleft()
        depth = min(self._unforeseen - lows[0][1], DEEPEST)
        while len(self._deep) < depth:
            self._deep.append(0.0)
        self._deep[depth - 1] += weight

    def ended(self, now: float, lasted_s: float | None, *, foreseen: bool = False) -> None:
        """Somebody who asked needs no cluster any more: after `lasted_s` of a lease, or without one."""
        weight = self._pass(now)
        self._in_use = max(0, self._in_use - 1)
        if lasted_s is not None:
            self._ends += weight
            self._leased_s += weight * lasted_s
        if not foreseen and self._unforeseen:
            self._change_unforeseen(-1, now)

    def rate_per_s(self, now: float) -> float:
        """Return how often a cluster is asked for."""
        self._pass(now)
        return self._asks / self._seen()

    def lease_s(self) -> float | None:
        """Return how long a lease lasts on average, None if none ended."""
        return self._leased_s / self._ends if self._ends else None

    def peakedness(self, now: float) -> float:
        """Return the variance of how many clusters are in use at once, over its mean: 1 for Poisson arrivals.

        Source: A. E. Eckberg, *Generalized peakedness of teletraffic processes*, 1983; W. Whitt, *Heavy-traffic
        approximations for service systems with blocking*, 1984.
        """
        self._pass(now)
        if not self._exposed or not self._sum:
            return 1.0
        mean = self._sum / self._exposed
        return max(0.0, self._squares / self._exposed - mean * mean) / mean

    def exceeds(self, now: float, lead_s: float) -> list[float]:
        """Return how likely it is that, within the time of a start, at least 1, 2, ... clusters more are needed.

        That is ``1 - exp(-rate * lead)``, with the rate at which asks came that needed the n-th cluster beyond the
        least that was in use in the time of a start before. More than it returns were never needed.
        """
        self._pass(now)
        seen, out, rate = self._seen(), [0.0] * len(self._deep), 0.0
        for n in range(len(out) - 1, -1, -1):
            # As many as n are needed whenever more are.
            rate = max(rate, self._deep[n] / seen)
            out[n] = -math.expm1(-rate * lead_s)
        return out

    def _seen(self) -> float:
        """Return for how long demand was seen, in seconds weighted like the asks."""
        return self._exposed + self._before

    def _pass(self, now: float) -> float:
        """Count the time until now, and return the weight of now."""
        rise = math.log(2.0) / self._half_life_s
        # What is so long ago counts for nothing, however long exactly.
        passed = rise * min(max(0.0, now - self._at), 200.0 * self._half_life_s)
        exposed = self._weight * math.expm1(passed) / rise
        self._exposed += exposed
        self._sum += exposed * self._in_use
        self._squares += exposed * self._in_use**2
        self._at = max(now, self._at)
        self._weight *= math.exp(passed)
        if self._weight > _REBASE:
            for name in ("_asks", "_ends", "_leased_s", "_exposed", "_before", "_sum", "_squares"):
                setattr(self, name, getattr(self, name) / self._weight)
            self._deep = [value / self._weight for value in self._deep]
            self._weight = 1.0
        return self._weight

    def _change_unforeseen(self, by: int, now: float) -> None:
        """Note that more or fewer are in use that nobody foresaw."""
        lows, number = self._lows, self._unforeseen + by
        self._unforeseen = number
        since = now
        while lows and lows[-1][1] >= number:
            since = lows.pop()[0]
        if len(lows) >= DEEPEST:
            lows.popleft()
        lows.append((since, number))

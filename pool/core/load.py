"""What was seen of a pool's demand, for policies of sizing. Every event takes the same small time.

Old demand counts less: an ask `half_life_s` ago counts half. Weights grow with time instead of shrinking the past, as
those of `pool.core.gaps` do. What a pool alone says too little of, it takes from what all pools have in common
(`pool.core.habits`). Estimates: they live in memory, are bounded, are not undone with a decision, and are made
anew after a restart from the leases that history has.
"""

from __future__ import annotations

import math
from collections import deque

from pool.core.habits import TOGETHER_S, Habits

DEEPEST = 64
"""So many clusters more than were in use are told apart; what needed more needed as many."""

LEAST_SEEN_S = 3_600.0
"""Demand is counted as if nobody had asked for so long before: the first ask says little of how often they come."""

OTHERS = 50.0
"""How many come at once is supposed to be as in all pools, as if so many bursts of the pool said so."""

_REBASE = 2.0**40
"""When the weight of now is so large, weights are made small again."""

_WEIGHTED = (
    "_before", "_burst_asks", "_burst_groups", "_bursts", "_busy", "_exposed",
    "_squares", "_sum",
)  # fmt: skip


class Load:
    """The demand of one pool.

    Args:
        half_life_s: an ask that long ago counts half.
        now: from when on it is seen.
        habits: what all pools have in common; without them, all that is known is what this one saw.
    """

    __slots__ = (
        "_at", "_before", "_burst_asks", "_burst_at", "_burst_groups", "_bursts", "_busy", "_deep",
        "_exceeds", "_exposed", "_habits", "_half_life_s", "_in_use", "_lows", "_nth", "_rhythm",
        "_squares", "_sum", "_together", "_unforeseen", "_usual_by", "_usually", "_weight",
    )  # fmt: skip

    def __init__(self, half_life_s: float, now: float, habits: Habits | None = None) -> None:
        self._half_life_s = half_life_s
        self._at = now
        self._weight = 1.0
        self._before = LEAST_SEEN_S
        # Integrals over time, weighted: of 1, of how many are in use, and of its square.
        self._exposed = self._sum = self._squares = 0.0
        self._in_use = 0
        self._unforeseen = 0
        # The least number that was in use, unforeseen, since each of these times: both rise from front to back.
        self._lows: deque[tuple[float, int]] = deque([(now, 0)])
        self._deep: list[float] = []
        self._habits = habits
        self._rhythm = None if habits is None else habits.own()
        # Integral over time, weighted, of how busy each time usually is.
        self._busy = 0.0
        # Bursts that nobody foresaw, the groups in them, and their asks; when the last one began, and its groups.
        self._bursts = self._burst_groups = self._burst_asks = 0.0
        self._burst_at, self._nth = -math.inf, 0
        self._together: set[str] = set()
        # What all pools say of this one's bursts, and what they said it of.
        self._usually: list[float] = []
        self._usual_by: list[float] | None = None
        # What a decision asks for several times, and for which time and start it is.
        self._exceeds: tuple[float, float, list[float]] | None = None

    def asked(self, now: float, lead_s: float, *, group: str = "", foreseen: bool = False) -> None:
        """Somebody asks for a cluster.

        Args:
            now: seconds since the epoch.
            lead_s: what a start takes.
            group: whose; those of one burst are told apart by it, and whoever is of none is one more.
            foreseen: a cluster was wanted for this very ask, so that it took none of those that stand for others.
        """
        weight = self._pass(now)
        self._in_use += 1
        if foreseen:
            return
        self._count_burst(group, now, weight)
        self._change_unforeseen(1, now)
        lows = self._lows
        while len(lows) > 1 and lows[1][0] < now - lead_s:
            lows.popleft()
        depth = min(self._unforeseen - lows[0][1], DEEPEST)
        while len(self._deep) < depth:
            self._deep.append(0.0)
        self._deep[depth - 1] += weight

    def ended(self, now: float, *, foreseen: bool = False) -> None:
        """Somebody who asked needs no cluster any more."""
        self._pass(now)
        self._in_use = max(0, self._in_use - 1)
        if not foreseen and self._unforeseen:
            self._change_unforeseen(-1, now)

    def in_use(self, now: float) -> float:
        """Return how many clusters are in use on average, with what waits for one."""
        self._pass(now)
        return self._sum / self._seen()

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

        That is ``1 - exp(-rate * lead)``, with the rate at which asks come, at this hour, that need the n-th cluster
        beyond the least that was in use in the time of a start before. It is the rate of bursts times the share of them
        that need so many: ``(own + OTHERS P) / (bursts + OTHERS)``, where P is the share in all pools, with as many
        clusters for each group as this pool's groups ask for. More than it returns were never needed.
        """
        weight = self._pass(now)
        if not self._bursts:
            return []
        if self._exceeds is not None and self._exceeds[:2] == (now, lead_s):
            return self._exceeds[2]
        usual = self._usual()
        others = OTHERS * weight if usual else 0.0
        scale = self._bursts / (self._bursts + others) / self._seen_busy()
        if self._rhythm is not None:
            scale *= self._rhythm.factor(now)
        out, rate = [0.0] * max(len(self._deep), len(usual)), 0.0
        for n in range(len(out) - 1, -1, -1):
            needed = self._deep[n] if n < len(self._deep) else 0.0
            if n < len(usual):
                needed += others * usual[n]
            # As many as n are needed whenever more are.
            rate = max(rate, needed * scale)
            out[n] = -math.expm1(-rate * lead_s)
        self._exceeds = now, lead_s, out
        return out

    def _usual(self) -> list[float]:
        """Return how likely it is, by all pools, that a burst needs at least 1, 2, ... clusters of this one."""
        if self._habits is None:
            return []
        at_least = self._habits.at_least()
        if at_least is not self._usual_by:
            each = self._burst_asks / self._burst_groups
            deepest = min(DEEPEST, int(each * len(at_least) + 1e-9))
            self._usual_by = at_least
            self._usually = [at_least[math.ceil(n / each - 1e-9) - 1] for n in range(1, deepest + 1)]
        return self._usually

    def _count_burst(self, group: str, now: float, weight: float) -> None:
        """Count an ask that nobody foresaw, as one of a burst."""
        self._exceeds = self._usual_by = None
        if now - self._burst_at > TOGETHER_S:
            self._bursts += weight
            self._burst_at, self._nth = now, 0
            self._together.clear()
            if self._rhythm is not None:
                self._rhythm.count(now)
        self._burst_asks += weight
        if group in self._together:
            return
        if group and len(self._together) < DEEPEST:
            self._together.add(group)
        self._nth += 1
        self._burst_groups += weight
        if self._habits is not None:
            self._habits.came(self._nth, now)

    def _seen(self) -> float:
        """Return for how long demand was seen, in seconds weighted like the asks."""
        return self._exposed + self._before

    def _seen_busy(self) -> float:
        """Return the same, with each time as long as it is busy usually."""
        return self._busy + self._before

    def _pass(self, now: float) -> float:
        """Count the time until now, and return the weight of now."""
        if now <= self._at:
            return self._weight
        rise = math.log(2.0) / self._half_life_s
        # What is so long ago counts for nothing, however long exactly.
        passed = rise * min(max(0.0, now - self._at), 200.0 * self._half_life_s)
        exposed = self._weight * math.expm1(passed) / rise
        self._exposed += exposed
        self._sum += exposed * self._in_use
        self._squares += exposed * self._in_use**2
        self._busy += exposed if self._rhythm is None else exposed * self._rhythm.mean(self._at, now)
        self._at = now
        self._weight *= math.exp(passed)
        if self._weight > _REBASE:
            for name in _WEIGHTED:
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

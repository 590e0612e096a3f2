"""What was seen of a pool's demand, for policies of sizing. Every event takes the same small time.

Old demand counts less: an ask `half_life_s` ago counts half. Weights grow with time instead of shrinking the past, as
those of `pool.core.gaps` do. What a pool alone says too little of, it takes from what all pools have in common
(`pool.core.habits`). Estimates: they live in memory, are bounded, are not undone with a decision, and are made
anew after a restart from the leases that history has.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pool.core.habits import TOGETHER_S, Habits

DEEPEST = 64
"""So many clusters more than were in use are told apart; what needed more needed as many."""

LEAST_SEEN_S = 3_600.0
"""Demand is counted as if nobody had asked for so long before: the first ask says little of how often they come."""

SUPPOSED_START_S = 60.0
"""What a start is supposed to take before one was seen."""

OTHERS = 1_000.0
"""How many come at once is supposed to be as in all pools, as if so many bursts of the pool said so."""

GOOD_FOR_S = 60.0
"""What was reckoned of demand is good for so long, if nobody asks: it changes with the hour."""

_REBASE = 2.0**40
"""When the weight of now is so large, weights are made small again."""

_WEIGHTED = ("_before", "_bursts", "_busy", "_exposed", "_squares", "_sum")


class Chances:
    """How likely it is that at least 1, 2, ... clusters more are needed: never rises. Each is reckoned when it is read.

    Args:
        needed: how often so many were needed, weighted.
        widths: by how many clusters a group asks for, how often it did, weighted.
        at_least: how likely it is, by all pools, that a burst has at least 1, 2, ... groups.
        others: how much these say of it, weighted.
        scale: by which a weight becomes the number that is expected in the time of a start.
    """

    __slots__ = ("_at_least", "_known", "_len", "_needed", "_others", "_scale", "_widths")

    def __init__(
        self,
        needed: Sequence[float],
        widths: Mapping[int, float],
        at_least: Sequence[float],
        others: float,
        scale: float,
    ) -> None:
        self._needed = needed
        whole = sum(widths.values())
        self._widths = [(width, weight / whole) for width, weight in widths.items()] if others else []
        self._at_least = at_least
        self._others = others
        self._scale = scale
        widest = max(widths, default=0) * len(at_least) if others else 0
        self._len = max(len(needed), min(DEEPEST, widest))
        self._known: dict[int, float] = {}

    def __len__(self) -> int:
        return self._len

    def __getitem__(self, n: int) -> float:
        found = self._known.get(n)
        if found is None:
            if n >= self._len:
                raise IndexError(n)
            found = self._known[n] = self._reckon(n)
        return found

    def _reckon(self, n: int) -> float:
        rate = self._needed[n] if n < len(self._needed) else 0.0
        for width, share in self._widths:
            groups = n // width
            if groups < len(self._at_least):
                rate += self._others * share * self._at_least[groups]
        return -math.expm1(-rate * self._scale)

    def __iter__(self) -> Iterator[float]:
        return (self[n] for n in range(self._len))


NEVER = Chances((), {}, (), 0.0, 0.0)


class Load:
    """The demand of one pool, and of the larger ones whose clusters may serve it: they have their reserve in common.

    Args:
        half_life_s: an ask that long ago counts half.
        now: from when on it is seen.
        habits: what all pools have in common; without them, all that is known is what this one saw.
    """

    __slots__ = (
        "_at", "_before", "_burst_at", "_bursts", "_busy", "_deep", "_exceeds", "_exposed", "_habits",
        "_half_life_s", "_in_use", "_lows", "_needed", "_nth", "_own", "_own_unforeseen", "_rhythm", "_squares",
        "_sum", "_together", "_unforeseen", "_weight", "_widths",
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
        # Of both, how many of the pool itself.
        self._own = self._own_unforeseen = 0
        # The least number that was in use, unforeseen, since each of these times: both rise from front to back.
        self._lows: deque[tuple[float, int]] = deque([(now, 0)])
        # How often the n-th more was needed, and how often that or one beyond it.
        self._deep: list[float] = []
        self._needed: list[float] = []
        self._habits = habits
        self._rhythm = None if habits is None else habits.own()
        # Integral over time, weighted, of how busy each time usually is.
        self._busy = 0.0
        # Bursts that nobody foresaw; when the last one began, how many groups it has, and what each asked for.
        self._bursts = 0.0
        self._burst_at, self._nth = -math.inf, 0
        self._together: dict[str, int] = {}
        # How often a group of a burst asked for 1, 2, ... clusters.
        self._widths: dict[int, float] = {}
        # What a decision asks for several times: when it was reckoned, and for which start.
        self._exceeds: tuple[float, float, Chances] | None = None

    def asked(
        self, now: float, lead_s: float, *, group: str = "", foreseen: bool = False, larger: bool = False
    ) -> None:
        """Somebody asks for a cluster.

        Args:
            now: seconds since the epoch.
            lead_s: what a start takes.
            group: whose; those of one burst are told apart by it, and whoever is of none is one more.
            foreseen: it was known that it would come: it is no reason to have more stand ready for what is not.
            larger: it is one of a larger pool that is asked for: all pools learn of that from that one.
        """
        weight = self._pass(now)
        self._in_use += 1
        if not larger:
            self._own += 1
            self._own_unforeseen += not foreseen
        if foreseen:
            return
        self._count_burst(group, now, weight, larger=larger)
        self._change_unforeseen(1, now)
        lows = self._lows
        while len(lows) > 1 and lows[1][0] < now - lead_s:
            lows.popleft()
        depth = min(self._unforeseen - lows[0][1], DEEPEST)
        while len(self._deep) < depth:
            self._deep.append(0.0)
            self._needed.append(0.0)
        self._deep[depth - 1] += weight
        # As many as n are needed whenever more are.
        for n in range(depth - 1, -1, -1):
            if self._needed[n] >= self._deep[depth - 1]:
                break
            self._needed[n] = self._deep[depth - 1]

    def ended(self, now: float, *, foreseen: bool = False, larger: bool = False) -> bool:
        """Somebody who asked needs no cluster any more; return whether it was counted that they do.

        Args:
            now: seconds since the epoch.
            foreseen: as it was when they asked.
            larger: it was one of a larger pool.
        """
        self._pass(now)
        if not larger:
            if not self._own:
                return False
            self._own -= 1
            if not foreseen:
                self._own_unforeseen = max(0, self._own_unforeseen - 1)
        self._in_use = max(0, self._in_use - 1)
        if not foreseen and self._unforeseen:
            self._change_unforeseen(-1, now)
        return True

    def count_larger(self, larger: Iterable[Load], now: float) -> None:
        """Take for what is in use in larger pools what these have counted of their own: others may be larger now."""
        self._pass(now)
        in_use, unforeseen = self._own, self._own_unforeseen
        for load in larger:
            in_use += load._own
            unforeseen += load._own_unforeseen
        self._in_use = in_use
        if unforeseen != self._unforeseen:
            self._change_unforeseen(unforeseen - self._unforeseen, now)

    @property
    def now_in_use(self) -> int:
        """How many clusters are in use, or waited for, of the pool and of the larger ones."""
        return self._in_use

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

    def exceeds(self, now: float, lead_s: float) -> Chances:
        """Return how likely it is that, within the time of a start, at least 1, 2, ... clusters more are needed.

        That is ``1 - exp(-rate * lead)``, with the rate at which asks come, at this hour, that need the n-th cluster
        beyond the least that was in use in the time of a start before. It is the rate of bursts times the share of them
        that need so many: ``(own + OTHERS P) / (bursts + OTHERS)``, where P is the share by the bursts of all pools,
        with as many clusters for each group as groups asked for here, each as often. More than it returns were never
        needed.
        """
        known = self._exceeds
        if known is not None and known[1] == lead_s and 0.0 <= now - known[0] < GOOD_FOR_S:
            return known[2]
        weight = self._pass(now)
        if not self._bursts:
            return NEVER
        at_least = [] if self._habits is None else self._habits.at_least()
        others = OTHERS * weight if at_least else 0.0
        scale = self._bursts / (self._bursts + others) / self._seen_busy() * lead_s
        if self._rhythm is not None:
            scale *= self._rhythm.factor(now)
        found = Chances(self._needed, self._widths, at_least, others, scale)
        self._exceeds = now, lead_s, found
        return found

    def _count_burst(self, group: str, now: float, weight: float, *, larger: bool) -> None:
        """Count an ask that nobody foresaw, as one of a burst."""
        self._exceeds = None
        if now - self._burst_at > TOGETHER_S:
            self._bursts += weight
            self._burst_at, self._nth = now, 0
            self._together.clear()
            if self._rhythm is not None:
                self._rhythm.count(now)
        width = min(DEEPEST, self._together.get(group, 0) + 1)
        self._widths[width] = self._widths.get(width, 0.0) + weight
        if width > 1:
            self._widths[width - 1] = max(0.0, self._widths[width - 1] - weight)
        if group and (width > 1 or len(self._together) < DEEPEST):
            self._together[group] = width
        if width > 1 or larger:
            return
        self._nth += 1
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
            self._exceeds = None
            self._needed = [value / self._weight for value in self._needed]
            self._widths = {width: value / self._weight for width, value in self._widths.items()}
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

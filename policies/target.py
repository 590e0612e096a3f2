"""What a start is worth where the operator says what to reach instead of what things cost.

Of all ways to reach a share of hits, keeping clusters by one price of a start is the one with least idle time: each
cluster is kept as long as another second of it buys more than that price. So the price is what has to be found. After
each lease it moves a little, up if the lease missed the target and down if it met it::

    log worth += step * (target - met)        met is 1 or 0

The step is ten times `STEP` at first and `STEP` after 90 leases, so that it comes near soon and is steady then. It
rests where as many leases meet the target as should: stochastic approximation of a quantile (Robbins and Monro, *A
stochastic approximation method*, 1951). Whatever comes, over n later leases the share that met it is off by exactly as
much as the logarithm has moved meanwhile, over ``STEP * n``, as long as no bound is touched: the steps add up to that
(Gibbs and Candès, *Adaptive conformal inference under distribution shift*, NeurIPS 2021, proposition 4.1). A miss
raises the price by 5 % at most then, and at 95 % twenty hits take that back: too slow to swing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pool.core.aims import Aim

STEP = 0.05
"""By how much of the difference between met and wanted the logarithm of the worth moves with each lease."""

HASTE, SETTLED = 10.0, 90.0
"""By so many times more at first, and less so with each lease until so many were seen."""

MOST_TIMES = 64.0
"""A start is worth at most so many times, and at least so small a part, of what it would be worth without a target."""

BOUNDS = (-math.log(MOST_TIMES), math.log(MOST_TIMES))
"""The least and the most of its logarithm."""

LATELY = 200.0
"""What was met lately is told of so many leases."""

P95 = 0.95


@dataclass(frozen=True, slots=True)
class Target:
    """What to reach.

    Attributes:
        share: of the leases, more than 0 and less than 1.
        wait_s: that are granted within so many seconds; 0 has them answered at once by an idle cluster.
    """

    share: float
    wait_s: float = 0.0

    def next(self, aim: Aim, hit: bool, waited_s: float, bounds: tuple[float, float] = BOUNDS) -> Aim:
        """Return a pool's aim after one more lease.

        Args:
            aim: before it.
            hit: whether an idle cluster answered it at once.
            waited_s: how long it was waited for.
            bounds: of the logarithm. Where it would change nothing it does not go, and so need not come back from.
        """
        met = hit or (self.wait_s > 0 and waited_s <= self.wait_s)
        least, most = bounds
        step = STEP * max(1.0, HASTE - (HASTE - 1.0) * aim.seen / SETTLED)
        log_worth = min(most, max(least, aim.log_worth + step * (self.share - met)))
        seen = min(LATELY, aim.seen + 1.0)
        return Aim(log_worth, aim.met + (met - aim.met) / seen, seen)

    def times(self, aim: Aim) -> float:
        """Return how many times more a start is worth by that, in steps: few different worths are decided by."""
        return math.exp(round(aim.log_worth / STEP) * STEP)

    def said(self, aim: Aim, bounds: tuple[float, float] = BOUNDS) -> str:
        """Return what is to be reached, and what is, in numbers."""
        within = f"within {self.wait_s:g} s" if self.wait_s else "at once"
        wanted = f"{100 * self.share:g}% of leases {within}"
        lately = f"of the last {aim.seen:.0f} it was {aim.met:.1%}" if aim.seen else "none was seen yet"
        if aim.log_worth >= bounds[1]:
            return f"{wanted}: {lately}, and idle time alone does not reach it: the worth is at its most"
        return f"{wanted}: {lately}"

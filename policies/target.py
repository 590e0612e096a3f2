"""What a start is worth where the operator says what to reach instead of what things cost.

Of all ways to reach a share of hits, keeping clusters by one price of a start is the one with least idle time: each
cluster is kept as long as another second of it buys more than that price. So the price is what has to be found. After
each lease it moves a little, up if the lease missed the target and down if it met it::

    log worth += step * (target - met)        met is 1 or 0

For the key of a pool the step is ten times `STEP` at first and `STEP` after 90 leases, so that it comes near soon and
is steady then. What a whole configured pool has ready begins near what is right, has many leases, and its first misses
are of what nobody had asked for, which no price would have answered: there it is `STEADY_STEP` all the time. It rests
where as many leases meet the target as should: stochastic approximation of a quantile (Robbins and Monro, *A stochastic
approximation method*, 1951). Whatever comes, over n later leases the share that met it is off by exactly as much as the
logarithm has moved meanwhile, over ``step * n``, as long as no bound is touched: the steps add up to that (Gibbs and
Candès, *Adaptive conformal inference under distribution shift*, NeurIPS 2021, proposition 4.1). A miss raises the price
by 5 % at most then, and at 95 % twenty hits take that back: too slow to swing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from pool.core.aims import Aim

STEP = 0.05
"""By how much of the difference between met and wanted the logarithm of the worth moves with each lease."""

STEADY_STEP = 0.025
"""The same for all keys of a configured pool. Prices that swing buy less: see docs/policies.md for twice as much."""

HASTE, SETTLED = 10.0, 90.0
"""By so many times more at first, and less so with each lease until so many were seen."""

MOST_TIMES = 64.0
"""A start is worth at most so many times, and at least so small a part, of what it would be worth without a target."""

BOUNDS = (-math.log(MOST_TIMES), math.log(MOST_TIMES))
"""The least and the most of its logarithm."""

LATELY = 200.0
"""What was met lately is told of so many leases."""

P95 = 0.95


class Targeted(Protocol):
    """A policy that may have a target instead of a price."""

    @property
    def hits(self) -> float:
        """The share of leases to be answered at once; 0 for no such target."""

    @property
    def wait_p95_s(self) -> float:
        """Within what time 95 % of leases are to be granted; 0 for no such target."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to reach.

    Attributes:
        share: of the leases, more than 0 and less than 1.
        wait_s: that are granted within so many seconds; 0 has them answered at once by an idle cluster.
        steady: whether it is that of a whole configured pool.
    """

    share: float
    wait_s: float = 0.0
    steady: bool = False

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
        step = STEADY_STEP if self.steady else STEP * max(1.0, HASTE - (HASTE - 1.0) * aim.seen / SETTLED)
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


SAYS_WORTH = ("break_even_s", "start_worth", "hits", "wait_p95_s")
"""The options of a policy that say what a start is worth."""


def target_of(hits: float, wait_p95_s: float, *, steady: bool = False) -> Target | None:
    """Return what is to be reached, None for no target."""
    if hits:
        return Target(hits, steady=steady)
    return Target(P95, wait_p95_s, steady) if wait_p95_s else None


def checked_target(policy: Targeted) -> None:
    """Refuse what is no target, or stands beside a price.

    Raises:
        ValueError: if it is out of range, or more than one option says what a start is worth.
    """
    if not 0 <= policy.hits < 1:
        raise ValueError(f"hits is {policy.hits:g}; it must be a share of at least 0 and less than 1, such as 0.99")
    if not (policy.wait_p95_s >= 0 and math.isfinite(policy.wait_p95_s)):
        raise ValueError(f"wait_p95 is {policy.wait_p95_s:g} s; it must be 0 or more")
    if (said := [name for name in SAYS_WORTH if getattr(policy, name)]) and len(said) > 1:
        one, other = (name.removesuffix("_s") for name in said[:2])
        raise ValueError(f"gives both {one} and {other}, which each say what a start is worth; give one of them")

"""Square-root staffing: what is in use on average, and a safety margin that grows with its root."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from policies.sizing import required
from policies.ski_rental import checked_half_life
from pool.core.aims import Aim
from pool.core.policy import Demand, Saving, surely


def staffing(rho: float, peakedness: float, probability: float) -> float:
    """Return ``rho + z sqrt(peakedness rho)``, where the normal distribution stays below z with `probability`.

    Args:
        rho: clusters in use on average: the offered load.
        peakedness: variance of the number in use over its mean.
        probability: that so many are enough.
    """
    return rho + NormalDist().inv_cdf(probability) * math.sqrt(peakedness * rho)


@dataclass(frozen=True, slots=True)
class SquareRoot:
    """Enough clusters that an ask finds one with the wanted probability, by the rate of asks now.

    ``S = rho + z sqrt(peakedness rho)`` in all, so ``ceil(S) - leased`` idle ones; rho is how many are in use on
    average, z the normal quantile of `probability`. By Little's law rho is also the rate of asks times the mean lease,
    but where a few leases last for days that product says nothing: a burst after one would want hundreds. Source: W.
    Whitt, *Heavy-traffic approximations for service systems with blocking*, AT&T Bell Laboratories Technical Journal 63
    (1984), for infinitely many servers with bursty arrivals. For pools of many clusters; where few are in use, the
    normal distribution says little.

    Attributes:
        probability: that an ask finds an idle cluster, over 0.5 and below 1.
        half_life_s: demand that long ago counts half: the shorter, the closer it follows the time of day.

    Raises:
        ValueError: if one is out of range.
    """

    probability: float = 0.95
    half_life_s: float = 3_600.0

    def __post_init__(self) -> None:
        if not 0.5 < self.probability < 1:
            raise ValueError(f"probability is {self.probability:g}; it must be over 0.5 and below 1")
        checked_half_life(self.half_life_s)

    def wants(self) -> bool:
        """Return True."""
        return True

    def idle_target(self, demand: Demand, now: float) -> int:
        """Return the number of idle clusters wanted now."""
        least, load = required(demand), demand.load
        if load is None or not (rho := load.in_use(now)):
            return least
        wanted = staffing(rho, load.peakedness(now), self.probability)
        return max(least, math.ceil(wanted) - demand.leased)

    def aims(self) -> bool:
        """Return False."""
        return False

    def aim(self, aim: Aim, hit: bool, waited_s: float) -> Aim:
        """Return the aim as it is."""
        return aim

    def saving(self, demand: Demand, now: float) -> Saving:
        """Return that as many as are wanted are, whatever they cost: it has no price."""
        return surely(self.idle_target(demand, now))

    def price_s(self, demand: Demand) -> None:
        """Return None: it has no price."""

    def why(self, demand: Demand, now: float) -> str:
        """Return why it is that number, in numbers."""
        if demand.load is None or not (rho := demand.load.in_use(now)):
            return ""
        peakedness = demand.load.peakedness(now)
        wanted = staffing(rho, peakedness, self.probability)
        return (
            f"{rho:.3g} in use on average, with a peakedness of {peakedness:.2f}, want {math.ceil(wanted)} clusters in"
            f" all for {self.probability:.1%}"
        )

"""Clusters made ready just before a workflow asks for them, as workflows that began alike did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import NormalDist

from policies.worth import SUPPOSED_START_S, Worth
from pool.core.policy import NO_RESERVE, Reserved, Span
from pool.core.workflows import Delay

LEAST_SAVED = 0.03
"""What does not save such a share of what is to be saved is left: it would mostly be ready after the ask."""

LEAST_SAVED_S = 1.0
"""What can save no more idle time than that is not looked at."""

_PLACES = tuple(n / 2 for n in range(-8, 7))
"""Quantiles at which a delay is looked at, in standard deviations of its logarithm."""

_BELOW = (0.0, *(NormalDist().cdf((one + other) / 2) for one, other in pairwise(_PLACES)), 1.0)
_MASSES = tuple(other - one for one, other in pairwise(_BELOW))
_LEFT = tuple(1.0 - below for below in _BELOW[:-1])


@dataclass(frozen=True, slots=True)
class JustInTime(Worth):
    """A cluster is ready at the time that is expected to cost least, for as long as it may be asked for.

    Ready at t it costs, for an ask that comes with probability p after a delay D,
    ``p (E[max(D - t, 0)] + T* P(D < t)) + (1 - p) (u - t + start)``: its idle time until the ask, a start if it was
    asked for before t, and all its time until u where nobody asks. Not to start one costs ``p T*``. Where the pool's
    sizing has a reserve, which the ask finds otherwise, T* is what a miss costs times the chance that none of it is
    left: what is used of it is replaced by a start that would have been made for the ask. D is log-normal,
    from what was seen; t is one of its quantiles at half standard deviations, and u its third. Source: the newsvendor
    in time; when to wake what has been let go, given the distribution of the idle period (Irani, Shukla, Gupta,
    *Online strategies for dynamic power management*, 2003).

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start; 0 takes it from the price by which `sizing` has
            clusters ready, and from the starts where there is none.
        start_worth: how many idle seconds cost as much as a second of starting; 0 takes it from the pool's prices,
            and 30 where there are none.

    Raises:
        ValueError: if one is out of range.
    """

    def span(self, likely: float, delay: Delay, start_s: float | None, reserved: Reserved = NO_RESERVE) -> Span | None:
        """Return from when to when a cluster is to be ready, in seconds after that from which the delay counts.

        Args:
            likely: how likely it is that it is asked for, from 0 to 1.
            delay: after which.
            start_s: what a start takes typically, None if none was seen.
            reserved: what it finds otherwise.

        Returns:
            None if that would cost more than it saves.
        """
        lead_s = SUPPOSED_START_S if start_s is None else start_s
        price_s = None if self.break_even_s or self.start_worth else reserved.price_s
        worth_s = (self.worth_s(start_s) if price_s is None else price_s) * reserved.lacks
        if reserved.begun:
            worth_s += lead_s * (1.0 - reserved.lacks)
        if likely * worth_s < LEAST_SAVED_S:
            return None
        mean, spread = delay.mean, delay.spread
        times = [math.exp(mean + spread * place) for place in _PLACES]
        until_s = times[-1]
        parts = [mass * time for mass, time in zip(_MASSES, times, strict=True)]
        whole, best, best_s = sum(parts), likely * worth_s * (1.0 - LEAST_SAVED), -1.0
        for time_s, left, before_s in zip(times, _LEFT, accumulate(parts, initial=0.0), strict=False):
            waits_s = (whole - before_s) - left * time_s
            cost = likely * (waits_s + worth_s * (1.0 - left)) + (1.0 - likely) * (until_s - time_s + lead_s)
            if cost < best:
                best, best_s = cost, time_s
        return None if best_s < 0 else Span(best_s, until_s)

"""When an idle cluster is stopped, by the minutes that its pool's idle times took.

Source: the keep-alive part of the hybrid histogram policy (Shahrad et al., *Serverless in the Wild*, USENIX ATC 2020,
section 4.2): idle times are counted in bins of one minute over four hours, and what is used again is kept until almost
all of them would be over. Starting a cluster anew just before it is needed is no part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from policies.reclaim import Whole
from policies.ski_rental import checked_half_life
from pool.core.idle_times import MINUTES, Minutes
from pool.core.model import Cluster, Pool

RANGE_S = 60.0 * MINUTES
"""The longest that a cluster is kept."""

TAIL, MARGIN = 0.99, 1.1
"""It is kept until so many of the idle times are over, and by this much longer."""

FEW = 10.0
"""So few idle times say nothing."""

SPREAD = 2.0
"""Idle times whose bins differ by less than this (coefficient of variation of their counts) say nothing either."""

MOSTLY_BEYOND = 0.5
"""Where so large a share of all idle times is longer than the range, it is not worth waiting for the others' end."""


@dataclass(frozen=True, slots=True)
class Histogram(Whole):
    """Keep an idle cluster for 1.1 times the 99th percentile of its pool's idle times.

    Where fewer than 10 were seen, or where they are spread so evenly that the histogram has no shape, it is kept for
    the whole range of 4 hours. Where half of them or more are longer than that, the paper predicts the next use with a
    time series, in order to start a cluster before it; here what is seen within the range decides alone, if it has a
    shape, and else nothing is kept. An idle time of a week ago counts half, where the paper keeps all.

    Attributes:
        half_life_s: an idle time that long ago counts half.

    Raises:
        ValueError: if it is out of range.
    """

    half_life_s: float = 604_800.0

    def __post_init__(self) -> None:
        checked_half_life(self.half_life_s)

    def keep_s(self, seen: Minutes) -> float:
        """Return for how long clusters of a pool are kept."""
        return self._decided(seen)[0]

    def why(self, seen: Minutes) -> str:
        """Return why clusters of a pool are kept for so long, in numbers."""
        return self._decided(seen)[1]

    def _decided(self, seen: Minutes) -> tuple[float, str]:
        within, beyond = seen.within, seen.beyond
        count = f"{within + beyond:.0f} idle times of its pool count (old ones less)"
        if within + beyond < FEW:
            return RANGE_S, f"{count}, too few to say anything but the whole range"
        shaped = within >= FEW and variation(seen.counts) >= SPREAD
        mostly = beyond >= MOSTLY_BEYOND * (within + beyond)
        if not shaped and mostly:
            return 0.0, f"{count}, {beyond / (within + beyond):.0%} of them longer than {RANGE_S / 3600:g} h"
        if not shaped:
            return RANGE_S, f"{count}, spread too evenly to say anything but the whole range"
        kept_s = min(RANGE_S, MARGIN * tail_s(seen.counts))
        ended = f"{TAIL:.0%} of those within {RANGE_S / 3600:g} h end within {kept_s / MARGIN:.0f} s"
        return kept_s, f"{count}, {ended}, and {MARGIN:g} times that is waited"

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return when to stop a cluster of a pool of which nothing was seen: after the whole range."""
        return cluster.idle_since + RANGE_S

    def counts(self) -> bool:
        """Return True."""
        return True


def variation(counts: list[float]) -> float:
    """Return the coefficient of variation of counts, 0 where nothing was counted."""
    mean = sum(counts) / len(counts)
    if not mean:
        return 0.0
    squares = sum(count * count for count in counts) / len(counts)
    return math.sqrt(max(0.0, squares - mean * mean)) / mean


def tail_s(counts: list[float]) -> float:
    """Return the end of the minute in which the `TAIL` of what was counted is over, in seconds."""
    left = TAIL * sum(counts)
    for minute, count in enumerate(counts):
        left -= count
        if left <= 1e-9:
            return 60.0 * (minute + 1)
    return RANGE_S

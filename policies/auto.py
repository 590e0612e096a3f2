"""The default: a learned idle time that needs to know nothing but what a start is worth, and measures that too."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from policies.learned import Learned
from pool.core.gaps import Situation
from pool.core.model import Cluster, Pool

SUPPOSED_START_S = 60.0
"""What a start is supposed to take before one was seen: about what KubeRay takes."""
UNPRICED = 30.0
"""What a second of starting is worth where no prices say it, in idle seconds."""
LEAST_S = 60.0
"""A start is worth so many idle seconds at least: a task and the next are often that far apart."""


@dataclass(frozen=True, slots=True)
class Auto(Learned):
    """`Learned`, with the break-even time from what starts of the pool were seen to take, unless it is given.

    ``T* = start_worth * (median of the last starts)``, and at least `LEAST_S`.

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start; 0 takes it from the starts.
        start_worth: how many idle seconds cost as much as a second of starting: that of the cluster itself, and of who
            waits for it. Where an hour of a cluster costs 2 and one of a person 58, it is 30. 0 takes it from the
            pool's prices, and `UNPRICED` where there are none.

    Raises:
        ValueError: if one is out of range.
    """

    break_even_s: float = 0.0
    start_worth: float = 0.0

    def __post_init__(self) -> None:
        Learned.__post_init__(self)
        if not (self.start_worth >= 0 and math.isfinite(self.start_worth)):
            raise ValueError(f"start_worth is {self.start_worth:g}; it must be 0 or more")

    def priced(self, start_worth: float) -> Auto:
        """Return the same where prices say what a second of starting is worth; what was given to it counts."""
        return self if self.break_even_s or self.start_worth else replace(self, start_worth=start_worth)

    def break_even_in(self, situation: Situation) -> float:
        """Return T* in a situation, in seconds."""
        return self._of(SUPPOSED_START_S if situation.start_s is None else situation.start_s)

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return when to stop a cluster of whose demand nothing is known: at its break-even time."""
        start_s = SUPPOSED_START_S if cluster.ready_at is None else cluster.ready_at - cluster.created_at
        return cluster.idle_since + self._of(start_s)

    def _of(self, start_s: float) -> float:
        return self.break_even_s or max(LEAST_S, (self.start_worth or UNPRICED) * start_s)

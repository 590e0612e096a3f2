"""The default: a learned idle time that needs to know nothing but what a start is worth, and finds that too."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from policies.learned import Learned
from policies.target import BOUNDS, SAYS_WORTH, Target, checked_target, target_of
from policies.worth import LEAST_S, SUPPOSED_START_S, UNPRICED, checked_start_worth, worth_s
from pool.core.aims import Aim
from pool.core.gaps import Choice, Situation
from pool.core.model import Cluster, Pool

MOST_S = 86_400.0
"""And so many at most, for a target."""

_NO_AIM = Aim()


@dataclass(frozen=True, slots=True)
class Auto(Learned):
    """`Learned`, with the break-even time from what starts of the pool were seen to take, unless it is given.

    ``T* = start_worth * (median of the last starts)``, and at least `LEAST_S`. With a target (`hits` or `wait_p95_s`)
    that is where it begins, and `policies.target` finds what it takes, pool by pool.

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start; 0 takes it from the starts.
        start_worth: how many idle seconds cost as much as a second of starting: that of the cluster itself, and of who
            waits for it. Where an hour of a cluster costs 2 and one of a person 58, it is 30. 0 takes it from the
            pool's prices, and `UNPRICED` where there are none.
        hits: the share of leases to be answered at once, at least cost, from 0 to 1; 0 for no such target.
        wait_p95_s: within what time 95 % of leases are to be granted, at least cost; 0 for no such target.

    Raises:
        ValueError: if one is out of range, or more than one says what a start is worth.
    """

    break_even_s: float = 0.0
    start_worth: float = 0.0
    hits: float = 0.0
    wait_p95_s: float = 0.0

    def __post_init__(self) -> None:
        Learned.__post_init__(self)
        checked_start_worth(self.start_worth)
        checked_target(self)

    @property
    def target(self) -> Target | None:
        """Return what is to be reached, None if a price says what a start is worth."""
        return target_of(self.hits, self.wait_p95_s)

    def aims(self) -> bool:
        """Return True if it has a target."""
        return bool(self.hits or self.wait_p95_s)

    def aim(self, aim: Aim, hit: bool, waited_s: float, start_s: float | None) -> Aim:
        """Return a pool's aim after one more lease."""
        target = self.target
        return aim if target is None else target.next(aim, hit, waited_s, _bounds(start_s))

    def priced(self, start_worth: float) -> Auto:
        """Return the same where prices say what a second of starting is worth; what was given to it counts."""
        return self if any(getattr(self, name) for name in SAYS_WORTH) else replace(self, start_worth=start_worth)

    def break_even_in(self, situation: Situation) -> float:
        """Return T* in a situation, in seconds."""
        return self.break_even_s or self._of(_taken(situation.start_s), situation.aim)

    def why(self, situation: Situation, chosen: Choice) -> str:
        """Return why a cluster is kept for so long, in numbers."""
        said, target = Learned.why(self, situation, chosen), self.target
        if target is None:
            return said
        return f"{said}, for a target of {target.said(situation.aim, _bounds(situation.start_s))}"

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return when to stop a cluster of whose demand nothing is known: at its break-even time."""
        start_s = None if cluster.ready_at is None else cluster.ready_at - cluster.created_at
        return cluster.idle_since + self._of(_taken(start_s))

    def _of(self, start_s: float, aim: Aim = _NO_AIM) -> float:
        target = self.target
        if target is not None:
            return min(MOST_S, max(LEAST_S, UNPRICED * start_s * target.times(aim)))
        return worth_s(self.break_even_s, self.start_worth, start_s)


def _taken(start_s: float | None) -> float:
    """Return what a start takes."""
    return SUPPOSED_START_S if start_s is None else start_s


def _bounds(start_s: float | None) -> tuple[float, float]:
    """Return between what the worth of a start matters, as logarithms of how many times more it is."""
    begins_s = max(1.0, UNPRICED * _taken(start_s))
    least, most = BOUNDS
    return max(least, math.log(LEAST_S / begins_s)), min(most, math.log(MOST_S / begins_s))

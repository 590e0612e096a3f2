"""As many idle clusters as pay for themselves, by the demand that was seen."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

from policies.sizing import required
from policies.ski_rental import checked_half_life
from policies.worth import SUPPOSED_START_S, Worth
from pool.core.policy import Demand, Falling, Saving


def newsvendor(exceeds: Falling, short: float, over: float) -> int:
    """Return the smallest S with ``P(D <= S) >= short / (short + over)``.

    Args:
        exceeds: ``P(D >= 1), P(D >= 2), ...``, which never rises; 0 beyond its end.
        short: what it costs to have one too few.
        over: what it costs to have one too many.
    """
    most = over / (short + over)
    return bisect_left(exceeds, True, key=lambda more: more <= most)


@dataclass(frozen=True, slots=True)
class Newsvendor(Worth):
    """The number of idle clusters for which one more would cost more than it saves.

    The smallest S with ``P(D <= S) >= T* / (T* + L)``. D is how many clusters more than now will be needed within the
    time L that a start takes, after which what was used up is replaced; to have one too many costs L idle seconds, to
    have one too few a start, worth T*. Source: the newsvendor's critical fractile (Arrow, Harris, Marschak, *Optimal
    inventory policy*, 1951) in a base-stock policy with lead time L. Demand is what was seen (`Load.exceeds`), by hour
    and day, and not a named distribution: workflows ask for several at once.

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start; 0 takes it from the starts.
        start_worth: how many idle seconds cost as much as a second of starting; 0 takes it from the pool's prices,
            and 30 where there are none.
        half_life_s: demand that long ago counts half.

    Raises:
        ValueError: if one is out of range.
    """

    half_life_s: float = 604_800.0

    def __post_init__(self) -> None:
        Worth.__post_init__(self)
        checked_half_life(self.half_life_s)

    def wants(self) -> bool:
        """Return True."""
        return True

    def idle_target(self, demand: Demand, now: float) -> int:
        """Return the number of idle clusters wanted now."""
        least = required(demand)
        if demand.load is None:
            return least
        lead_s = demand.start_s or SUPPOSED_START_S
        exceeds = demand.load.exceeds(now, lead_s)
        return max(least, newsvendor(exceeds, self.worth_s(demand.start_s), lead_s))

    def saving(self, demand: Demand, now: float) -> Saving:
        """Return what idle clusters save: the n-th pays for itself if ``P(D >= n) (T* + L) / L > 1``."""
        lead_s = demand.start_s or SUPPOSED_START_S
        likely = () if demand.load is None else demand.load.exceeds(now, lead_s)
        return Saving(likely, (self.worth_s(demand.start_s) + lead_s) / lead_s)

    def why(self, demand: Demand, now: float) -> str:
        """Return why it is that number, in numbers."""
        if demand.load is None:
            return ""
        lead_s, worth_s = demand.start_s or SUPPOSED_START_S, self.worth_s(demand.start_s)
        exceeds = demand.load.exceeds(now, lead_s)
        pays = newsvendor(exceeds, worth_s, lead_s)
        at = [n for n in (pays, pays + 1) if 0 < n <= len(exceeds) and exceeds[n - 1] > 0]
        often = " and ".join(f"a {_nth(n)} one every {_every_h(exceeds[n - 1], lead_s):.3g} h" for n in at)
        return (
            f"{pays} idle clusters pay for themselves: at this hour {often or 'none'} would be needed, and a start is"
            f" worth {worth_s / 3600:.3g} h of idle time"
        )


def _every_h(chance: float, within_s: float) -> float:
    """Return how many hours lie on average between what has this chance to happen within a time."""
    return within_s / -math.log1p(-min(chance, 1.0 - 1e-12)) / 3600


def _nth(n: int) -> str:
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"

"""As many idle clusters as pay for themselves, by the demand that was seen."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

from policies.sizing import required
from policies.ski_rental import checked_half_life
from policies.target import Target, checked_target, target_of
from policies.worth import LEAST_S, SUPPOSED_START_S, UNPRICED, Worth
from pool.core.aims import Aim
from pool.core.policy import Demand, Falling, Saving

MOST_S = 1_209_600.0
"""For a target, a start is worth so many idle seconds at most: two weeks, of which little more is known."""


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

    With a target (`hits` or `wait_p95_s`), `policies.target` finds what a start is worth, one price for all keys of a
    configured pool: so what idle clusters cost is the least. T* is that by what such a cluster costs. It begins at
    ``share / (1 - share)`` half hours: if a pool is asked every half hour, what one ask of so many needs beyond the
    others is needed that seldom.

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start; 0 takes it from the starts.
        start_worth: how many idle seconds cost as much as a second of starting; 0 takes it from the pool's prices,
            and 30 where there are none.
        half_life_s: demand that long ago counts half.
        hits: the share of leases to be answered at once, at least cost, from 0 to 1; 0 for no such target.
        wait_p95_s: within what time 95 % of leases are to be granted, at least cost; 0 for no such target.

    Raises:
        ValueError: if one is out of range, or more than one says what a start is worth.
    """

    half_life_s: float = 604_800.0
    hits: float = 0.0
    wait_p95_s: float = 0.0

    def __post_init__(self) -> None:
        Worth.__post_init__(self)
        checked_half_life(self.half_life_s)
        checked_target(self)

    @property
    def target(self) -> Target | None:
        """Return what is to be reached, None if a price says what a start is worth."""
        return target_of(self.hits, self.wait_p95_s, steady=True)

    def priced(self, start_worth: float) -> Newsvendor:
        """Return the same where prices say what a second of starting is worth; a target, or what was given, counts."""
        return self if self.target else Worth.priced(self, start_worth)

    def aims(self) -> bool:
        """Return True if it has a target."""
        return bool(self.hits or self.wait_p95_s)

    def aim(self, aim: Aim, hit: bool, waited_s: float) -> Aim:
        """Return the aim after one more lease."""
        target = self.target
        return aim if target is None else target.next(aim, hit, waited_s, _bounds(target))

    def price_s(self, demand: Demand) -> float:
        """Return T*, in idle seconds of a cluster of the pool."""
        if self.break_even_s:
            return self.break_even_s
        target = self.target
        if target is None:
            return self.worth_s(demand.start_s)
        return min(MOST_S, max(LEAST_S, _begins_s(target) * target.times(demand.aim) / demand.dear))

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
        return max(least, newsvendor(exceeds, self.price_s(demand), lead_s))

    def saving(self, demand: Demand, now: float) -> Saving:
        """Return what idle clusters save: the n-th pays for itself if ``P(D >= n) (T* + L) / L > 1``."""
        lead_s = demand.start_s or SUPPOSED_START_S
        likely = () if demand.load is None else demand.load.exceeds(now, lead_s)
        return Saving(likely, (self.price_s(demand) + lead_s) / lead_s)

    def why(self, demand: Demand, now: float) -> str:
        """Return why it is that number, in numbers."""
        if demand.load is None:
            return ""
        lead_s, worth_s = demand.start_s or SUPPOSED_START_S, self.price_s(demand)
        exceeds = demand.load.exceeds(now, lead_s)
        pays = newsvendor(exceeds, worth_s, lead_s)
        at = [n for n in (pays, pays + 1) if 0 < n <= len(exceeds) and exceeds[n - 1] > 0]
        often = " and ".join(f"a {_nth(n)} one every {_span(_every_s(exceeds[n - 1], lead_s))}" for n in at)
        target = self.target
        aimed = "" if target is None else f", for a target of {target.said(demand.aim, _bounds(target))}"
        return (
            f"{pays} idle {'cluster pays for itself' if pays == 1 else 'clusters pay for themselves'}: at this hour"
            f" {often or 'none'} would be needed, and a start is worth {_span(worth_s)} of idle time{aimed}"
        )


def _begins_s(target: Target) -> float:
    """Return what a start is worth before anything was seen."""
    return UNPRICED * SUPPOSED_START_S * target.share / (1.0 - target.share)


def _bounds(target: Target) -> tuple[float, float]:
    """Return between what the worth of a start matters, as logarithms of how many times more it is."""
    begins_s = _begins_s(target)
    return math.log(LEAST_S / begins_s), math.log(MOST_S / begins_s)


def _every_s(chance: float, within_s: float) -> float:
    """Return how many seconds lie on average between what has this chance to happen within a time."""
    return within_s / -math.log1p(-min(chance, 1.0 - 1e-12))


def _span(seconds: float) -> str:
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"


def _nth(n: int) -> str:
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"

"""When an idle cluster is stopped, as learned from the gaps that were seen.

Source: the least of ``c E[min(gap, t)] + F P(gap > t)`` over the idle time t is optimal for a known distribution of
gaps (Ferragut, Rodríguez, Paganini, *Optimizing TTL caches under heavy-tailed demands*, SIGMETRICS 2016; Irani,
Shukla, Gupta, *Online strategies for dynamic power management*, 2003). Here the distribution is learned, for classes
of situations: the pool, and how long ago it was asked for. A class with few gaps borrows from a wider one, up to all
pools: its mean is drawn towards the wider one's as if so many gaps of that had been seen (empirical Bayes). A situation
that may be followed by another one, in which is decided anew, costs what that one is expected to cost (temporal
differences: Sutton, *Learning to predict by the methods of temporal differences*, 1988). Old gaps count less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from policies.ski_rental import BreakEven, checked_half_life
from pool.core.aims import Aim
from pool.core.gaps import BINS, TIMES_S, Choice, Class, Curve, Situation, weighed

BORROWED = (10.0, 10.0, 5.0, 5.0)
"""How many gaps each class borrows from the next one, and the widest from what is supposed."""

_CHAINS = tuple(tuple(zip(chain, BORROWED, strict=True)) for chain in ((3, 1, 2, 0), (5, 1, 4, 0)))
"""Of the six classes of a situation: which borrows from which, narrowest first, and how many gaps."""

ENOUGH = 0.01
"""A class whose narrower ones have seen so much that it would count for less is left out."""

SUPPOSED_RATE = 1.2
"""How often somebody is supposed to come in a break-even time: more than once, as else nothing would be kept."""

DOUBT = 0.03
"""To keep a cluster is to be expected to cost less than not to, by this share.

What not keeping costs is known, and what keeping costs is estimated, for many times: the least of them is more likely
one that is taken for too little (Smith, Winkler, *The optimizer's curse*, Management Science 52, 2006).
"""

LONGEST_AGO_S = 1e6
_LONGEST_AGO = int(LONGEST_AGO_S).bit_length()

_MIDDLES_S = (0.0, *((before + time_s) / 2 for before, time_s in pairwise(TIMES_S)))
_NEXT_S = (*_MIDDLES_S[1:], TIMES_S[-1])
"""What a gap that is longer than each of `TIMES_S` costs at least, if it is kept for any longer."""


_Row = tuple[float, float, float, float, float]
"""Of one of `TIMES_S`: itself, what ends in its bin costs, what ends later costs at least, what is stopped then costs,
and how much is supposed to end in its bin."""


@lru_cache(maxsize=1024)
def _rows(break_even_s: float) -> tuple[_Row, ...]:
    """Return what of each of `TIMES_S` depends on the break-even time alone.

    Before anything was seen, somebody is supposed to come within the break-even time just often enough to be waited
    for, and not later: so a cluster is kept for the break-even time until gaps say otherwise, which costs at most twice
    the optimum. That is a curve of weight 1, which led to nothing.
    """
    left = [1.0]
    left += [math.exp(-SUPPOSED_RATE * min(1.0, t / break_even_s)) if break_even_s else 1.0 for t in TIMES_S]
    supposed = [one - other for one, other in pairwise(left)]
    stopped_s = [time_s + break_even_s for time_s in TIMES_S]
    return tuple(zip(TIMES_S, _MIDDLES_S, _NEXT_S, stopped_s, supposed, strict=True))


_Part = tuple[float, float, list[float], list[float]]
"""A share, and of a curve its weight, how much ended when, and what it led to."""

_FEW = 3
"""Of so many curves, or fewer, most mixtures are made, beside what is supposed."""

_NONE = [0.0] * BINS

_NO_PARTS: list[_Part] = [(0.0, 0.0, _NONE, _NONE)] * _FEW


def _classes(situation: Situation, break_even_s: float) -> tuple[Class, ...]:
    pool, kind, ago = situation[:3]
    last, second, fourth, eighth = [int(ago_s).bit_length() if ago_s < LONGEST_AGO_S else _LONGEST_AGO for ago_s in ago]
    alike = int(break_even_s).bit_length()
    return (
        (kind, alike),
        (kind, pool),
        (kind, alike, "2nd, 8th", second, eighth),
        (kind, pool, "4th", fourth),
        (kind, alike, "1st", last),
        (kind, pool, "1st", last),
    )


@dataclass(frozen=True, slots=True)
class Learned(BreakEven):
    """Keep an idle cluster for the time that is expected to cost least, by the gaps seen in situations like its own.

    Decided anew whenever its situation changes: as it comes idle, when another one comes idle after it, and when it is
    the next to be used again. A cluster of which nothing is known is kept for the break-even time.

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start.
        half_life_s: a gap that long ago counts half.

    Raises:
        ValueError: if one is out of range.
    """

    half_life_s: float = 604_800.0

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is made anew, and is not the class that super() would look for.
        BreakEven.__post_init__(self)
        checked_half_life(self.half_life_s)

    def learns(self) -> bool:
        """Return True."""
        return True

    def aims(self) -> bool:
        """Return False: what a start is worth is given."""
        return False

    def aim(self, aim: Aim, hit: bool, waited_s: float, start_s: float | None) -> Aim:
        """Return the aim as it is."""
        return aim

    def break_even_in(self, situation: Situation) -> float:
        """Return T* in a situation, in seconds."""
        return self.break_even_s

    def classes(self, situation: Situation) -> tuple[Class, ...]:
        """Return what a situation is like: all pools, this one, and two wide and two narrow classes between and below.

        They tell apart how long ago, to a factor of two, the pool was asked for the last, second last, fourth last and
        eighth last time. The wide ones are shared by pools whose break-even times are alike to a factor of two: what a
        situation leads to depends on it.
        """
        return _classes(situation, self.break_even_in(situation))

    def choose(self, situation: Situation, curves: Mapping[Class, Curve], now: float) -> Choice:
        """Return for how long to keep a cluster from now on, in a situation, and what that is expected to cost."""
        break_even_s = self.break_even_in(situation)
        classes = _classes(situation, break_even_s)
        known = [*map(curves.get, classes)]
        keep_s, cost, ended = _best(*self._parts(known, now), break_even_s)
        own = known[1]
        seen = own.weight / own.scale(now) if own is not None else 0.0
        return Choice(classes, keep_s, cost, ended, seen)

    def why(self, situation: Situation, chosen: Choice) -> str:
        """Return why a cluster is kept for so long, in numbers."""
        return (
            f"of idle times like this one ({chosen.seen:.0f} of its pool count, old ones less) {chosen.ended:.0%} end "
            f"within {chosen.keep_s:.0f} s, and to keep it longer would cost more than it saves, with a start worth "
            f"{self.break_even_in(situation):.0f} s of idle time"
        )

    def _parts(self, known: list[Curve | None], now: float) -> tuple[list[_Part], float]:
        """Return what to mix, the mean of what both narrow classes say, each with what it borrows, and what is left."""
        half_life_s = self.half_life_s
        since, grown = weighed(now, half_life_s)
        shares: dict[int, float] = {}
        supposed = 0.0
        for chain in _CHAINS:
            left = 0.5
            for at, borrowed in chain:
                curve = known[at]
                if curve is None:
                    continue
                same = curve.since == since and curve.half_life_s == half_life_s
                borrows = borrowed * (grown if same else curve.scale(now))
                share = left / (curve.weight + borrows)
                shares[at] = shares.get(at, 0.0) + share
                left = share * borrows
                if left < ENOUGH:
                    break
            supposed += left
        parts = [
            (share, curve.weight, curve.ended, curve.led)
            for at, share in shares.items()
            if (curve := known[at]) is not None
        ]
        return parts, supposed


def _best(parts: list[_Part], supposed: float, break_even_s: float) -> tuple[float, float, float]:
    """Return the time t, of `TIMES_S`, with the least expected ``idle + T* P(stopped too early)`` in a mixture.

    That is 0 unless another one is better by `DOUBT`.

    Args:
        parts: what was learned.
        supposed: the share of what is supposed.
        break_even_s: T*.

    Returns:
        t, what is expected as a share of T*, and the share of gaps that end by then.
    """
    if len(parts) > _FEW:
        parts = [*parts[_FEW + 1 :], _mixture(parts[: _FEW + 1])]
    (a, q_all, q, q_led), (b, r_all, r, r_led), (c, s_all, s, s_led) = [*parts, *_NO_PARTS[len(parts) :]]
    left = whole = a * q_all + b * r_all + c * s_all + supposed
    spent, best, best_s, ended, at_once = 0.0, math.inf, 0.0, 0.0, 0.0
    # Mixed as it is looked at: most times are longer than any that could be best.
    for (time_s, middle_s, next_s, stopped_s, usual), q1, r1, s1, q2, r2, s2 in zip(
        _rows(break_even_s), q, r, s, q_led, r_led, s_led, strict=False
    ):
        weight = a * q1 + b * r1 + c * s1 + supposed * usual
        left -= weight
        spent += weight * middle_s + (a * q2 + b * r2 + c * s2) * break_even_s
        cost = spent + left * stopped_s
        if cost < best:
            best, best_s, ended = cost, time_s, whole - left
            if not time_s:
                at_once, best = cost, cost * (1.0 - DOUBT)
        elif spent + left * next_s >= best:
            # What is left costs at least that, whether it ends or is stopped later.
            break
    worth, expected = whole * break_even_s, best if best_s else at_once
    return best_s, min(1.0, expected / worth) if worth else 0.0, ended / whole


def _mixture(parts: list[_Part]) -> _Part:
    """Return a curve that is mixed of `_FEW` others and one."""
    (a, q_all, q, q_led), (b, r_all, r, r_led), (c, s_all, s, s_led), (d, t_all, t, t_led) = parts
    return (
        1.0,
        a * q_all + b * r_all + c * s_all + d * t_all,
        [a * w + b * x + c * y + d * z for w, x, y, z in zip(q, r, s, t, strict=True)],
        [a * w + b * x + c * y + d * z for w, x, y, z in zip(q_led, r_led, s_led, t_led, strict=True)],
    )

"""When an idle cluster is stopped, as learned from the gaps that were seen.

Source: the least of ``c E[min(gap, t)] + F P(gap > t)`` over the idle time t is optimal for a known distribution of
gaps (Ferragut, Rodríguez, Paganini, *Optimizing TTL caches under heavy-tailed demands*, SIGMETRICS 2016; Irani,
Shukla, Gupta, *Online strategies for dynamic power management*, 2003). Here the distribution is learned, for a class
of situations: the pool, how many of its clusters are leased, how often it was asked for lately. A class with few gaps
borrows from a wider one, up to all pools: its mean is drawn towards the wider one's as if so many gaps of that had
been seen (empirical Bayes). Old gaps count less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from policies.ski_rental import BreakEven
from pool.core.gaps import TIMES_S, Chains, Class, Curve, Situation

BORROWED = (5.0, 5.0, 10.0, 10.0, 10.0)
"""How many gaps a class borrows from the next wider one, widest first."""

_PRIOR_MISSED = tuple(0.9 - 0.6 * n / len(TIMES_S) for n in range(len(TIMES_S)))
"""Before anything was seen: who comes at all comes as likely within 2 s to 4 s as within 2 h to 4 h."""


def _prior_kept() -> tuple[float, ...]:
    kept, total = [0.0], 0.0
    for n in range(1, len(TIMES_S)):
        total += (TIMES_S[n] - TIMES_S[n - 1]) * (_PRIOR_MISSED[n] + _PRIOR_MISSED[n - 1]) / 2
        kept.append(total)
    return tuple(kept)


_PRIOR_KEPT = _prior_kept()


@dataclass(frozen=True, slots=True)
class Learned(BreakEven):
    """Keep an idle cluster for the time that would have cost least over the gaps seen in situations like its own.

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
        if not (self.half_life_s > 0 and math.isfinite(self.half_life_s)):
            raise ValueError(f"half_life is {self.half_life_s:g} s; it must be more than 0")

    def learns(self) -> bool:
        """Return True."""
        return True

    def classes(self, situation: Situation) -> Chains:
        """Return what a situation is like, widest first: by the clusters leased, and by how often it was asked for."""
        pool, kind, busy, asked_1h, asked_6h = situation
        in_1h, in_6h = (asked_1h + 1).bit_length(), (asked_6h + 1).bit_length()
        return (
            (
                kind,
                (kind, "busy", min(busy, 8), in_6h),
                (kind, pool),
                (kind, pool, "busy", min(busy, 64)),
                (kind, pool, "busy", min(busy, 64), in_6h),
            ),
            (kind, (kind, "asked", in_1h, in_6h), (kind, pool), (kind, pool, "asked", in_1h)),
        )

    def keep_for(self, chains: Chains, curves: Mapping[Class, Curve], now: float) -> float:
        """Return for how long to keep a cluster from now on, in a situation of these classes.

        It is the time t of `TIMES_S` with the least ``E[min(gap, t)] + T* P(gap > t)``, both taken as the mean over the
        chains of what their narrowest class says with what it borrows.
        """
        total = [0.0] * len(TIMES_S)
        prior = [kept + self.break_even_s * missed for kept, missed in zip(_PRIOR_KEPT, _PRIOR_MISSED, strict=True)]
        widest: dict[Class, list[float]] = {}
        for chain in chains:
            cost = widest.get(chain[0])
            if cost is None:
                cost = widest[chain[0]] = self._with(prior, curves.get(chain[0]), BORROWED[0], now)
            for class_, borrowed in zip(chain[1:], BORROWED[1:], strict=False):
                cost = self._with(cost, curves.get(class_), borrowed, now)
            total = [before + more for before, more in zip(total, cost, strict=True)]
        return TIMES_S[total.index(min(total))]

    def _with(self, wider: list[float], curve: Curve | None, borrowed: float, now: float) -> list[float]:
        """Return the costs that a class says, with what it borrows of a wider one's."""
        if curve is None:
            return wider
        borrows = borrowed * curve.scale(now)
        whole = curve.weight + borrows
        each, missing, share = 1.0 / whole, self.break_even_s / whole, borrows / whole
        seen = zip(curve.kept, curve.missed, wider, strict=True)
        return [each * kept + missing * missed + share * before for kept, missed, before in seen]

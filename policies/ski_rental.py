"""When an idle cluster is stopped, if nothing is known of when somebody asks next: the ski-rental rules.

To keep a cluster costs its idle seconds, to have stopped it costs a start. ``T* = F / c`` is the break-even time: the
idle seconds that cost as much as one start and the waiting for it. Source: Karlin, Manasse, McGeoch, Owicki,
*Competitive randomized algorithms for nonuniform problems*, Algorithmica 11 (1994).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from policies.reclaim import Whole, spread
from pool.core.model import Cluster, Pool


def checked_half_life(half_life_s: float) -> None:
    """Refuse a half-life that is none.

    Raises:
        ValueError: if it is not more than 0, or not finite.
    """
    if not (half_life_s > 0 and math.isfinite(half_life_s)):
        raise ValueError(f"half_life is {half_life_s:g} s; it must be more than 0")


def checked(break_even_s: float) -> None:
    """Refuse a break-even time that is none.

    Raises:
        ValueError: if it is negative, or not finite.
    """
    if not (break_even_s >= 0 and math.isfinite(break_even_s)):
        raise ValueError(f"break_even is {break_even_s:g} s; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class BreakEven(Whole):
    """Keep an idle cluster for as long as costs what a start costs.

    ``keep_until = idle_since + T*``. Whatever comes, that costs at most twice the optimum: who comes before T* costs
    the same as there; who comes later costs T* and a start, where the optimum pays a start (or T* at least). No
    deterministic rule promises less.

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start.

    Raises:
        ValueError: if it is negative.
    """

    break_even_s: float = 600.0

    def __post_init__(self) -> None:
        checked(self.break_even_s)

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return when `cluster`, idle since ``cluster.idle_since``, is stopped."""
        return cluster.idle_since + self.break_even_s


@dataclass(frozen=True, slots=True)
class RandomisedSkiRental(BreakEven):
    """Keep an idle cluster for a time drawn between 0 and T*, long times more likely than short ones.

    The time has the density ``e^(t/T*) / (T* (e - 1))`` on [0, T*], so it is ``T* ln(1 + u (e - 1))`` for an even u in
    [0, 1). Whatever comes, that costs at most e/(e-1) = 1.58 times the optimum on average: no rule promises less. The
    draw is made of the cluster's id and epoch, so a replay and a restart repeat it, and each idle time has its own.
    """

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return when `cluster`, idle since ``cluster.idle_since``, is stopped."""
        u = spread(f"{cluster.id}/{cluster.epoch}")
        return cluster.idle_since + self.break_even_s * math.log1p(u * (math.e - 1.0))

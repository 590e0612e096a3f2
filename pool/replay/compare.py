"""What another configuration would have changed: two replays of one demand, pool by pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pool.core.key import ClusterKey
from pool.core.model import SHRINKING
from pool.core.settings import Prices
from pool.replay.figures import PoolFigures, cost_of
from pool.replay.report import percentile


@dataclass(frozen=True, slots=True)
class Figures:
    """What one replay came to, for one pool or for several.

    Attributes:
        leases, hits: how many, and how many of them an idle cluster answered at once.
        waited_s, wait_p95_s: of all leases together, and of the 95th of a hundred.
        idle_s, busy_s: cluster seconds.
        starts: clusters that were started.
        cost: of idle clusters, of starting, resetting and stopping ones, and of waiting, at the pool's prices.
        objective_s: ``idle_s + T* x misses``, in cluster seconds.
    """

    leases: int
    hits: int
    waited_s: float
    wait_p95_s: float
    idle_s: float
    busy_s: float
    starts: int
    cost: float
    objective_s: float

    @property
    def hit_rate(self) -> float:
        """Share of hits, from 0 to 1."""
        return self.hits / self.leases if self.leases else 1.0

    def plain(self) -> dict[str, Any]:
        """Return them as plain data, rounded to what they are good for."""
        found = asdict(self) | {"hit_rate": self.hit_rate}
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in found.items()}


@dataclass(frozen=True, slots=True)
class Side:
    """One replay.

    Attributes:
        pools: its figures by digest.
        total: of all pools.
        refused: jobs that got no lease.
    """

    pools: Mapping[str, Figures]
    total: Figures
    refused: int


def side(
    pools: Mapping[str, PoolFigures],
    keys: Mapping[str, ClusterKey],
    prices: Callable[[ClusterKey], Prices],
    break_even_s: float,
    refused: int,
) -> Side:
    """Return a replay's figures.

    Args:
        pools: of its ledger, by digest.
        keys: by digest.
        prices: of a key's pool.
        break_even_s: T*, the idle seconds that cost as much as one miss.
        refused: jobs that got no lease.
    """
    costs = {digest: cost_of(found, keys[digest], prices(keys[digest])) for digest, found in pools.items()}
    total = PoolFigures()
    for found in pools.values():
        total.add(found)
    return Side(
        {digest: _figures(found, costs[digest], break_even_s) for digest, found in pools.items()},
        _figures(total, sum(costs.values()), break_even_s),
        refused,
    )


def _figures(found: PoolFigures, cost: float, break_even_s: float) -> Figures:
    return Figures(
        leases=found.leases,
        hits=found.leases - found.misses,
        waited_s=sum(found.waits_s),
        wait_p95_s=percentile(sorted(found.waits_s), 0.95),
        idle_s=found.idle_s + found.state_s[SHRINKING],
        busy_s=found.busy_s,
        starts=found.started,
        cost=cost,
        objective_s=found.idle_s + break_even_s * found.misses,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """One pool on both sides."""

    digest: str
    before: Figures
    after: Figures

    def worth(self, priced: bool) -> float:
        """Return by how much it costs more: money where there are prices, else cluster hours with misses."""
        if priced:
            return self.after.cost - self.before.cost
        return (self.after.objective_s - self.before.objective_s) / 3600


NOTHING = Figures(0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0)


def differences(before: Side, after: Side, priced: bool) -> list[Difference]:
    """Return the pools on both sides, the greatest difference first."""
    digests = dict.fromkeys([*before.pools, *after.pools])
    found = [Difference(d, before.pools.get(d, NOTHING), after.pools.get(d, NOTHING)) for d in digests]
    return sorted(found, key=lambda difference: (-abs(difference.worth(priced)), difference.digest))

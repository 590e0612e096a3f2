"""Which of several policies to give to each configured pool, by what each would have cost there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pool.core.key import ClusterKey
from pool.core.settings import Prices
from pool.replay.compare import NOTHING, Figures, Side, side
from pool.replay.figures import PoolFigures
from pool.replay.run import Replay

WORTH_A_CHANGE = 0.02
"""A policy is proposed where it saves at least this share of what the pool costs: less is within what chance does."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Of one configured pool.

    Attributes:
        pool: its name.
        now: as it is configured.
        tried: by the name of the policy.
        best: the one that is proposed; empty to leave it as it is.
        has_target: it is left as it is, since it is to reach something whatever that costs.
    """

    pool: str
    now: Figures
    tried: Mapping[str, Figures]
    best: str
    has_target: bool = False

    @property
    def proposed(self) -> Figures:
        """As it would be with what is proposed."""
        return self.tried[self.best] if self.best else self.now


def by_name(
    replay: Replay,
    keys: Mapping[str, ClusterKey],
    name_of: Callable[[ClusterKey], str],
    prices: Callable[[ClusterKey], Prices],
    break_even_s: float,
) -> tuple[dict[str, Figures], Side]:
    """Return a replay's figures by the name of the configured pool, and all together.

    Args:
        replay: that has run.
        keys: by digest.
        name_of: the configured pool of a key.
        prices: of a key's pool.
        break_even_s: T*, the idle seconds that cost as much as one miss.
    """
    pools: dict[str, dict[str, PoolFigures]] = {}
    for digest, figures in replay.ledger.pools.items():
        pools.setdefault(name_of(keys[digest]), {})[digest] = figures
    found = {name: side(some, keys, prices, break_even_s, 0).total for name, some in pools.items()}
    return found, side(replay.ledger.pools, keys, prices, break_even_s, replay.refused)


def advise(
    now: Mapping[str, Figures],
    tried: Mapping[str, Mapping[str, Figures]],
    worth: Callable[[Figures], float],
    targets: Collection[str] = (),
) -> list[Advice]:
    """Return advice for each configured pool that was asked, the one with most to save first.

    Args:
        now: by pool, as configured.
        tried: by policy, by pool.
        worth: what figures cost.
        targets: pools that have one, which are left as they are.
    """
    found: list[Advice] = []
    for pool, was in now.items():
        # One that was asked for in the warm-up alone is in no figures where nothing of it was kept.
        here = {policy: figures.get(pool, NOTHING) for policy, figures in tried.items()}
        best = min(here, key=lambda policy: worth(here[policy]), default="")
        saves = best and worth(was) - worth(here[best]) > WORTH_A_CHANGE * worth(was)
        found.append(Advice(pool, was, here, best if saves and pool not in targets else "", pool in targets))
    return sorted(found, key=lambda advice: (worth(advice.proposed) - worth(advice.now), advice.pool))

"""The end of a replay: once the last job has ended nobody comes any more, so nothing is made ready for anybody.

A pool in use has no such end. What a replay would count after it, of clusters that stand ready for nobody, is no idle
time that a policy costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pool.core.key import ClusterKey
from pool.core.policy import Demand
from pool.core.settings import PoolSettings, Rules


@dataclass(frozen=True, slots=True)
class NoneReady:
    """A sizing that wants no idle cluster."""

    half_life_s: float = 0.0

    def wants(self) -> bool:
        """Return False."""
        return False

    def idle_target(self, demand: Demand, now: float) -> int:
        """Return 0."""
        return 0

    def why(self, demand: Demand, now: float) -> str:
        """Return nothing."""
        return ""


def expects(rules: Rules, keys: Iterable[ClusterKey]) -> bool:
    """Tell whether something beside `reclaim` may have a cluster stand ready in a pool of these keys."""
    if rules.floors:
        return True
    settings = (rules.settings_for(key) for key in keys)
    return any(one.sizing.wants() or one.prewarm is not None or one.look_ahead is not None for one in settings)


def expecting_nobody(rules: Rules) -> Rules:
    """Return the same rules for when nobody comes any more: `reclaim` alone says how long what is idle is kept."""

    def settings_for(key: ClusterKey) -> PoolSettings:
        return replace(rules.settings_for(key), sizing=NoneReady(), prewarm=None, look_ahead=None)

    return replace(rules, settings_for=settings_for, floors={})

"""How many idle clusters a pool should have, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass

from pool.core.policy import Demand


def required(demand: Demand) -> int:
    """Return how many are wanted whatever the policy: by schedule windows open now, and by an operator's resize."""
    return max(demand.floor, demand.min_idle or 0)


@dataclass(frozen=True, slots=True)
class FloorAndBuffer:
    """A floor that always stands, and a buffer that stands while the pool is in use.

    ``target = max(min_idle, demand.floor, buffer if leased > 0 else 0)``, where an operator's resize takes the place of
    `min_idle`. The floor is psycopg_pool's `min_size` seen from the idle side; the buffer is the warm spare of Knative
    and of Flyte's reusable containers.

    Attributes:
        min_idle: idle clusters wanted at any time.
        buffer: idle clusters wanted while at least one cluster is leased.

    Raises:
        ValueError: if one is negative.
    """

    min_idle: int = 0
    buffer: int = 0

    def __post_init__(self) -> None:
        for name in ("min_idle", "buffer"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")

    def idle_target(self, demand: Demand, now: float) -> int:
        """Return the number of idle clusters wanted now."""
        min_idle = self.min_idle if demand.min_idle is None else demand.min_idle
        return max(min_idle, demand.floor, self.buffer if demand.leased else 0)

    def wants(self) -> bool:
        """Return False with no floor and no buffer."""
        return bool(self.min_idle or self.buffer)

    def why(self, demand: Demand, now: float) -> str:
        """Return nothing: the settings say it."""
        return ""

    @property
    def half_life_s(self) -> float:
        """Return 0: it looks at no demand."""
        return 0.0

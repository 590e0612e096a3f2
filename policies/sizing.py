"""How many idle clusters a pool should have."""

from __future__ import annotations

from dataclasses import dataclass

from pool.core.policy import Demand


@dataclass(frozen=True, slots=True)
class FloorAndBuffer:
    """A floor that always stands, and a buffer that stands while the pool is in use.

    ``target = max(min_idle, demand.floor, buffer if leased > 0 else 0)``. The floor is psycopg_pool's `min_size` seen
    from the idle side; the buffer is the warm spare of Knative and of Flyte's reusable containers.

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
        return max(self.min_idle, demand.floor, self.buffer if demand.leased else 0)

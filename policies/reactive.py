"""A few more idle clusters whenever few are left: what grows as fast as it is used up."""

from __future__ import annotations

from dataclasses import dataclass

from policies.sizing import required
from pool.core.policy import Demand


@dataclass(frozen=True, slots=True)
class Reactive:
    """Where fewer than `threshold` are idle, have `increment` more, up to `most`.

    ``target = min(most, spare + increment) if spare < threshold else threshold``, where ``spare = idle + starting -
    waiting``. It knows nothing of demand, and follows it by one step for each start. Source: step scaling, as Amazon's
    EC2 Auto Scaling and IBM's OpenWhisk (its reactive prewarm containers: `threshold` and `increment`) have it.

    Attributes:
        threshold: so many idle clusters are enough.
        increment: so many are started at once where there are fewer.
        most: idle clusters wanted at most.

    Raises:
        ValueError: if one is out of range.
    """

    threshold: int = 1
    increment: int = 1
    most: int = 10

    def __post_init__(self) -> None:
        for name, least in (("threshold", 0), ("increment", 1), ("most", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {least} or more")

    def idle_target(self, demand: Demand, now: float) -> int:
        """Return the number of idle clusters wanted now."""
        spare = demand.idle + demand.starting - demand.waiting
        wanted = self.threshold if spare >= self.threshold else max(0, spare) + self.increment
        return max(required(demand), min(self.most, wanted))

    def wants(self) -> bool:
        """Return True."""
        return True

    @property
    def half_life_s(self) -> float:
        """Return 0: it looks at no demand."""
        return 0.0

    def why(self, demand: Demand, now: float) -> str:
        """Return nothing: the settings say it."""
        return ""

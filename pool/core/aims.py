"""How far pools are from their targets, as was seen lately, and what a start is worth by that.

Estimates: they live in memory, are bounded, and are not undone with a decision. A snapshot tells them to a restart
(`pool.core.snapshot`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Aim(NamedTuple):
    """Of one pool.

    Attributes:
        log_worth: natural logarithm of what a start is worth, against what it would be worth without a target.
        met: the share of leases that met the target lately.
        seen: how many of them that rests on, old ones counting less.
    """

    log_worth: float = 0.0
    met: float = 0.0
    seen: float = 0.0


NO_AIM = Aim()


def of_sizing(name: str) -> str:
    """Return under what name the aim of a configured pool's sizing is kept, beside those of keys."""
    return f"sizing:{name}"


class Aims:
    """The aims of all pools, and of the sizing of configured pools.

    Attributes:
        unsaved: pools whose aims have changed since the last snapshot of them.
    """

    def __init__(self) -> None:
        self.unsaved: dict[str, None] = {}
        self._of: dict[str, Aim] = {}
        self._as_of: dict[str, float] = {}

    def of(self, pool: str) -> Aim:
        """Return a pool's aim as it is now."""
        return self._of.get(pool, NO_AIM)

    def take(self, pool: str, aim: Aim) -> None:
        """Replace a pool's aim."""
        self._of[pool] = aim
        self.unsaved[pool] = None

    def told(self, name: str) -> list[Any]:
        """Return all that a restart needs of a pool."""
        return [float(f"{value:.7g}") for value in self.of(name)]

    def recall(self, name: str, told: Sequence[Any], as_of: float) -> None:
        """Take over what was told of a pool.

        Raises:
            ValueError, TypeError: if it is not that.
        """
        log_worth, met, seen = told
        self._of[name] = Aim(float(log_worth), float(met), float(seen))
        self._as_of[name] = as_of

    def knows(self, name: str, at: float) -> bool:
        """Tell whether what was granted at a time before the restart is part of an aim, or may not be.

        Where there was no aim, there may have been no target either: history says nothing of that.
        """
        return at <= self._as_of.get(name, at)

"""What all pools have in common: when demand comes, and how many come at once.

A *burst* is what asks one pool within `TOGETHER_S` from its first ask, and nothing was made ready for: mostly one
execution of a workflow, now and then several. A pool that is asked for seldom sees too few of them to know its rhythm,
or how large one can be; all pools together see enough. Estimates: they live in memory, are bounded, are not undone with
a decision, and survive a restart (`pool.core.snapshot`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pool.core.rhythm import Rhythm

TOGETHER_S = 5.0
"""Asks of a pool that do not come later than this after the first of a burst are of it."""

WIDEST = 64
"""Larger bursts count as this large."""

REMEMBERED = 4_000.0
"""When so many bursts were counted, they count half from then on."""

COMMON = 5.0
"""An hour's share is supposed to be the mean one, as if so many bursts said so."""

OWN = 40.0
"""A pool's rhythm is supposed to be that of all pools, as if so many bursts of its own said so."""

BURSTS, RHYTHM = "bursts", "rhythm"


class Habits:
    """What was seen of the bursts of all pools whose sizing looks at demand.

    Attributes:
        rhythm: when they come.
        unsaved: what of it has changed since it was last told.
    """

    def __init__(self) -> None:
        self.rhythm = Rhythm(COMMON)
        self.unsaved: dict[str, None] = {}
        self._at_least = [0.0]
        self._chances: list[float] | None = None
        self._as_of = 0.0

    def own(self) -> Rhythm:
        """Return the rhythm of a pool of which nothing was seen yet."""
        return Rhythm(OWN, self.rhythm)

    def came(self, nth: int, now: float) -> None:
        """Note that a group asks, as the n-th of a burst, counted from 1."""
        if now <= self._as_of or nth > WIDEST:
            return
        if nth > len(self._at_least):
            self._at_least.append(0.0)
        self._at_least[nth - 1] += 1.0
        self._chances = None
        self.unsaved[BURSTS] = None
        if nth == 1:
            self.rhythm.count(now)
            self.unsaved[RHYTHM] = None
            if self._at_least[0] > REMEMBERED:
                self._at_least = [number / 2.0 for number in self._at_least]

    def at_least(self) -> list[float]:
        """Return how likely it is that at least 1, 2, ... groups ask in a burst: 1 and less; 0 beyond its end."""
        if self._chances is None:
            bursts = self._at_least[0]
            self._chances = [number / bursts for number in self._at_least] if bursts else [1.0]
        return self._chances

    def told(self, name: str) -> list[Any]:
        """Return all that a restart needs of the bursts, or of the rhythm."""
        return self.rhythm.told() if name == RHYTHM else [round(number, 4) for number in self._at_least]

    def recall(self, name: str, told: Sequence[Any], as_of: float) -> None:
        """Take over what was told of the bursts, or of the rhythm.

        Raises:
            ValueError, TypeError: if it is not that.
        """
        if name == RHYTHM:
            self.rhythm.recall(told)
        elif name == BURSTS and 0 < len(told) <= WIDEST:
            self._at_least, self._chances = [float(number) for number in told], None
        else:
            raise ValueError(f"no such habit: {name}")
        self._as_of = max(self._as_of, as_of)

"""What a start is worth, in idle seconds: the one price that policies which look ahead weigh idle time against."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from policies.ski_rental import checked

SUPPOSED_START_S = 60.0
"""What a start is supposed to take before one was seen: about what KubeRay takes."""
UNPRICED = 30.0
"""What a second of starting is worth where no prices say it, in idle seconds."""
LEAST_S = 60.0
"""A start is worth so many idle seconds at least: a task and the next are often that far apart."""

W = TypeVar("W", bound="Worth")


def checked_start_worth(start_worth: float) -> None:
    """Refuse what a second of starting cannot be worth.

    Raises:
        ValueError: if it is negative, or not finite.
    """
    if not (start_worth >= 0 and math.isfinite(start_worth)):
        raise ValueError(f"start_worth is {start_worth:g}; it must be 0 or more")


def worth_s(break_even_s: float, start_worth: float, start_s: float) -> float:
    """Return T*, in idle seconds: as given, or what a start that takes `start_s` is worth, `LEAST_S` at least."""
    return break_even_s or max(LEAST_S, (start_worth or UNPRICED) * start_s)


@dataclass(frozen=True, slots=True)
class Worth:
    """A policy's price of a start, found as `Auto` finds it.

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start; 0 takes it from the starts.
        start_worth: how many idle seconds cost as much as a second of starting; 0 takes it from the pool's prices,
            and 30 where there are none.

    Raises:
        ValueError: if one is out of range.
    """

    break_even_s: float = 0.0
    start_worth: float = 0.0

    def __post_init__(self) -> None:
        checked(self.break_even_s)
        checked_start_worth(self.start_worth)

    def priced(self: W, start_worth: float) -> W:
        """Return the same where prices say what a second of starting is worth; what was given to it counts."""
        return self if self.break_even_s or self.start_worth else replace(self, start_worth=start_worth)

    def worth_s(self, start_s: float | None) -> float:
        """Return T*, of starts that typically take so long (None if none was seen)."""
        return worth_s(self.break_even_s, self.start_worth, SUPPOSED_START_S if start_s is None else start_s)

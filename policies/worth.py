"""What a start is worth, in idle seconds: the one price that policies which look ahead weigh idle time against."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from policies.auto import LEAST_S, SUPPOSED_START_S, UNPRICED
from policies.ski_rental import checked

W = TypeVar("W", bound="Worth")


def checked_half_life(half_life_s: float) -> None:
    """Refuse a half-life that is none.

    Raises:
        ValueError: if it is not more than 0, or not finite.
    """
    if not (half_life_s > 0 and math.isfinite(half_life_s)):
        raise ValueError(f"half_life is {half_life_s:g} s; it must be more than 0")


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
        if not (self.start_worth >= 0 and math.isfinite(self.start_worth)):
            raise ValueError(f"start_worth is {self.start_worth:g}; it must be 0 or more")

    def priced(self: W, start_worth: float) -> W:
        """Return the same where prices say what a second of starting is worth; what was given to it counts."""
        return self if self.break_even_s or self.start_worth else replace(self, start_worth=start_worth)

    def worth_s(self, start_s: float | None) -> float:
        """Return T*, of starts that typically take so long (None if none was seen)."""
        took_s = SUPPOSED_START_S if start_s is None else start_s
        return self.break_even_s or max(LEAST_S, (self.start_worth or UNPRICED) * took_s)

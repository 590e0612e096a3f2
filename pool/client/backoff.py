"""Pauses between tries."""

from __future__ import annotations

import random
from collections.abc import Iterator


def pauses(first_s: float, longest_s: float) -> Iterator[float]:
    """Yield pauses that double from `first_s` to `longest_s`, each shortened by up to a half at random.

    The randomness keeps the clients of a daemon that comes back from asking all at once.
    """
    pause_s = first_s
    while True:
        yield pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
        pause_s = min(pause_s * 2, longest_s)

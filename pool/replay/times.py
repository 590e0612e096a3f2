"""How long simulated clusters take, drawn from what was measured."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

MEASURED_STARTS_S = (6.8, 7.1, 8.0, 8.1, 9.1, 9.2)
"""Seconds from asking to a lease on a started cluster of the backend `local`, as `make bench-chain` found them: its
three cold runs, and the mean of each of its three runs with a cluster per task (`benchmarks/results/chain.json`)."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long things take, in seconds.

    Attributes:
        starts_s: measured starts; each start takes one of them, drawn with equal chances.
        reset_s: of every reset.
        stop_s: of every stop.
        charged: starts are *charged*, and take no time in the replay: a trace's jobs ran when the trace says, so their
            gaps stay those that the optimum is made of. The start that a lease waited for counts as its wait, and
            policies go by what it would have taken. False has starts take their time: who waits for one may
            be served by a release, and jobs end later.
    """

    starts_s: Sequence[float] = MEASURED_STARTS_S
    reset_s: float = 0.0
    stop_s: float = 0.0
    charged: bool = True

    def draw(self, rng: random.Random) -> float:
        """Return the seconds of one start."""
        return rng.choice(self.starts_s)

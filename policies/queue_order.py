"""In which order waiters are served."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PriorityWithAging:
    """Higher priority first, but waiting counts: nothing starves. First come, first served among equals.

    A waiter's priority grows by one step for every `aging_s` waited:
    ``effective(now) = priority + (now - asked_at) / aging_s``. Two waiters grow at the same pace, so their order
    never changes and `now` drops out: serving the highest effective priority is serving the lowest
    ``rank = asked_at - priority * aging_s``. That is why a rank is computed once and the queue is a plain sorted
    list. (The linear aging of Unix schedulers; Kleinrock's time-dependent priorities with equal slopes.)
    """

    def rank(self, priority: int, asked_at: float, aging_s: float) -> float:
        """Return the rank: lower is served first."""
        return asked_at - priority * aging_s

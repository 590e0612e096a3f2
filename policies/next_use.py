"""A cluster made ready just before a pool's next expected use: for what comes every hour, or every night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.worth import SUPPOSED_START_S, Worth
from pool.core.policy import Span
from pool.core.uses import Use

ENOUGH = 4
"""Of fewer gaps nothing is expected."""

LIKE = 8.0
"""A gap that began at about the same hour counts so much more, and so does one that began on the same weekday."""

MARGIN = 0.02
"""It is ready before the gap would be over, by this share of it and a tenth of a start: clocks and queues differ."""

_DAY_S, _HOUR_S, _NEAR_H = 86_400.0, 3_600.0, 1.5


@dataclass(frozen=True, slots=True)
class NextUse(Worth):
    """A cluster is ready over the times of the next use that save more than they cost.

    From the gaps between uses that are longer than the time since the last one: those in ``[a, b]`` save a start each,
    worth T*, and cost their idle time since a; what comes later costs ``b - a``, and a start for nothing. The a and b
    that save most are taken, if that is more than 0: ``P(a <= gap <= b) T* - E[idle]``. Gaps that began at the same
    hour (within 90 minutes, UTC), or on the same weekday, count eight times as much, for both 64 times. Source:
    the prewarming window of *Serverless in the Wild* (Shahrad et al., USENIX ATC'20), with a price in place of
    percentiles.

    Attributes:
        break_even_s: T*, the idle seconds that cost as much as a start; 0 takes it from the starts.
        start_worth: how many idle seconds cost as much as a second of starting; 0 takes it from the pool's prices,
            and 30 where there are none.

    Raises:
        ValueError: if one is out of range.
    """

    def span(self, uses: Sequence[Use], last_at: float, now: float, start_s: float | None) -> Span | None:
        """Return from when to when a cluster is to be ready, in seconds after the last use.

        Args:
            uses: the last ones, and how long after each the next one came.
            last_at: when the pool was used last.
            now: seconds since the epoch.
            start_s: what a start takes typically, None if none was seen.

        Returns:
            None if nothing is expected that would be worth it.
        """
        if len(uses) < ENOUGH:
            return None
        lead_s, worth_s = SUPPOSED_START_S if start_s is None else start_s, self.worth_s(start_s)
        passed_s = now - last_at
        open_ = sorted((use.gap_s, _weight(use, last_at)) for use in uses if use.gap_s > passed_s)
        best, found, later = 0.0, None, sum(weight for _, weight in open_)
        for n, (first_s, _) in enumerate(open_):
            begins_s = max(passed_s + lead_s, first_s * (1.0 - MARGIN) - 0.1 * lead_s)
            gain, after = 0.0, later
            for gap_s, weight in open_[n:] if first_s >= begins_s else ():
                gain += weight * (worth_s - (gap_s - begins_s))
                after -= weight
                ends_s = gap_s * (1.0 + MARGIN) + 0.1 * lead_s
                left = gain - after * (ends_s - begins_s + lead_s)
                if left > best:
                    best, found = left, Span(begins_s, ends_s)
            later -= open_[n][1]
        return found


def _weight(use: Use, last_at: float) -> float:
    hours = abs(use.at % _DAY_S - last_at % _DAY_S) / _HOUR_S
    same_hour = min(hours, 24.0 - hours) <= _NEAR_H
    same_day = int(use.at // _DAY_S) % 7 == int(last_at // _DAY_S) % 7
    return (LIKE if same_hour else 1.0) * (LIKE if same_day else 1.0)

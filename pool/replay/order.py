"""Which jobs of a group come after which: what waited for others to end still does when they end later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from pool.replay.demand import Job

LOOKED_BACK = 64
"""A job is taken to come after those of the last so many of its group that had ended when it came."""


class Follower(NamedTuple):
    """A job that comes after others of its group.

    Attributes:
        after: those, by their place among the jobs.
        lag_s: how long after the end of the last of them.
    """

    after: tuple[int, ...]
    lag_s: float


def followers(jobs: Sequence[Job]) -> dict[int, Follower]:
    """Return the jobs that come after others, by their place among the jobs, which are in order of arrival."""
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    found: dict[int, Follower] = {}
    for n, job in enumerate(jobs):
        if not job.group:
            continue
        group = groups[job.key.tenant, job.group]
        ends = {one: jobs[one].arrival_s + jobs[one].duration_s for one in group[-LOOKED_BACK:]}
        after = tuple(one for one, end_s in ends.items() if end_s <= job.arrival_s)
        if after:
            found[n] = Follower(after, job.arrival_s - max(ends[one] for one in after))
        group.append(n)
    return found

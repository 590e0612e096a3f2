"""What could have been had under a ceiling: which gaps to bridge where not all of them find room at once.

An arrival that finds a cluster had it stand there for some time before. What those that are kept save against misses
is to be the most, with, at each time, no more of them kept than the ceiling leaves room for beside leased clusters.
This is interval scheduling on many machines (Arkin and Silverberg 1987): each row of its linear program has ones for
the intervals that cover a time. Such a matrix is totally unimodular, so that the program's vertices are whole numbers,
and its optimum is the problem's own. Each row less the one before it leaves two non-zeros to an interval, at its two
ends: a flow in a network, which HiGHS solves in seconds for a hundred thousand of them.

Jobs run when the trace says, also where more run at once than the ceiling allows: nothing else finds room then.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pool.core.errors import PoolError
from pool.core.reasons import Reason
from pool.replay.demand import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Arrival(NamedTuple):
    """Somebody who arrives, and what it takes to have a cluster there.

    Attributes:
        pool: digest of the key.
        begins_s: since when that cluster is there; minus infinity if none can be.
        ends_s: when they arrive.
    """

    pool: str
    begins_s: float
    ends_s: float


def least(
    arrivals: Sequence[Arrival], jobs: Sequence[Job], miss_s: float, clusters: int, *, since_s: float = -math.inf
) -> dict[str, float]:
    """Return the least cost of all pools together, as each pool's part of it, in cluster seconds.

    Args:
        arrivals: all that are or could be hits.
        jobs: whose clusters are leased from arrival to end.
        miss_s: what it costs if a cluster is not there; at most, what it costs that it is.
        clusters: that may exist at once.
        since_s: what clusters stand there for before that costs nothing, though it takes room.

    Raises:
        PoolError: scipy is not installed.
    """
    require()
    import numpy as np

    begins = np.array([arrival.begins_s for arrival in arrivals])
    ends = np.array([arrival.ends_s for arrival in arrivals])
    spent = ends - np.where(begins > -math.inf, np.maximum(begins, since_s), begins)
    kept = _kept(begins, ends, miss_s - spent, jobs, clusters)
    costs: defaultdict[str, float] = defaultdict(float)
    for arrival, keeps, kept_s in zip(arrivals, kept.tolist(), spent.tolist(), strict=True):
        costs[arrival.pool] += kept_s if keeps else miss_s
    return dict(costs)


def require() -> None:
    """Make sure that what solves the linear program is there.

    Raises:
        PoolError: scipy is not installed.
    """
    try:
        import scipy.optimize  # noqa: F401 that it can be imported is the question
    except ImportError as error:
        raise PoolError(
            f"The optimum under a ceiling needs a package that is not installed: {error.name}.",
            reason=Reason.INVALID_REQUEST,
            remedy="Install warmpool[optimum].",
        ) from None


def _kept(begins: NDArray[Any], ends: NDArray[Any], worth: NDArray[Any], jobs: Sequence[Job], clusters: int) -> Any:
    """Return which intervals are kept."""
    import numpy as np

    kept = worth > 0
    # Bounds of intervals and jobs part time into segments, in each of which the same clusters are there throughout.
    leased = np.array([job.arrival_s for job in jobs]), np.array([job.arrival_s + job.duration_s for job in jobs])
    starts = np.unique(np.concatenate([*leased, begins[kept], ends[kept]]))
    room = np.maximum(0, clusters - _covering(starts, *leased))
    # A segment with room for all that want it forbids nothing.
    tight = np.flatnonzero(_covering(starts, begins[kept], ends[kept]) > room)
    first = np.searchsorted(starts[tight], begins, side="left")
    after = np.searchsorted(starts[tight], ends, side="left")
    asked = np.flatnonzero(kept & (after > first))
    if asked.size:
        kept[asked] = _chosen(first[asked], after[asked], worth[asked], room[tight])
    return kept


def _covering(starts: NDArray[Any], begins: NDArray[Any], ends: NDArray[Any]) -> Any:
    """Return how many intervals cover each segment."""
    import numpy as np

    begun = np.searchsorted(np.sort(begins), starts, side="right")
    return begun - np.searchsorted(np.sort(ends), starts, side="right")


def _chosen(first: NDArray[Any], after: NDArray[Any], worth: NDArray[Any], room: NDArray[Any]) -> Any:
    """Return which intervals are worth most together.

    Args:
        first: segment that each covers.
        after: segment that each covers no more.
        worth: of each.
        room: of each segment.
    """
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import csc_array

    intervals, segments = len(worth), len(room)
    each, all_rows = np.arange(intervals), np.arange(segments)
    # With the room that is left as a variable too, every row is an equation, and so is the difference of two.
    rows = np.concatenate([first, after, all_rows, all_rows + 1])
    columns = np.concatenate([each, each, intervals + all_rows, intervals + all_rows])
    signs = np.repeat([1.0, -1.0, 1.0, -1.0], [intervals, intervals, segments, segments])
    inside = rows < segments
    shape = segments, intervals + segments
    solved = linprog(
        np.concatenate([-worth, np.zeros(segments)]),
        A_eq=csc_array((signs[inside], (rows[inside], columns[inside])), shape=shape),
        b_eq=np.diff(room, prepend=0),
        bounds=np.stack([np.zeros(sum(shape) - segments), np.concatenate([np.ones(intervals), room])], axis=1),
        method="highs-ds",
    )
    if solved.status:
        raise RuntimeError(f"the linear program of the optimum was not solved: {solved.message}")
    return np.rint(solved.x[:intervals]).astype(bool)

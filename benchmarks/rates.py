"""Who knows the rates of drawn workflows: what they need, whatever learns can at best come near.

Executions begin independently of each other. Who is told how often each workflow begins in each hour of the week, and
how many executions a burst has (`pool.replay.workflows`), can have so many idle clusters stand in each hour, and knows
nothing of when they are asked for. One more is worth its hours where it is needed once in T*:

    gain x rate(hour) x T* >= price

``gain`` is by how many more leases a burst is answered at once with it, on average over workflows and sizes of bursts;
``rate`` is how many bursts an hour begin then, and ``price`` what an hour of it costs: 1, or its cores. Larger clusters
of the same image and tenant serve smaller requests. Which cluster is the next one is chosen by the most gain for its
price (gains fall with each cluster that is there, as hits are a matching; for one shape that is the best there is, for
several it is near it).

A T* is the same for all pools. It is the least with which the wanted share of what was really drawn are hits: each
burst finds what stands in its hour, and what asks within a start of its first ask finds the rest of that; after it all
stands again. Later tasks of executions are never missed, and what is leased is replaced at once: both flatter who
knows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pool.replay import Job
from pool.replay.demand import counted_from
from pool.replay.workflows import BURST_SIZES, DAY_S, Demand, Workflow, known, rhythm

Family = tuple[str, str]
"""Tenant and image: among its clusters the larger ones serve what asks for smaller ones."""

HOUR_S = 3_600.0
LEAST_GAIN = 1e-9
"""Less is what remains of sums of fractions that should be 0."""


class Extra(NamedTuple):
    """One more idle cluster of a family.

    Attributes:
        milli_cpu: its size.
        worth: by how many more leases a burst is answered at once with it, for its price.
    """

    milli_cpu: int
    worth: float


class Burst(NamedTuple):
    """First tasks that ask one family within the time of a start.

    Attributes:
        hour: in which they do, from the beginning of the demand.
        asked: how many, by size.
    """

    hour: int
    asked: Mapping[int, int]


class Needed(NamedTuple):
    """What somebody needs who knows the rates.

    Attributes:
        worth_h: T*, the hours that a hit is worth: of idle clusters, or of what they are priced by.
        hit_rate: share of leases that are hits.
        idle_h: idle cluster hours.
        idle_core_h: idle core hours.
    """

    worth_h: float
    hit_rate: float
    idle_h: float
    idle_core_h: float


def served(standing: Mapping[int, int], asked: Mapping[int, int]) -> int:
    """Return how many requests find a cluster of their size or a larger one, both by size."""
    left = hits = 0
    for size in sorted({*standing, *asked}, reverse=True):
        left += standing.get(size, 0)
        found = min(left, asked.get(size, 0))
        hits += found
        left -= found
    return hits


def begun(workflows: Sequence[tuple[Workflow, float]]) -> dict[Family, list[tuple[float, dict[int, int]]]]:
    """Return what executions ask each family for as they begin, by size, each with its share of what is begun."""
    found: defaultdict[Family, list[tuple[float, dict[int, int]]]] = defaultdict(list)
    for workflow, share in workflows:
        first: defaultdict[Family, Counter[int]] = defaultdict(Counter)
        for task in workflow.stages[0]:
            first[task.key.tenant, task.key.image][task.key.shape.head.milli_cpu] += 1
        for family, asked in first.items():
            found[family].append((share, dict(asked)))
    return dict(found)


def expected_hits(
    standing: Mapping[int, int], begins: Sequence[tuple[float, Mapping[int, int]]], burst: float
) -> float:
    """Return how many leases of a burst of any workflow are answered at once on average.

    Args:
        standing: idle clusters by size.
        begins: what an execution asks for, and its share of what is begun.
        burst: chance that an execution comes with others.
    """
    sizes = [(1, 1.0 - burst), *((size, burst / len(BURST_SIZES)) for size in BURST_SIZES)]
    return sum(
        share * chance * served(standing, {size: n * many for size, n in asked.items()})
        for share, asked in begins
        for many, chance in sizes
    )


def extras(
    begins: Sequence[tuple[float, Mapping[int, int]]], burst: float, price: Callable[[int], float]
) -> Iterator[Extra]:
    """Yield idle clusters of a family, the one with most gain for its price first; arguments as above."""
    sizes = sorted({size for _, asked in begins for size in asked})
    standing: Counter[int] = Counter()
    hits, before = 0.0, float("inf")
    while True:
        gains = [(expected_hits(standing + Counter((size,)), begins, burst) - hits, size) for size in sizes]
        gain, size = max(gains, key=lambda one: (one[0] / price(one[1]), -one[1]))
        if gain < LEAST_GAIN:
            return
        standing[size] += 1
        hits += gain
        # Never rises, but for how sums of fractions are rounded.
        before = min(before, gain / price(size))
        yield Extra(size, before)


def bursts(jobs: Sequence[Job], since_s: float, start_s: float) -> dict[Family, list[Burst]]:
    """Return what asks each family first for executions that begin after a time."""
    begins_s: dict[str, float] = {}
    for job in jobs:
        begins_s.setdefault(job.group, job.arrival_s)
    found: defaultdict[Family, list[tuple[float, Counter[int]]]] = defaultdict(list)
    for job in jobs:
        if job.arrival_s != begins_s[job.group] or job.arrival_s < since_s:
            continue
        of = found[job.key.tenant, job.key.image]
        if not of or job.arrival_s >= of[-1][0] + start_s:
            of.append((job.arrival_s, Counter()))
        of[-1][1][job.key.shape.head.milli_cpu] += 1
    return {family: [Burst(int(at_s // HOUR_S), asked) for at_s, asked in of] for family, of in found.items()}


class Rates:
    """A demand, and who knows its rates.

    Args:
        wanted: what was drawn.
        seed: with which.
        price: what an hour of an idle cluster costs, by its size in thousandths of a core.
    """

    def __init__(self, wanted: Demand, seed: int, price: Callable[[int], float]) -> None:
        of = begun(known(wanted, seed))
        self._extras = {family: list(extras(begins, wanted.burst, price)) for family, begins in of.items()}
        # By how many of them stand, what stands.
        self._standing: dict[Family, list[Counter[int]]] = {}
        for family, some in self._extras.items():
            stands = [Counter[int]()]
            for extra in some:
                stands.append(stands[-1] + Counter((extra.milli_cpu,)))
            self._standing[family] = stands
        per_hour = wanted.executions_per_day * HOUR_S / DAY_S
        self._rates = [per_hour * rhythm((hour + 0.5) * HOUR_S) for hour in range(int(wanted.days * DAY_S / HOUR_S))]

    def stands(self, family: Family, hour: int, worth_h: float) -> Counter[int]:
        """Return what stands idle of a family in an hour, by size, with a hit worth so many hours."""
        rate = self._rates[hour]
        n = bisect_right(self._extras[family], worth_h, key=lambda extra: 1.0 / (extra.worth * rate))
        return self._standing[family][n]

    def needs(self, jobs: Sequence[Job], warm_up_s: float, start_s: float, share: float) -> Needed:
        """Return what is needed for a share of hits among jobs that come after a warm-up.

        Args:
            jobs: that were drawn.
            warm_up_s: so much from the beginning counts nowhere.
            start_s: what a start takes.
            share: of hits, from 0 to 1; all that can ever be of use stands where that does not reach it.
        """
        since_s = counted_from(jobs, warm_up_s)
        leases = sum(job.arrival_s >= since_s for job in jobs)
        asked = bursts(jobs, since_s, start_s)

        def misses(worth_h: float) -> int:
            return sum(
                sum(burst.asked.values()) - served(self.stands(family, burst.hour, worth_h), burst.asked)
                for family, of in asked.items()
                for burst in of
            )

        # What stands changes at these T* alone.
        rates = sorted(set(self._rates))
        changes = sorted({1.0 / (one.worth * rate) for some in self._extras.values() for one in some for rate in rates})
        least = bisect_left(changes, True, key=lambda worth_h: misses(worth_h) <= (1.0 - share) * leases)
        worth_h = changes[min(least, len(changes) - 1)]
        hours = range(int(max(0.0, since_s) // HOUR_S), len(self._rates))
        stand = [self.stands(family, hour, worth_h) for family in self._extras for hour in hours]
        return Needed(
            worth_h,
            1.0 - misses(worth_h) / leases,
            float(sum(some.total() for some in stand)),
            sum(size * n for some in stand for size, n in some.items()) / 1000,
        )

"""What was seen of workflows: which keys a group asks for next, how many at once, and how long after.

A group's asks come in *steps*: those within `TOGETHER_S` of each other are one. Where a group is, its *place*, is the
sequence of its steps so far, each as the keys asked for and how many of each: nothing tells a pool which workflow a
group is of, but the beginning of the same workflow is the same. For each place is learned which step followed, how long
after the last grant of the step before, and how long after its last lease had ended. A step is also learned without
what came before it: so a loop, and a workflow with another beginning, is known from what it has in common with others.

Estimates: they live in memory, are bounded, and are not undone with a decision.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

TOGETHER_S = 5.0
"""Asks of a group that are not further apart are one step of it."""

PLACES = 64
"""So many places are known for each pool that was asked for last there; the one not seen for longest is forgotten."""

FOLLOWERS = 6
"""So many different steps are known to follow a place; the rarest is forgotten."""

GROUPS = 10_000
"""So many groups are followed at once; the one not seen for longest is forgotten."""

OVER_S = 3_600.0
"""A group that has no lease and asks for nothing for so long is over."""

REMEMBERED = 20.0
"""What comes counts as much as the last so many times together, at least: so old ones count less and less."""

SUPPOSED_SPREAD, SUPPOSED_TIMES = 0.5, 2.0
"""How far logarithms of delays are supposed to be spread, as if that had been seen so many times."""

SURE = 1e9
"""Of a delay that was computed: the spread is as it is, whatever is supposed."""

LEAST_S = 0.5
"""Shorter delays are all the same."""

WIDEST = 16
"""Of one pool so many clusters are made ready for a step of one group, not more."""

UNRANKED = 0
"""The rank of what is expected of a step, and nothing is made ready for."""

Step = tuple[tuple[str, int], ...]
"""The pools that are asked for, by digest, and how often; empty where the group is over."""

Who = tuple[str, str]
"""Tenant and group."""

ANYWHERE = "~"
"""What stands for the place before, where a step is learned without it."""


class Delay:
    """How long something takes: log-normal, from what was seen.

    Attributes:
        mean: of the logarithm of the seconds.
        squares: sum of its squared deviations.
        times: how often it was seen, at most `REMEMBERED`.
    """

    __slots__ = ("mean", "squares", "times")

    def __init__(self, mean: float = 0.0, squares: float = 0.0, times: float = 0.0) -> None:
        self.mean = mean
        self.squares = squares
        self.times = times

    def add(self, seconds: float) -> None:
        """Learn one more (Welford's sums, with weights that forget)."""
        value = math.log(max(LEAST_S, seconds))
        kept = min(self.times, REMEMBERED - 1.0)
        if self.times:
            self.squares *= kept / self.times
        self.times = kept + 1.0
        off = value - self.mean
        self.mean += off / self.times
        self.squares += off * (value - self.mean)

    @property
    def spread(self) -> float:
        """The standard deviation of its logarithm."""
        supposed = SUPPOSED_TIMES * SUPPOSED_SPREAD**2
        return math.sqrt((supposed + self.squares) / (SUPPOSED_TIMES + self.times))

    def below(self, deviations: float) -> float:
        """Return the seconds that lie so many deviations below the median."""
        return math.exp(self.mean - deviations * self.spread)

    def then(self, other: Delay) -> Delay:
        """Return the delay of one after the other, as log-normal as they are (Fenton and Wilkinson's moments)."""
        if not other.times:
            return other
        parts = [(delay.mean, delay.spread**2) for delay in (self, other)]
        means = [math.exp(mean + square / 2) for mean, square in parts]
        variance = sum(mean**2 * math.expm1(square) for mean, (_, square) in zip(means, parts, strict=True))
        square = math.log1p(variance / sum(means) ** 2)
        return Delay(math.log(sum(means)) - square / 2, square * SURE, SURE)


class Place:
    """What followed one place.

    Attributes:
        as_of: what was known by then is in it; 0 for one that was not read from a snapshot.
        steps: what followed, and how often, less the longer ago.
        taken: how long it took from the last grant of a step until the next one was asked for.
        paused: the same, from when the group's last lease had ended.
        alone: how often the group had no lease any more when it asked, as a share.
    """

    __slots__ = ("_likely", "alone", "as_of", "paused", "steps", "taken")

    def __init__(self) -> None:
        self.as_of = 0.0
        self.steps: dict[Step, float] = {}
        self.taken = Delay()
        self.paused = Delay()
        self.alone = 1.0
        # Asked for several times for each step that is learned.
        self._likely: dict[str, list[float]] | None = None

    def add(self, step: Step, taken_s: float, paused_s: float | None) -> None:
        """Learn that a step followed (none, if the group was over), so long after; None if it still had leases."""
        self._likely = None
        for known in self.steps:
            self.steps[known] *= 1.0 - 1.0 / REMEMBERED
        if step not in self.steps and len(self.steps) >= FOLLOWERS:
            del self.steps[min(self.steps, key=self.steps.__getitem__)]
        self.steps[step] = self.steps.get(step, 0.0) + 1.0
        if not step:
            return
        self.taken.add(taken_s)
        if paused_s is not None:
            self.paused.add(paused_s)
        self.alone += (float(paused_s is not None) - self.alone) / self.taken.times

    def pools(self) -> set[str]:
        """Return the pools that were asked for next."""
        return {pool for step in self.steps for pool, _ in step}

    def likely(self) -> dict[str, list[float]]:
        """Return by pool how likely it is that at least 1, 2, ... of it are asked for next; for reading."""
        if self._likely is not None:
            return self._likely
        whole = sum(self.steps.values())
        out: dict[str, list[float]] = {}
        for step, weight in self.steps.items():
            for pool, number in step:
                found = out.setdefault(pool, [])
                found += [0.0] * (min(number, WIDEST) - len(found))
                for rank in range(min(number, WIDEST)):
                    found[rank] += weight / whole
        self._likely = out
        return out

    def likeliest(self) -> tuple[Step, float]:
        """Return the step that follows most often, and how likely it is."""
        step = max(self.steps, key=self.steps.__getitem__)
        return step, self.steps[step] / sum(self.steps.values())


class _Followed(NamedTuple):
    """A step has begun after a place; which one it is, is known once it is whole."""

    step: Step
    before: str
    taken_s: float
    paused_s: float | None


@dataclass(slots=True)
class Run:
    """One group on its way.

    Attributes:
        before: its place before the present step.
        asked: the present step: how often each pool was asked for.
        asked_at: when last.
        granted_at: when the last lease of the step was granted; until then, when it was asked for.
        leases: those that it has, or waits for, by id, and of which pool.
        paused_at: since when it has none; 0 while it has.
        wanted: what is wanted for its next step: pool, and the rank under which it is; `UNRANKED` where it is left to
            what stands ready for anybody.
        later: what is wanted for steps after that, likewise.
        due: what was wanted for the present step and not taken yet, likewise.
        ranks: so many were wanted for it so far.
        foreseen_at: since when the present step was expected.
        surprised_at: when it asked last for something that nobody had foreseen.
        followed: what is to be learned of the place before, once the present step is whole.
    """

    before: str = ""
    asked: dict[str, int] = field(default_factory=dict)
    asked_at: float = 0.0
    granted_at: float = 0.0
    leases: dict[str, str] = field(default_factory=dict)
    paused_at: float = 0.0
    wanted: list[tuple[str, int]] = field(default_factory=list)
    later: list[tuple[str, int]] = field(default_factory=list)
    due: list[tuple[str, int]] = field(default_factory=list)
    ranks: int = 0
    foreseen_at: float = 0.0
    surprised_at: float = -math.inf
    followed: _Followed | None = None

    def counts(self) -> dict[str, int]:
        """Return how many leases of each pool it has, or waits for."""
        found: dict[str, int] = {}
        for pool in self.leases.values():
            found[pool] = found.get(pool, 0) + 1
        return found

    @property
    def step(self) -> Step:
        """The present step, as far as it was asked for."""
        return tuple(sorted(self.asked.items()))


@lru_cache(maxsize=4096)
def place_after(before: str, step: Step) -> str:
    """Return the place after a step, by the place before it: the same after a restart."""
    return hashlib.blake2b(repr((before, step)).encode(), digest_size=8).hexdigest()


class Workflows:
    """The groups under way, and what was learned of those that were.

    Attributes:
        places: by the first pool of their step, then by their name.
        unsaved: those that learned since the last snapshot of them.
    """

    def __init__(self) -> None:
        self.runs: OrderedDict[Who, Run] = OrderedDict()
        self.places: dict[str, OrderedDict[str, Place]] = {}
        self.unsaved: dict[tuple[str, str], None] = {}

    def asked(self, who: Who, pool: str, lease_id: str, now: float) -> tuple[Run, bool]:
        """Note that a group asks for a cluster of a pool; return it, and whether a new step begins with it."""
        run = self.runs.get(who)
        if run is None:
            if len(self.runs) >= GROUPS:
                self.over(next(iter(self.runs)), now)
            run = self.runs[who] = Run()
        self.runs.move_to_end(who)
        if lease_id in run.leases:
            # Decided anew, since it could not be committed with others.
            return run, False
        begins = bool(run.asked) and now > run.asked_at + TOGETHER_S
        if begins:
            self._whole(run, now)
            paused_s = now - run.paused_at if run.paused_at else None
            run.followed = _Followed(run.step, run.before, now - run.granted_at, paused_s)
            run.before = place_after(run.before, run.step)
            run.foreseen_at = run.asked_at
            run.asked = {}
        run.asked[pool] = run.asked.get(pool, 0) + 1
        run.asked_at = run.granted_at = now
        run.leases[lease_id] = pool
        run.paused_at = 0.0
        return run, begins

    def granted(self, who: Who, now: float) -> Run | None:
        """Note that a group has a lease that it asked for."""
        run = self.runs.get(who)
        if run is not None:
            run.granted_at = max(run.granted_at, now)
        return run

    def ended(self, who: Who, lease_id: str, now: float) -> Run | None:
        """Note that a lease of a group ended, or that it does not wait for one any more."""
        run = self.runs.get(who)
        if run is None or run.leases.pop(lease_id, None) is None:
            return None
        self.runs.move_to_end(who)
        self._whole(run, now)
        if not run.leases:
            run.paused_at = now
        return run

    def over(self, who: Who, now: float) -> Run | None:
        """Forget a group, and learn that nothing followed."""
        run = self.runs.pop(who, None)
        if run is not None:
            self._whole(run, now, surely=True)
            self._learn(run.step, run.before, (), now, 0.0, None)
        return run

    def long_over(self, now: float) -> Who | None:
        """Return a group that has done nothing for so long that it is over, None if there is none."""
        for who, run in self.runs.items():
            # The first is the one that has done nothing for longest; what has leases is not over.
            if max(run.asked_at, run.paused_at) > now - OVER_S:
                return None
            if not run.leases:
                return who
            self.runs.move_to_end(who)
            return None
        return None

    def recall(self, pool: str, name: str, place: Place) -> None:
        """Take over what was learned of a place."""
        self.places.setdefault(pool, OrderedDict())[name] = place

    def next_of(self, run: Run) -> tuple[str, Place] | None:
        """Return what is known of where a group is, with the place's name; None if nothing is."""
        return self.known(run.step, run.before)

    def known(self, step: Step, before: str) -> tuple[str, Place] | None:
        """Return what is known after a step: of the whole way, else of the step alone; None if nothing is."""
        places = self.places.get(step[0][0])
        if places is None:
            return None
        name = place_after(before, step)
        for one in (name, place_after(ANYWHERE, step)):
            found = places.get(one)
            if found is not None and found.steps:
                return name, found
        return None

    def _whole(self, run: Run, now: float, *, surely: bool = False) -> None:
        """Learn which step followed, if the present one is whole by now."""
        followed = run.followed
        if followed is not None and (surely or now > run.asked_at + TOGETHER_S):
            run.followed = None
            step, before, taken_s, paused_s = followed
            self._learn(step, before, run.step, now, taken_s, paused_s)

    def _learn(
        self, step: Step, before: str, follows: Step, known_at: float, taken_s: float, paused_s: float | None
    ) -> None:
        places = self.places.setdefault(step[0][0], OrderedDict())
        for name in (place_after(before, step), place_after(ANYWHERE, step)):
            found = places.get(name)
            if found is None:
                if len(places) >= PLACES:
                    gone, _ = places.popitem(last=False)
                    self.unsaved[step[0][0], gone] = None
                found = places[name] = Place()
            places.move_to_end(name)
            if known_at > found.as_of:
                found.add(follows, taken_s, paused_s)
                self.unsaved[step[0][0], name] = None

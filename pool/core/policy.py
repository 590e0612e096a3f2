"""The protocols that a policy implements. Implementations live in `policies`, which imports nothing but the core.

Policies are pure: they are given records and the time, and return a value. They are asked often, so each says how
much it may look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pool.core.aims import NO_AIM, Aim
from pool.core.gaps import Choice, Class, Curve, Situation
from pool.core.idle_times import Minutes
from pool.core.load import Load
from pool.core.model import Cluster, Pool
from pool.core.uses import Use
from pool.core.workflows import Delay


class IdleView(Protocol):
    """The idle clusters of a pool that may be granted to one asker. Iteration is lazy: take the first that fits."""

    def __len__(self) -> int:
        """Return how many there are."""

    def of_group(self) -> Iterator[Cluster]:
        """Yield those of the pool that the asker's group used last (held or not), those with most of its data first."""

    def elsewhere(self) -> Iterator[Cluster]:
        """Yield those of larger keys that may serve the asker and have data of its group, the most first."""

    def newest(self) -> Iterator[Cluster]:
        """Yield all that are not held, most recently idle first."""

    def oldest(self) -> Iterator[Cluster]:
        """Yield all that are not held, longest idle first."""

    def soonest(self) -> Iterator[Cluster]:
        """Yield all that are not held, what retires first first, by `max_uses` or `max_lifetime`."""

    def latest(self) -> Iterator[Cluster]:
        """Yield all that are not held, what retires last first."""


class GrantOrder(Protocol):
    """Which idle cluster a waiter gets."""

    def pick(self, idle: IdleView, now: float) -> Cluster | None:
        """Return one of `idle`, or None if there is none."""


class Wish(NamedTuple):
    """What a queue order may look at of a waiter, as it queues.

    Attributes:
        priority: as it asked.
        asked_at: when.
        deadline: it is refused then.
        aging_s: of its pool; a waiter gains one step of priority in that time.
    """

    priority: int
    asked_at: float
    deadline: float
    aging_s: float


class Share(NamedTuple):
    """How a tenant stands to the others that want the same room.

    Attributes:
        begun: the virtual time at which its next lease begins: what it was given while others waited, by its weight.
        takes: the virtual seconds that this lease takes: those that are typical, times its size, by the weight.
    """

    begun: float
    takes: float


class QueueOrder(Protocol):
    """In which order waiters are served: those of a pool, and those of several pools that want the same room."""

    def rank(self, wish: Wish) -> float:
        """Return the rank of a waiter in its pool; lower is served first. It is computed once, when it queues."""

    def precedence(self, rank: float, share: Share) -> float:
        """Return the rank of a pool among those that want the same room, by its first waiter's; lower is first.

        Asked whenever room comes free. Ranks of one order compare; those of several are mixed as they are.
        """

    def gives_way(self, own: Share, other: Share) -> bool:
        """Tell whether a cluster that came free is stopped for another tenant, though somebody of its own waits."""

    def shares(self) -> bool:
        """Return True if it looks at shares: they are reckoned for the pools that have such an order alone."""


class Demand(NamedTuple):
    """What sizing may look at.

    Attributes:
        leased, idle, starting: clusters of the pool by state (resetting ones count as idle, growing ones as starting).
            Where larger pools may serve it and both look at demand, theirs that are leased count too, as in `load`.
        floor: least number of idle clusters from the schedule windows open now.
        last_asked_at: when the pool was last asked, 0 for never.
        min_idle: what an operator set by a resize, instead of the policy's own least number; None if nothing.
        warm_heads: idle clusters that have let their workers go: they take less time than a start, and are not idle.
        waiting: who waits for a cluster that is started for it: so many of those that start are taken.
        start_s: what a start takes typically, None if none was seen.
        load: what was seen of the pool's demand, for a sizing that asks for it (`Sizing.half_life_s`).
        aim: how far all keys of the configured pool are from the sizing's target, where it has one.
        dear: what an hour of the key's clusters costs, against one of a usual size; told to a sizing with a target.
    """

    leased: int
    idle: int
    starting: int
    floor: int
    last_asked_at: float
    min_idle: int | None = None
    warm_heads: int = 0
    waiting: int = 0
    start_s: float | None = None
    load: Load | None = None
    aim: Aim = NO_AIM
    dear: float = 1.0


class Sizing(Protocol):
    """How many idle clusters a pool should have."""

    @property
    def half_life_s(self) -> float:
        """Demand that long ago counts half in `Demand.load`; 0 where it looks at none."""

    def wants(self) -> bool:
        """Return False if it wants no idle cluster but those of schedule windows and of an operator's resize."""

    def idle_target(self, demand: Demand, now: float) -> int:
        """Return the number of idle clusters wanted now (those that start count towards it)."""

    def why(self, demand: Demand, now: float) -> str:
        """Return why it is that number, in numbers; empty if the settings say all."""


class Falling(Protocol):
    """Numbers that never rise, each of which may have to be reckoned."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, n: int, /) -> float:
        """Return one."""


class Saving(NamedTuple):
    """What the idle clusters of a pool save.

    Attributes:
        likely: how likely it is that the 1st, 2nd, ... of them is needed in the time of a start; never rises.
        times: so many times more than it costs for so long, one saves that is needed.
    """

    likely: Falling
    times: float

    def at(self, n: int) -> float:
        """Return how likely it is that the n-th is needed, counted from 0."""
        return self.likely[n] if n < len(self.likely) else 0.0


SURELY = 1e9
"""So many times more than its price saves what is wanted at any price."""


def surely(number: int) -> Saving:
    """Return what idle clusters save where so many are wanted, whatever they cost."""
    return Saving([1.0] * number, SURELY)


class Forecasting(Sizing, Protocol):
    """A sizing that looks at demand: `half_life_s` is not 0. It may have its reserve in common with larger pools."""

    def aims(self) -> bool:
        """Return True if it has a target: then it is told of each lease by `aim`."""

    def aim(self, aim: Aim, hit: bool, waited_s: float) -> Aim:
        """Return the aim of all keys of a configured pool after one more lease.

        Args:
            aim: before it.
            hit: whether an idle cluster answered it at once.
            waited_s: how long it was waited for.
        """

    def saving(self, demand: Demand, now: float) -> Saving:
        """Return what idle clusters of the pool save; those of larger pools save the same, where they may serve it."""

    def price_s(self, demand: Demand) -> float | None:
        """Return what a miss costs, in idle seconds of a cluster of the pool; None if it goes by no price."""


class Span(NamedTuple):
    """From when to when a cluster is to be ready, in seconds after something."""

    from_s: float
    until_s: float


class Prewarm(Protocol):
    """When a cluster is made ready ahead of a pool's next use, by the rhythm of its uses."""

    def span(self, uses: Sequence[Use], last_at: float, now: float, start_s: float | None) -> Span | None:
        """Return when, in seconds after the last use; None for not. Asked at each use, and when a span is over.

        Args:
            uses: the last ones, at most `pool.core.uses.REMEMBERED`.
            last_at: when the pool was used last.
            now: seconds since the epoch.
            start_s: what a start takes typically, None if none was seen.
        """


class Reserved(NamedTuple):
    """What an ask finds that is expected, if nothing is made ready for it.

    Attributes:
        lacks: how likely it is that no idle cluster of the reserve is left for it, from 0 to 1.
        price_s: what a miss costs by the price that the reserve goes by, in idle seconds; None for no such price.
        begun: whether a cluster was begun for the ask already. To let it go saves no start: the reserve makes another.
    """

    lacks: float = 1.0
    price_s: float | None = None
    begun: bool = False


NO_RESERVE = Reserved()


class LookAhead(Protocol):
    """When a cluster is made ready for the next step of a workflow."""

    def span(self, likely: float, delay: Delay, start_s: float | None, reserved: Reserved = NO_RESERVE) -> Span | None:
        """Return when, in seconds after that from which the delay counts; None for not.

        Args:
            likely: how likely it is that the cluster is asked for, from 0 to 1.
            delay: after which it is asked for then.
            start_s: what a start of its pool takes typically, None if none was seen.
            reserved: what it finds otherwise.
        """


class Reclaim(Protocol):
    """Until when an idle cluster is kept, and until when with its workers."""

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return when to stop `cluster`, idle since ``cluster.idle_since``, if nobody asks for it before.

        Asked when it becomes idle and again at the time returned; ``float('inf')`` keeps it.
        """

    def workers_until(self, cluster: Cluster, pool: Pool, price: float, now: float) -> float:
        """Return when `cluster`, idle since ``cluster.idle_since``, lets its workers go if nobody asks for it before.

        Asked as `keep_until` is, and only of a cluster that can; ``float('inf')`` keeps them. Its next lease then waits
        for its workers: longer than for a cluster that has them, and less than for a start.

        Args:
            cluster: idle, with its workers.
            pool: of it.
            price: what it costs without them, as a share of what it costs with them, from 0 to 1.
            now: seconds since the epoch.
        """

    def keeps(self) -> bool:
        """Return False if no cluster is ever used twice (the cold baseline)."""

    def learns(self) -> bool:
        """Return True if it is a `Learner`: it decides by the gaps that were seen."""

    def counts(self) -> bool:
        """Return True if it is a `Counter`: it decides by the minutes that idle times took."""


class Counter(Reclaim, Protocol):
    """A reclaim policy that counts idle times. `keep_until` is asked only of pools of which none was seen."""

    @property
    def half_life_s(self) -> float:
        """An idle time that long ago counts half."""

    def keep_s(self, seen: Minutes) -> float:
        """Return for how long a pool's idle clusters are kept, given its idle times."""

    def why(self, seen: Minutes) -> str:
        """Return why, in numbers."""


class Learner(Reclaim, Protocol):
    """A reclaim policy that learns. `keep_until` is asked only of what nothing is known about."""

    @property
    def half_life_s(self) -> float:
        """A gap that long ago counts half."""

    def aims(self) -> bool:
        """Return True if it has a target: then it is told of each lease by `aim`."""

    def aim(self, aim: Aim, hit: bool, waited_s: float, start_s: float | None) -> Aim:
        """Return a pool's aim after one more lease, which was answered at once or after a wait.

        Args:
            aim: before it.
            hit: whether an idle cluster answered it at once.
            waited_s: how long it was waited for.
            start_s: what a start of the pool takes typically, None if none was seen.
        """

    def classes(self, situation: Situation) -> Sequence[Class]:
        """Return what a situation is like; `choose` returns the same with what it chose."""

    def choose(self, situation: Situation, curves: Mapping[Class, Curve], now: float) -> Choice:
        """Return what to do in a situation, given what was seen of others."""

    def why(self, situation: Situation, chosen: Choice) -> str:
        """Return why that was chosen in a situation, in numbers."""


class Worth(NamedTuple):
    """What an eviction policy may look at of an idle cluster.

    Attributes:
        clock: the value of what was evicted last, as it was when the cluster was used last, or begun.
        uses: grants so far of all clusters of its pool that live.
        start_s: what a start of its pool takes typically.
        size: the largest part that it takes of anything that the ceiling bounds; 1 where nothing is bounded.
    """

    clock: float
    uses: int
    start_s: float
    size: float


class Eviction(Protocol):
    """Which idle cluster makes room for one that somebody waits for.

    Clusters with a group's data come after those without, and those that a floor protects last: it decides among
    equals.
    """

    def value(self, cluster: Cluster, worth: Worth) -> float:
        """Return what a cluster is worth: lower is evicted first."""

    def sorts(self) -> bool:
        """Return False if that is what has been idle for longest: then nothing has to be sorted."""

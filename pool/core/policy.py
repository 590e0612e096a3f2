"""The protocols that a policy implements. Implementations live in `policies`, which imports nothing but the core.

Policies are pure: they are given records and the time, and return a value. They are asked often, so each says how
much it may look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from pool.core.gaps import Choice, Class, Curve, Situation
from pool.core.model import Cluster, Pool


class IdleView(Protocol):
    """The idle clusters of a pool that may be granted to one asker. Iteration is lazy: take the first that fits."""

    def __len__(self) -> int:
        """Return how many there are."""

    def of_group(self) -> Iterator[Cluster]:
        """Yield those that the asker's group used last (held or not), those with most of its data first."""

    def newest(self) -> Iterator[Cluster]:
        """Yield all, most recently idle first."""

    def oldest(self) -> Iterator[Cluster]:
        """Yield all, longest idle first."""


class GrantOrder(Protocol):
    """Which idle cluster a waiter gets."""

    def pick(self, idle: IdleView, now: float) -> Cluster | None:
        """Return one of `idle`, or None if there is none."""


class QueueOrder(Protocol):
    """In which order waiters are served."""

    def rank(self, priority: int, asked_at: float, aging_s: float) -> float:
        """Return the rank of a waiter; lower is served first. It is computed once, when the waiter queues."""


class Demand(NamedTuple):
    """What sizing may look at.

    Attributes:
        leased, idle, starting: clusters of the pool by state (resetting ones count as idle, growing ones as starting).
        floor: least number of idle clusters from the schedule windows open now.
        last_asked_at: when the pool was last asked, 0 for never.
        min_idle: what an operator set by a resize, instead of the policy's own least number; None if nothing.
        warm_heads: idle clusters that have let their workers go: they take less time than a start, and are not idle.
    """

    leased: int
    idle: int
    starting: int
    floor: int
    last_asked_at: float
    min_idle: int | None = None
    warm_heads: int = 0


class Sizing(Protocol):
    """How many idle clusters a pool should have."""

    def idle_target(self, demand: Demand, now: float) -> int:
        """Return the number of idle clusters wanted now (those that start count towards it)."""


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


class Learner(Reclaim, Protocol):
    """A reclaim policy that learns. `keep_until` is asked only of what nothing is known about."""

    @property
    def half_life_s(self) -> float:
        """A gap that long ago counts half."""

    def choose(self, situation: Situation, curves: Mapping[Class, Curve], now: float) -> Choice:
        """Return what to do in a situation, given what was seen of others."""

    def why(self, situation: Situation, chosen: Choice) -> str:
        """Return why that was chosen in a situation, in numbers."""

"""Which clusters may serve a request for a smaller shape, and which pools have them.

Which pools those are is found when it is asked for, and anew when a pool comes that matters, or with other settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pool.core.key import Node, Shape, dominates
from pool.core.model import Pool
from pool.core.settings import PoolSettings

if TYPE_CHECKING:
    from pool.core.state import State

_MOST_NODES = 10_000
"""No request asks for so many."""

_Kin = tuple[str, str, str]
"""Cluster type, tenant and image: clusters of one pool may serve another only where these are the same."""


class Reserve(NamedTuple):
    """What pools of one kin have in common, for a while.

    Attributes:
        at: when it was reckoned.
        counts: how many idle clusters each of them has of it, by digest; none that has none in common with others.
        news: those for which it is another number than they go by.
    """

    at: float
    counts: dict[str, int]
    news: dict[str, None]


class Sizes:
    """What was found of which pools' clusters may serve whom. Where no pool allows it, nothing is looked at.

    Clusters that somebody else runs may serve any image of their cluster type and tenant.

    Attributes:
        larger: the pools whose clusters may serve a pool, by its digest.
        in_common: those of them that have their reserve in common with it.
        by_choice: all pools of one kin, those first for which the fewest larger ones will do.
        smaller: the pools that the clusters of a pool may serve.
        served: by kin, those that larger ones may serve: mostly none, and then nothing has to be looked at.
    """

    __slots__ = ("_any_image", "_kin", "_reserves", "by_choice", "in_common", "larger", "served", "smaller")

    def __init__(self) -> None:
        self.larger: dict[str, tuple[str, ...]] = {}
        self.in_common: dict[str, tuple[str, ...]] = {}
        self.by_choice: dict[_Kin, tuple[str, ...]] = {}
        self.smaller: dict[str, tuple[str, ...]] = {}
        self._reserves: dict[_Kin, Reserve] = {}
        self._kin: dict[_Kin, dict[str, None]] = {}
        self.served: dict[_Kin, dict[str, None]] = {}
        self._any_image: dict[tuple[str, str], dict[str, None]] = {}

    def put(self, pool: Pool, settings: PoolSettings) -> None:
        """Take a pool that is new, or that has other settings."""
        kin = _kin(pool)
        self._kin.setdefault(kin, {})[pool.digest] = None
        if settings.serve_larger:
            self.served.setdefault(kin, {})[pool.digest] = None
        if settings.standing is not None and settings.standing.any_image:
            self._any_image.setdefault(kin[:2], {})[pool.digest] = None
        self._forget(pool)

    def drop(self, pool: Pool) -> None:
        """Forget a pool."""
        self._forget(pool)
        kin = _kin(pool)
        for pools in (self._kin[kin], self.served.get(kin, {}), self._any_image.get(kin[:2], {})):
            pools.pop(pool.digest, None)

    def clear(self) -> None:
        """Forget all pools."""
        for known in (self.larger, self.in_common, self.smaller, self._kin, self.served, self._any_image):
            known.clear()
        self.by_choice.clear()
        self._reserves.clear()

    def kin_of(self, pool: Pool) -> Iterable[str]:
        """Return all pools of its kin, and itself."""
        return self._kin[_kin(pool)]

    def reserve_of(self, pool: Pool) -> Reserve | None:
        """Return what its kin has in common, as it was reckoned last; None if that is to be done anew."""
        return self._reserves.get(_kin(pool)) if self._reserves else None

    def keep_reserve(self, pool: Pool, reserve: Reserve) -> None:
        """Take what its kin has in common."""
        self._reserves[_kin(pool)] = reserve

    def forget_reserve(self, pool: Pool) -> None:
        """Have it reckoned anew what its kin has in common."""
        if self._reserves:
            self._reserves.pop(_kin(pool), None)

    def may_be_larger(self, pool: Pool) -> Iterable[str]:
        """Return the pools among which are those whose clusters may serve a pool."""
        kin = _kin(pool)
        if pool.digest not in self.served.get(kin, ()):
            return ()
        return {**self._kin[kin], **self._any_image.get(kin[:2], {})}

    def may_be_smaller(self, pool: Pool) -> Iterable[str]:
        """Return the pools among which are those that the clusters of a pool may serve."""
        kin = _kin(pool)
        if pool.digest not in self._any_image.get(kin[:2], ()):
            return self.served.get(kin, ())
        return [digest for of, served in self.served.items() if of[:2] == kin[:2] for digest in served]

    def _forget(self, pool: Pool) -> None:
        """Forget what was found that may be otherwise with this pool, or without it."""
        kin = _kin(pool)
        if pool.digest in self._any_image.get(kin[:2], ()):
            for found in (self.larger, self.in_common, self.smaller):
                found.clear()
            self.by_choice.clear()
            self._reserves.clear()
            return
        self.by_choice.pop(kin, None)
        self._reserves.pop(kin, None)
        served = self.served.get(kin, {})
        for digest in (pool.digest, *served):
            self.larger.pop(digest, None)
            self.in_common.pop(digest, None)
        self.smaller.pop(pool.digest, None)
        if pool.digest in served:
            for digest in (*self._kin[kin], *self._any_image.get(kin[:2], ())):
                self.smaller.pop(digest, None)


def _kin(pool: Pool) -> _Kin:
    return pool.key.cluster_type, pool.key.tenant, pool.key.image


def larger_of(state: State, digest: str) -> tuple[str, ...]:
    """Return the other pools whose clusters may serve those who ask for a pool's key, the smallest first."""
    found = state.sizes.larger.get(digest)
    if found is None:
        pool = state.pools[digest]
        others = (state.pools[one] for one in state.sizes.may_be_larger(pool) if one != digest)
        found = state.sizes.larger[digest] = _by_size(one for one in others if serves(state, one, pool))
    return found


def in_common(state: State, digest: str) -> tuple[str, ...]:
    """Return those of them whose sizing looks at demand, if the pool's does: they have their reserve in common."""
    found = state.sizes.in_common.get(digest)
    if found is None:
        larger = larger_of(state, digest) if state.settings(digest).sizing.half_life_s else ()
        found = tuple(one for one in larger if state.settings(one).sizing.half_life_s)
        state.sizes.in_common[digest] = found
    return found


def smaller_of(state: State, digest: str) -> tuple[str, ...]:
    """Return the other pools that the clusters of a pool may serve, the largest first."""
    found = state.sizes.smaller.get(digest)
    if found is None:
        pool = state.pools[digest]
        others = (state.pools[one] for one in state.sizes.may_be_smaller(pool) if one != digest)
        found = _by_size(one for one in others if serves(state, pool, one))[::-1]
        state.sizes.smaller[digest] = found
    return found


def by_choice(state: State, digest: str) -> tuple[str, ...]:
    """Return a pool and all of its kin, those first for which the fewest larger ones will do; then the largest.

    So a pool comes after all that may serve it.
    """
    sizes, pool = state.sizes, state.pools[digest]
    kin = _kin(pool)
    found = sizes.by_choice.get(kin)
    if found is None:
        pools = [state.pools[one] for one in sizes.kin_of(pool)]
        largest = _by_size(pools)[::-1]
        found = sizes.by_choice[kin] = tuple(sorted(largest, key=lambda one: len(larger_of(state, one))))
    return found


def _by_size(pools: Iterable[Pool]) -> tuple[str, ...]:
    return tuple(one.digest for one in sorted(pools, key=_size))


def _size(pool: Pool) -> tuple[int, int, int, str]:
    footprint = pool.key.footprint
    return footprint.gpu, footprint.milli_cpu, footprint.memory_bytes, pool.digest


def serves(state: State, larger: Pool, pool: Pool) -> bool:
    """Tell whether the clusters of `larger` may serve those who ask for the key of `pool`."""
    standing = state.settings(larger.digest).standing
    if standing is None:
        return dominates(larger.key, pool.key)
    have, want = larger.key, pool.key
    return (
        (have.cluster_type, have.tenant) == (want.cluster_type, want.tenant)
        and (standing.any_image or have.image == want.image)
        and covers(have.shape, want.shape)
    )


def covers(large: Shape, small: Shape) -> bool:
    """Tell whether the nodes of `large` have room for those that `small` asks for, at their least.

    For clusters that somebody else runs: which of their nodes is called what, and how they were started, is nothing
    that a request could choose. A pod template asks for rights that nobody gives there, so it is never covered. Nodes
    asked for are placed one by one, the largest first, each where it fits first.
    """
    nodes = [large.head, *(group.node for group in large.workers for _ in range(group.min_replicas))]
    wanted = [group.node for group in small.workers for _ in range(group.min_replicas)]
    wanted.sort(key=lambda node: (node.gpu, node.milli_cpu, node.memory_bytes), reverse=True)
    if len(wanted) > _MOST_NODES or any(node.pod for node in (small.head, *wanted)):
        return False
    left = _less(nodes[0], small.head)
    if left is None:
        return False
    nodes[0] = left
    for node in wanted:
        for place, have in enumerate(nodes):
            if (left := _less(have, node)) is not None:
                nodes[place] = left
                break
        else:
            return False
    return True


def _less(have: Node, want: Node) -> Node | None:
    """Return what a node has left beside `want`, None if it has no room for it."""
    custom = dict(have.custom)
    if (
        have.milli_cpu < want.milli_cpu
        or have.gpu < want.gpu
        or have.memory_bytes < want.memory_bytes
        or have.object_store_bytes < want.object_store_bytes
        or (want.accelerator and have.accelerator != want.accelerator)
        or any(custom.get(name, 0.0) < amount for name, amount in want.custom)
    ):
        return None
    custom |= {name: custom[name] - amount for name, amount in want.custom if name in custom}
    return replace(
        have,
        milli_cpu=have.milli_cpu - want.milli_cpu,
        gpu=have.gpu - want.gpu,
        memory_bytes=have.memory_bytes - want.memory_bytes,
        object_store_bytes=have.object_store_bytes - want.object_store_bytes,
        custom=tuple(custom.items()),
    )

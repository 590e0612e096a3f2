"""When an idle cluster is stopped, and when it lets its workers go before that.

Source: the fixed keep-alive of serverless platforms (OpenWhisk's idle timeout, ten minutes; Flyte's `idle_ttl`), and
the pool manners of psycopg_pool, which shortens every lifetime by a random share so that things that were made
together do not end together.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

from pool.core.model import Cluster, Pool


def spread(name: str) -> float:
    """Return a number in [0, 1) that depends on `name` alone: jitter that a replay and a restart repeat."""
    return zlib.crc32(name.encode()) / 2**32


class Whole:
    """What most rules have in common: a cluster serves many leases, goes as a whole, and nothing is learned."""

    __slots__ = ()

    def workers_until(self, cluster: Cluster, pool: Pool, price: float, now: float) -> float:
        """Return infinity: a cluster goes as a whole."""
        return math.inf

    def keeps(self) -> bool:
        """Return True: clusters serve more than one lease."""
        return True

    def learns(self) -> bool:
        """Return False."""
        return False

    def counts(self) -> bool:
        """Return False."""
        return False


@dataclass(frozen=True, slots=True)
class FixedTTL(Whole):
    """Keep an idle cluster for a fixed time.

    ``keep_until = idle_since + ttl_s * (1 - jitter * u)``, with u in [0, 1) from the cluster's id. The jitter only
    shortens: no cluster idles longer than `ttl_s`. The workers are kept likewise, for `workers_ttl_s`.

    Attributes:
        ttl_s: longest idle time.
        jitter: share of it, from 0 to 1, by which a cluster's time may be shorter.
        workers_ttl_s: longest idle time with its workers; 0 keeps them as long as the cluster.

    Raises:
        ValueError: if one is out of range.
    """

    ttl_s: float = 600.0
    jitter: float = 0.1
    workers_ttl_s: float = 0.0

    def __post_init__(self) -> None:
        for name, ttl_s in (("ttl", self.ttl_s), ("workers_ttl", self.workers_ttl_s)):
            if not (ttl_s >= 0 and math.isfinite(ttl_s)):
                raise ValueError(f"{name} is {ttl_s:g} s; it must be 0 or more")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter:g}; it must be a share from 0 to 1")

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return when `cluster`, idle since ``cluster.idle_since``, is stopped."""
        return cluster.idle_since + self._shortened(self.ttl_s, cluster)

    def workers_until(self, cluster: Cluster, pool: Pool, price: float, now: float) -> float:
        """Return when `cluster` lets its workers go, infinity if never before it is stopped."""
        if not self.workers_ttl_s or self.workers_ttl_s >= self.ttl_s:
            return math.inf
        return cluster.idle_since + self._shortened(self.workers_ttl_s, cluster)

    def _shortened(self, ttl_s: float, cluster: Cluster) -> float:
        return ttl_s * (1.0 - self.jitter * spread(cluster.id))


@dataclass(frozen=True, slots=True)
class NeverKeep(Whole):
    """A fresh cluster for every lease: the cold baseline that every other policy is measured against.

    It is what Flyte's Ray plugin does with ``ttl_seconds_after_finished=0``.
    """

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return `now`."""
        return now

    def keeps(self) -> bool:
        """Return False: no cluster is used twice."""
        return False


@dataclass(frozen=True, slots=True)
class UntilEvicted(Whole):
    """Keep every idle cluster until its room is needed (`eviction` says whose goes first), or it is too old.

    The resource-conserving keep-alive of FaasCache (see `policies.eviction`): for clusters under a ceiling that is paid
    for anyway, as on machines that one owns. Without a ceiling, what was started once goes on until its `max_lifetime`.
    """

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return infinity."""
        return math.inf

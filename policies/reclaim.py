"""When an idle cluster is stopped.

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


@dataclass(frozen=True, slots=True)
class FixedTTL:
    """Keep an idle cluster for a fixed time.

    ``keep_until = idle_since + ttl_s * (1 - jitter * u)``, with u in [0, 1) from the cluster's id. The jitter only
    shortens: no cluster idles longer than `ttl_s`.

    Attributes:
        ttl_s: longest idle time.
        jitter: share of it, from 0 to 1, by which a cluster's time may be shorter.

    Raises:
        ValueError: if one is out of range.
    """

    ttl_s: float = 600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if not (self.ttl_s >= 0 and math.isfinite(self.ttl_s)):
            raise ValueError(f"ttl is {self.ttl_s:g} s; it must be 0 or more")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter:g}; it must be a share from 0 to 1")

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return when `cluster`, idle since ``cluster.changed_at``, is stopped."""
        return cluster.changed_at + self.ttl_s * (1.0 - self.jitter * spread(cluster.id))

    def keeps(self) -> bool:
        """Return True: clusters serve more than one lease."""
        return True


@dataclass(frozen=True, slots=True)
class NeverKeep:
    """A fresh cluster for every lease: the cold baseline that every other policy is measured against.

    It is what Flyte's Ray plugin does with ``ttl_seconds_after_finished=0``.
    """

    def keep_until(self, cluster: Cluster, pool: Pool, now: float) -> float:
        """Return `now`."""
        return now

    def keeps(self) -> bool:
        """Return False: no cluster is used twice."""
        return False

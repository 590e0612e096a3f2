"""What a decision costs, from 100 to 100,000 clusters and leases: it should not depend on how many there are.

One round is the life of a lease on a pool with as many clusters as leases live elsewhere: acquire, renew, release,
reset done. Half of the clusters are leased at any time, over pools of 1,000 clusters at most; time is an argument, so
nothing but the core is measured.
"""

from __future__ import annotations

import gc
import math
import random
import time
from itertools import count

from benchmarks.report import finish
from policies.grant_order import MostRecentlyUsed
from policies.queue_order import PriorityWithAging
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.core.decide import decide, due_events
from pool.core.decisions import Granted
from pool.core.events import Acquire, Prewarm, Release, Renew, ResetDone, Started
from pool.core.key import ClusterKey, key_from
from pool.core.model import Lease, Mode
from pool.core.settings import PoolSettings, Rules
from pool.core.state import State

SIZES = (100, 1_000, 10_000, 100_000)
POOL_SIZE = 1_000
ROUNDS = 2_000
REPEATS = 20


class World:
    """A state with `size` clusters, half of them leased."""

    def __init__(self, size: int) -> None:
        settings = PoolSettings(
            "default", MostRecentlyUsed(), PriorityWithAging(), FloorAndBuffer(), FixedTTL(ttl_s=1e9, jitter=0.0)
        )
        self.state = State(Rules(lambda key: settings, max_starting=size + 1))
        self.now = 1_000_000.0
        self.ids = count()
        self.random = random.Random(1)
        self.leases: list[Lease] = []
        self.keys = [self._key(n) for n in range(max(1, size // POOL_SIZE))]
        for key in self.keys:
            self._fill(key, size // len(self.keys))
        for n in range(size // 2):
            self.leases.append(self.acquire(self.keys[n % len(self.keys)]))

    def _key(self, n: int) -> ClusterKey:
        return key_from({"image": f"registry.example/team/image:{n}", "tenant": f"project-{n % 20}/production"})

    def _fill(self, key: ClusterKey, clusters: int) -> None:
        decision = decide(self.state, Prewarm(key, clusters), self.now)
        for id_ in decision.reply.ids:  # type: ignore[union-attr]
            decide(self.state, Started(id_, f"boot-{id_}", "127.0.0.1:6379"), self.now)

    def acquire(self, key: ClusterKey) -> Lease:
        """Acquire a warm cluster and claim it."""
        n = next(self.ids)
        ask = Acquire(
            f"l-{n}", "bench", f"r-{n}", key, f"holder-{n}", f"group-{n}", Mode.WAIT_OR_CREATE,
            self.now + 600, self.now + 60,
        )  # fmt: skip
        reply = decide(self.state, ask, self.now).reply
        assert isinstance(reply, Granted), reply
        decide(self.state, Renew(reply.lease.id, reply.lease.epoch), self.now)
        return reply.lease

    def round(self) -> None:
        """One lease ends somewhere and another begins there."""
        self.now += 0.001
        at = self.random.randrange(len(self.leases))
        lease = self.leases[at]
        decide(self.state, Release(lease.id, lease.epoch), self.now)
        decide(self.state, ResetDone(lease.cluster, lease.epoch + 1, True), self.now)
        for due in due_events(self.state, self.now):
            decide(self.state, due, self.now)
        self.leases[at] = self.acquire(self.state.pools[lease.pool].key)


def measure() -> dict[int, float]:
    """Return microseconds per decision by size: the least of several runs, which was disturbed least.

    Sizes take turns, so that a machine that is slower for a while is so for all of them.
    """
    worlds = {size: World(size) for size in SIZES}
    least = dict.fromkeys(SIZES, math.inf)
    gc.collect()
    gc.disable()
    try:
        for _ in range(REPEATS):
            for size, world in worlds.items():
                began = time.perf_counter()
                for _ in range(ROUNDS):
                    world.round()
                least[size] = min(least[size], (time.perf_counter() - began) / (ROUNDS * 4) * 1e6)
    finally:
        gc.enable()
    return least


def main() -> None:
    """Measure every size and print the growth."""
    costs = {size: round(us, 2) for size, us in measure().items()}
    for size, us in costs.items():
        print(f"{size:>7} clusters, {size // 2:>6} leases: {us:6.1f} us a decision", flush=True)
    growth = round(max(costs.values()) / min(costs.values()), 3)
    finish("decide", "make bench-decide", {"growth": growth, "us_per_decision": costs[SIZES[-1]]}, {"us": costs})


if __name__ == "__main__":
    main()

"""What a decision costs, from 100 to 100,000 clusters and leases: it should not depend on how many there are.

One round is the life of a lease on a pool with as many clusters as leases live elsewhere: acquire, renew, release,
reset done. Half of the clusters are leased at any time, over pools of 1,000 clusters at most; time is an argument, so
nothing but the core is measured.

`learning_us` is the same for a pool that does all that can be learned: `auto`, `newsvendor` and `just_in_time`, under
workflows of four steps, with the starts and stops that they cause. Garbage is collected as in the daemon.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections import deque
from itertools import count

from benchmarks.report import finish
from policies.auto import Auto
from policies.grant_order import MostRecentlyUsed
from policies.look_ahead import JustInTime
from policies.newsvendor import Newsvendor
from policies.queue_order import PriorityWithAging
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.core.decide import Due, decide, due_events
from pool.core.decisions import Answer, Granted, Reset, Start, Stop
from pool.core.events import Acquire, Event, Prewarm, Release, Renew, ResetDone, Started, Stopped
from pool.core.key import ClusterKey, key_from
from pool.core.model import Lease, Mode
from pool.core.settings import PoolSettings, Rules
from pool.core.state import State
from pool.interpreter import long_lived_objects

SIZES = (100, 1_000, 10_000, 100_000)
POOL_SIZE = 1_000
ROUNDS = 2_000
REPEATS = 20
OPEN, STEPS = 40, 4
"""Leases that are open at once where everything is learned, and steps of a workflow there."""


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


class Learning:
    """One pool of which everything is learned: workflows come at random, each asks four times, one after the other."""

    def __init__(self) -> None:
        settings = PoolSettings(
            "default", MostRecentlyUsed(), PriorityWithAging(), Newsvendor(600.0), Auto(600.0),
            look_ahead=JustInTime(600.0),
        )  # fmt: skip
        self.state = State(Rules(lambda key: settings, max_starting=10**6))
        self.key = key_from({"image": "registry.example/team/image:1", "tenant": "project/production"})
        self.now = 1_000_000.0
        self.random = random.Random(1)
        self.ids = count()
        self.decisions = 0
        self.open: deque[tuple[Lease, int]] = deque()

    def tell(self, event: Event | Due) -> None:
        """Decide, and have happen at once what the decision leads to."""
        coming: deque[Event | Due] = deque([event])
        while coming:
            decision = decide(self.state, coming.popleft(), self.now)
            self.decisions += 1
            if isinstance(decision.reply, Granted) and isinstance(decision.event, Acquire):
                self._granted(decision.reply.lease, coming)
            for effect in decision.effects:
                if isinstance(effect, Start):
                    coming.append(Started(effect.cluster.id, "boot", "127.0.0.1:6379"))
                elif isinstance(effect, Stop):
                    coming.append(Stopped(effect.cluster_id))
                elif isinstance(effect, Reset):
                    coming.append(ResetDone(effect.cluster.id, effect.epoch, True))
                elif isinstance(effect, Answer) and effect.reply is not decision.reply:
                    assert isinstance(effect.reply, Granted), effect
                    self._granted(effect.reply.lease, coming)

    def _granted(self, lease: Lease, coming: deque[Event | Due]) -> None:
        self.open.append((lease, int(lease.holder)))
        coming.append(Renew(lease.id, lease.epoch))

    def ask(self, group: str, step: int) -> None:
        """Ask for the lease of one step of a workflow."""
        n = next(self.ids)
        self.tell(
            Acquire(
                f"l-{n}", "bench", f"r-{n}", self.key, str(step), group, Mode.WAIT_OR_CREATE,
                self.now + 1e6, self.now + 1e6, ttl_s=1e6,
            )
        )  # fmt: skip

    def round(self) -> None:
        """A workflow begins, and the oldest lease that is open ends: its workflow goes on with its next step."""
        self.now += self.random.expovariate(1 / 30.0)
        for due in due_events(self.state, self.now):
            self.tell(due)
        self.ask(f"group-{next(self.ids)}", 1)
        while len(self.open) > OPEN:
            lease, step = self.open.popleft()
            self.tell(Release(lease.id, lease.epoch))
            if step < STEPS:
                self.now += 6.0
                self.ask(lease.group, step + 1)


def measure_learning() -> float:
    """Return microseconds per decision of a pool that learns: the least of several runs."""
    with long_lived_objects():
        world, least = Learning(), math.inf
    for _ in range(ROUNDS):
        world.round()
    for _ in range(REPEATS // 4):
        before, began = world.decisions, time.perf_counter()
        for _ in range(ROUNDS // 4):
            world.round()
        least = min(least, (time.perf_counter() - began) / (world.decisions - before) * 1e6)
    return least


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
    learning_us = round(measure_learning(), 2)
    print(f"with all that can be learned: {learning_us:6.1f} us a decision", flush=True)
    figures = {"growth": growth, "us_per_decision": costs[SIZES[-1]], "learning_us": learning_us}
    finish("decide", "make bench-decide", figures, {"us": costs})


if __name__ == "__main__":
    main()

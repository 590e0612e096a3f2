"""What goes wrong, when the seed says so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pool.backends.simulated import Behaviour
from pool.core.decisions import Change
from pool.core.errors import StoreConflict, StoreFailed
from pool.core.model import Cluster, Lease, Pool, Record, Waiter
from pool.store.memory import Fault

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

HEALTHY = Behaviour(
    start_s=(0.5, 3.0),
    grow_s=(0.2, 1.5),
    shrink_s=(0.1, 0.5),
    stop_s=(0.1, 0.5),
    reset_s=(0.05, 0.3),
    list_s=(0.0, 0.1),
)


def make_behaviour(rng: random.Random) -> Behaviour:
    """Draw how bad the backend is in this run."""
    return Behaviour(
        start_s=rng.choice([(0.5, 3.0), (0.0, 0.0), (1.0, 25.0)]),
        grow_s=rng.choice([(0.2, 1.5), (0.0, 0.0), (0.5, 15.0)]),
        shrink_s=rng.choice([(0.1, 0.5), (0.0, 0.0), (0.1, 8.0)]),
        stop_s=rng.choice([(0.1, 0.5), (0.0, 0.0), (0.1, 6.0)]),
        reset_s=rng.choice([(0.05, 0.3), (0.0, 0.0), (0.1, 6.0)]),
        list_s=rng.choice([(0.0, 0.1), (0.0, 3.0)]),
        start_fails=rng.choice([0.0, 0.1, 0.7]),
        grow_fails=rng.choice([0.0, 0.1, 0.6]),
        shrink_fails=rng.choice([0.0, 0.3]),
        worker_holds=rng.choice([0.0, 0.4]),
        stop_fails=rng.choice([0.0, 0.3]),
        reset_dirty=rng.choice([0.0, 0.2]),
        list_fails=rng.choice([0.0, 0.4]),
    )


class Faults:
    """Breaks things for a while, one after the other."""

    def __init__(self, sim: Simulation, rng: random.Random) -> None:
        self.sim, self.rng = sim, rng
        every = [
            self.lose_a_cluster, self.replace_a_head, self.hide_the_backend, self.kill_the_daemon,
            self.kill_between_commit_and_act, self.refuse_a_commit, self.fail_the_store, self.fork_the_daemon,
            self.freeze_the_disk, self.suspend_the_machine,
        ]  # fmt: skip
        self.mine = rng.sample(every, rng.randint(0, len(every)))

    async def run(self, until_s: float) -> None:
        """Break things until the time is over, then mend them all."""
        while self.mine:
            await asyncio.sleep(self.rng.expovariate(1 / 6.0))
            if self.sim.loop.time() >= until_s:
                break
            fault = self.rng.choice(self.mine)
            self.sim.note(f"fault {fault.__name__}")
            await fault()

    async def lose_a_cluster(self) -> None:
        clusters = list(self.sim.world.clusters)
        host = self.sim.host
        if clusters and host is not None:
            host.backend.lose(self.rng.choice(clusters), told=self.rng.random() < 0.5)

    async def replace_a_head(self) -> None:
        clusters = list(self.sim.world.clusters)
        host = self.sim.host
        if clusters and host is not None:
            host.backend.replace(self.rng.choice(clusters))

    async def hide_the_backend(self) -> None:
        self.sim.world.unreachable = True
        await asyncio.sleep(self.rng.uniform(0.1, 15.0))
        self.sim.world.unreachable = False

    async def kill_the_daemon(self) -> None:
        """At any point at which the program can stand still at all."""
        host = self.sim.host
        if host is not None:
            step = self.sim.loop.steps + self.rng.randint(1, 300)
            self.sim.loop.at_step(step, lambda: self.sim.kill(host))

    async def kill_between_commit_and_act(self) -> None:
        host = self.sim.host
        if host is None:
            return
        countdown = self.rng.randint(1, 5)

        def hook(_: Sequence[Change]) -> Fault | None:
            nonlocal countdown
            countdown -= 1
            if countdown == 0:
                self.sim.kill(host)
            return None

        host.store.fail_next = hook

    async def refuse_a_commit(self) -> None:
        """A poison record: every commit that holds it is refused, until it has had its way twice."""
        host = self.sim.host
        if host is None:
            return
        poison: list[str] = []
        left = self.rng.choice([2, 2, 4])

        def hook(changes: Sequence[Change]) -> Fault | None:
            nonlocal left
            if not poison:
                poison.append(_id(self.rng.choice([c for c in changes if c.durable])))
            if left and any(c.durable and _id(c) == poison[0] for c in changes):
                left -= 1
                return Fault(StoreConflict("the simulated store refuses a record"))
            return None

        host.store.fail_next = hook

    async def fail_the_store(self) -> None:
        host = self.sim.host
        if host is not None:
            fault = Fault(StoreFailed("the simulated disk is full"), written=self.rng.random() < 0.5)
            host.store.fail_next = lambda _: fault

    async def fork_the_daemon(self) -> None:
        """A second daemon on the same store, while the first one does not know that it was replaced."""
        self.sim.fork()

    async def freeze_the_disk(self) -> None:
        host = self.sim.host
        if host is None:
            return
        host.store.gate.clear()
        await asyncio.sleep(self.rng.uniform(0.1, 20.0))
        if self.rng.random() < 0.3:
            self.sim.fork()
            await asyncio.sleep(self.rng.uniform(0.1, 5.0))
        host.store.gate.set()

    async def suspend_the_machine(self) -> None:
        self.sim.loop.jump(self.rng.uniform(1.0, 60.0))


def _id(change: Change) -> str:
    record: Record | None = change.new if change.new is not None else change.old
    if isinstance(record, Pool):
        return record.digest
    assert isinstance(record, Cluster | Lease | Waiter)
    return record.id

"""What was decided is carried out once, one effect per cluster at a time."""

from __future__ import annotations

import asyncio
import gc

from pool.backends.simulated import Behaviour, SimulatedBackend, SimulatedWorld
from pool.core.decisions import Start, Stop, StopOrphan
from pool.core.events import Event, Progress, Started, StartFailed, StopFailed, Stopped
from pool.core.model import Cluster
from pool.core.reasons import Reason
from pool.effects import Effects
from tests.kit import KEY, Core, in_virtual_time

SLOW = Behaviour(start_s=(10.0, 10.0), stop_s=(2.0, 2.0), reset_s=(5.0, 5.0))


class Carried:
    """Effects, and what they told."""

    def __init__(self) -> None:
        self.world = SimulatedWorld(behaviour=SLOW)
        self.told: list[Event] = []
        self.effects = Effects(SimulatedBackend(self.world), self.told.append)

    def kinds(self) -> list[type]:
        return [type(event) for event in self.told if not isinstance(event, Progress)]

    async def done(self) -> None:
        while self.effects.busy:  # noqa: ASYNC110 time is virtual
            await asyncio.sleep(1)


def starting() -> Cluster:
    core = Core()
    core.acquire()
    return core.clusters()[0]


def stop(cluster: Cluster) -> Stop:
    return Stop(cluster.id, KEY, Reason.IDLE_TTL, "")


@in_virtual_time
async def test_a_start_that_is_under_way_is_not_begun_again() -> None:
    carried, cluster = Carried(), starting()
    for _ in range(3):
        carried.effects.run(Start(cluster, KEY, 60))
        await asyncio.sleep(1)
    await carried.done()
    assert carried.kinds().count(Started) == 1
    assert carried.world.boots == 1


@in_virtual_time
async def test_a_stop_cancels_the_start_and_comes_after_it() -> None:
    carried, cluster = Carried(), starting()
    carried.effects.run(Start(cluster, KEY, 60))
    await asyncio.sleep(1)
    assert carried.world.clusters
    carried.effects.run(stop(cluster))
    carried.effects.run(stop(cluster))
    await carried.done()
    assert carried.kinds()[-1:] == [Stopped]
    assert Started not in carried.kinds()
    assert not carried.world.clusters


@in_virtual_time
async def test_a_stop_that_was_cancelled_before_it_began_leaves_nothing_behind() -> None:
    carried, cluster = Carried(), starting()
    carried.effects.run(Start(cluster, KEY, 60))
    await asyncio.sleep(1)
    carried.effects.run(stop(cluster))
    await carried.effects.close()
    gc.collect()  # a coroutine that nobody awaited would complain
    assert not carried.effects.busy


@in_virtual_time
async def test_what_the_backend_cannot_do_is_told_and_not_raised() -> None:
    carried, cluster = Carried(), starting()
    carried.world.unreachable = True
    carried.effects.run(Start(cluster, KEY, 60))
    await carried.done()
    carried.effects.run(StopOrphan("c-unknown-1"))
    await carried.done()
    assert carried.kinds() == [StartFailed, StopFailed]


@in_virtual_time
async def test_busy_names_the_clusters_on_which_something_is_under_way() -> None:
    carried, cluster = Carried(), starting()
    carried.effects.run(Start(cluster, KEY, 60))
    assert carried.effects.busy == {cluster.id}
    await carried.done()
    assert not carried.effects.busy

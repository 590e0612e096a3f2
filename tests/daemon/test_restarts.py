"""What outlives a daemon, and what the next one believes."""

from __future__ import annotations

import asyncio

import pytest

from policies.learned import Learned
from pool.backends.simulated import SimulatedCluster
from pool.core.decisions import Renewed
from pool.core.errors import StoreFailed
from pool.core.events import Release, Renew
from pool.core.reasons import Reason
from tests.daemon.kit import Setup
from tests.kit import in_virtual_time, make_rules


@in_virtual_time
async def test_clusters_and_leases_outlive_their_daemon() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "holder", ttl_s=30.0)
        boots = setup.world.boots
    await asyncio.sleep(1000.0)
    async with setup.daemon() as daemon:
        assert daemon.state.leases[lease.id].expires_at == pytest.approx(setup.clock.now() + 30.0, abs=1)
        assert isinstance(await daemon.submit(Renew(lease.id, lease.epoch)), Renewed)
        assert setup.world.boots == boots


@in_virtual_time
async def test_what_a_daemon_learned_is_known_to_the_next_one() -> None:
    setup = Setup(make_rules(reclaim=Learned(300.0)))
    async with setup.daemon() as daemon:
        for name in "abc":
            lease = await setup.lease(daemon, name)
            await daemon.submit(Release(lease.id, lease.epoch))
            await asyncio.sleep(40.0)
        learned = {class_: curve.weight for class_, curve in daemon.state.gaps.curves.items()}
        assert learned
    assert setup.disk.learned
    setup.disk.leases.clear()
    async with setup.daemon() as daemon:
        assert {class_: curve.weight for class_, curve in daemon.state.gaps.curves.items()} == learned


@in_virtual_time
async def test_a_store_that_cannot_keep_what_was_learned_is_asked_again() -> None:
    setup = Setup(make_rules(reclaim=Learned(300.0)))
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "a")
        await daemon.submit(Release(lease.id, lease.epoch))
        store = setup.stores[-1]

        async def fails(rows: object) -> None:
            raise StoreFailed("full")

        store.keep_learned = fails  # type: ignore[method-assign]
        assert await daemon.records.keep_learned() == 0
        del store.keep_learned  # type: ignore[method-assign]
        assert await daemon.records.keep_learned() > 0
        assert await daemon.records.keep_learned() == 0


@in_virtual_time
async def test_a_lease_that_nobody_renewed_between_two_restarts_is_not_extended_again() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "gone", ttl_s=30.0)
    async with setup.daemon():
        await asyncio.sleep(20.0)
    async with setup.daemon() as daemon:
        await asyncio.sleep(12.0)
        assert daemon.state.ended[lease.id].end_reason in (Reason.EXPIRED, Reason.UNCLAIMED)


@in_virtual_time
async def test_a_start_that_a_daemon_did_not_live_to_see_is_adopted() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        await daemon.submit(setup.ask("holder"))
        await asyncio.sleep(0.5)
    async with setup.daemon() as daemon:
        await setup.lease(daemon, "holder")
        assert setup.world.boots == 1
        assert len(daemon.state.clusters) == 1


@in_virtual_time
async def test_orphans_of_our_own_store_are_stopped_and_others_are_left_alone() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        await setup.lease(daemon, "holder", ttl_s=1000.0)
        known = set(setup.world.clusters)
        for name, store_id in (("c-orphan-1", daemon.store_id), ("c-foreign-1", "somebody-else")):
            setup.world.clusters[name] = SimulatedCluster(name, store_id, 99, ready=True)
        await asyncio.sleep(15.0)
        assert set(setup.world.clusters) == known | {"c-foreign-1"}


@in_virtual_time
async def test_nothing_is_believed_before_the_backend_was_seen_once() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "holder", ttl_s=30.0)
    setup.world.unreachable = True
    again = setup.make()
    starting = setup.loop.create_task(again.start())
    await asyncio.sleep(20.0)
    assert not again.ready
    setup.world.unreachable = False
    await starting
    assert again.ready
    assert lease.id in again.state.leases
    await again.stop()


# --- signs of life ---------------------------------------------------------------------------------------------------

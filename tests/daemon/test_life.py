"""The signs of life of a daemon, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from policies.sizing import FloorAndBuffer
from pool.core.decisions import Change, Renewed
from pool.core.events import Release, Renew
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from tests.daemon.kit import STEADY, Setup
from tests.kit import in_virtual_time, make_rules


@in_virtual_time
async def test_a_commit_that_hangs_shows_with_what_waits_behind_it() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        store = setup.stores[-1]
        go_on = asyncio.Event()
        commit = store.commit

        async def slow(changes: Sequence[Change]) -> None:
            await go_on.wait()
            await commit(changes)

        store.commit = slow  # type: ignore[method-assign]
        first = setup.loop.create_task(setup.lease(daemon, "first"))
        await asyncio.sleep(1.0)
        second = setup.loop.create_task(setup.lease(daemon, "second"))
        await asyncio.sleep(3.0)
        assert daemon.pulse.committing_s(setup.clock.now()) == pytest.approx(4.0, abs=0.1)
        assert daemon.pulse.waiting == 1
        go_on.set()
        await asyncio.gather(first, second)
        assert daemon.pulse.committing_s(setup.clock.now()) == 0
        assert daemon.pulse.waiting == 0
        assert daemon.pulse.committed_at == pytest.approx(setup.clock.now(), abs=0.1)


@in_virtual_time
async def test_only_a_complete_listing_counts_as_having_seen_the_backend() -> None:
    setup = Setup()
    async with setup.daemon(reconcile_s=10.0) as daemon:
        await asyncio.sleep(25.0)
        assert setup.clock.now() - daemon.pulse.listed_at == pytest.approx(5.0, abs=0.1)
        setup.world.behaviour = replace(STEADY, list_fails=1.0)
        await asyncio.sleep(60.0)
        assert setup.clock.now() - daemon.pulse.listed_at == pytest.approx(65.0, abs=0.1)
        setup.world.unreachable = True
        await asyncio.sleep(60.0)
        assert setup.clock.now() - daemon.pulse.listed_at == pytest.approx(125.0, abs=0.1)
        setup.world.unreachable, setup.world.behaviour = False, STEADY
        await asyncio.sleep(10.0)
        assert setup.clock.now() - daemon.pulse.listed_at <= 10.0


# --- those who wait ------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_stop_can_stop_the_clusters_too_and_no_floor_starts_them_again() -> None:
    setup = Setup(make_rules(sizing=FloorAndBuffer(min_idle=2)))
    daemon = setup.make()
    await daemon.start()
    lease = await setup.lease(daemon, "holder", ttl_s=1000.0)
    await daemon.stop(stop_clusters=True)
    assert not setup.world.clusters
    assert setup.disk.leases[lease.id].end_reason is Reason.REVOKED


@in_virtual_time
async def test_a_machine_that_was_suspended_costs_nobody_a_lease() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "holder", ttl_s=30.0)
        setup.loop.jump(3600.0)
        await asyncio.sleep(20.0)
        assert isinstance(await daemon.submit(Renew(lease.id, lease.epoch)), Renewed)


@in_virtual_time
async def test_a_holder_that_died_loses_its_lease_and_its_cluster_is_recycled() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "dies", ttl_s=30.0)
        await asyncio.sleep(40.0)
        assert daemon.state.ended[lease.id].end_reason is Reason.EXPIRED
        assert lease.cluster not in setup.world.clusters
        assert setup.disk.clusters[lease.cluster].state is ClusterState.STOPPED


@in_virtual_time
async def test_a_reset_that_hangs_is_given_up_and_its_cluster_replaced() -> None:
    setup = Setup(make_rules(reset_timeout_s=5.0), replace(STEADY, reset_s=(1e6, 1e6)))
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "holder")
        await daemon.submit(Release(lease.id, lease.epoch))
        await asyncio.sleep(10.0)
        stopped = setup.disk.clusters[lease.cluster]
        assert (stopped.state, stopped.reason) == (ClusterState.STOPPED, Reason.RESET_FAILED)


@in_virtual_time
async def test_a_daemon_shows_its_state() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        await setup.lease(daemon, "holder")
        assert repr(daemon) == "<Daemon 0000000000000000 ready <State 1 pools [1 leased | 0 waiting]>>"

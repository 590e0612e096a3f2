"""Those who wait for an answer."""

from __future__ import annotations

import asyncio

import pytest

from pool.core.decisions import Granted, Queued, Rejected
from pool.core.errors import StoreFailed
from pool.core.events import Cancel, Progress, Release
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from tests.daemon.kit import Setup
from tests.kit import in_virtual_time, make_rules


@in_virtual_time
async def test_a_long_poll_is_answered_as_soon_as_a_cluster_comes_free() -> None:
    setup = Setup(make_rules(ceiling=Ceiling(clusters=1)))
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "first")
        poll = setup.loop.create_task(daemon.acquire(setup.ask("second"), 60.0))
        await asyncio.sleep(10.0)
        before = setup.clock.now()
        await daemon.submit(Release(lease.id, lease.epoch))
        assert isinstance(await poll, Granted)
        assert setup.clock.now() - before == pytest.approx(0.5, abs=0.01)


@in_virtual_time
async def test_a_long_poll_ends_after_its_time_and_says_where_the_waiter_stands() -> None:
    setup = Setup(make_rules(ceiling=Ceiling(clusters=1)))
    async with setup.daemon() as daemon:
        await setup.lease(daemon, "first", ttl_s=1000.0)
        before = setup.clock.now()
        reply = await daemon.acquire(setup.ask("second"), 20.0)
        assert isinstance(reply, Queued)
        assert reply.reason is Reason.POOL_CEILING
        assert setup.clock.now() - before == pytest.approx(20.0, abs=0.01)


@in_virtual_time
async def test_a_new_phase_of_the_start_wakes_the_poll() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        before = setup.clock.now()
        reply = await daemon.acquire(setup.ask("curious"), 60.0)
        assert isinstance(reply, Queued)
        assert reply.phase == "starting head"
        assert setup.clock.now() - before < 1.0


@in_virtual_time
async def test_two_polls_of_one_request_get_the_same_grant() -> None:
    setup = Setup(make_rules(ceiling=Ceiling(clusters=1)))
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "first")
        polls = [setup.loop.create_task(daemon.acquire(setup.ask("second"), 60.0)) for _ in range(2)]
        await asyncio.sleep(1.0)
        await daemon.submit(Release(lease.id, lease.epoch))
        one, two = await asyncio.gather(*polls)
        assert isinstance(one, Granted)
        assert one == two


@in_virtual_time
async def test_an_answer_right_after_the_news_of_a_phase_is_not_lost() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        poll = setup.loop.create_task(daemon.acquire(setup.ask("wavers"), 60.0))
        await poll  # woken by the first phase
        poll = setup.loop.create_task(daemon.acquire(setup.ask("wavers"), 60.0))
        await asyncio.sleep(0.1)
        (cluster,) = daemon.state.clusters.values()
        # Both are decided in one batch: whoever listens has not run in between.
        daemon.tell(Progress(cluster.id, "almost there"))
        daemon.tell(Cancel("l-wavers"))
        reply = await poll
        assert isinstance(reply, Rejected)
        assert reply.reason is Reason.CANCELLED
        assert not daemon.state.waiters


@in_virtual_time
async def test_an_answer_that_comes_as_the_poll_ends_is_not_lost() -> None:
    setup = Setup(make_rules(ceiling=Ceiling(clusters=1)))
    async with setup.daemon() as daemon:
        await setup.lease(daemon, "first", ttl_s=1000.0)
        ends_at = setup.loop.time() + 20.0
        poll = setup.loop.create_task(daemon.acquire(setup.ask("second"), 20.0))
        # In the same round of the loop as the end of the poll, and before it.
        setup.loop.call_at(ends_at - 1e-10, daemon.tell, Cancel("l-second"))
        reply = await poll
        assert isinstance(reply, Rejected)
        assert reply.reason is Reason.CANCELLED


@in_virtual_time
async def test_stop_returns_promptly_while_polls_are_open() -> None:
    setup = Setup(make_rules(ceiling=Ceiling(clusters=1)))
    daemon = setup.make()
    await daemon.start()
    await setup.lease(daemon, "first", ttl_s=1000.0)
    polls = [setup.loop.create_task(daemon.acquire(setup.ask(f"w{n}"), 600.0)) for n in range(5)]
    await asyncio.sleep(1.0)
    before = setup.clock.now()
    await daemon.stop()
    assert setup.clock.now() - before < 2.0
    assert all(isinstance(reply, Queued) for reply in await asyncio.gather(*polls))
    assert len(setup.world.clusters) == 1
    with pytest.raises(StoreFailed):
        await daemon.submit(setup.ask("late"))

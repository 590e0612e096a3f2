"""What the single writer commits: batches, refusals, a store that fails."""

from __future__ import annotations

import asyncio

import pytest

from pool.core.decisions import Queued, Rejected, Renewed
from pool.core.errors import PoolError, StoreConflict, StoreFailed
from pool.core.events import Release, Renew
from pool.core.model import ClusterState, Lease, Waiter
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from pool.store.memory import Fault
from tests.daemon.kit import Setup, refuses
from tests.kit import in_virtual_time, make_rules


@in_virtual_time
async def test_an_expiry_that_could_not_be_committed_is_tried_again() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "dies")
        setup.stores[-1].fail_next = refuses(
            lambda change: isinstance(change.new, Lease) and change.new.end_reason is Reason.EXPIRED, times=2
        )
        await asyncio.sleep(lease.ttl_s + 5.0)
        assert daemon.state.ended[lease.id].end_reason is Reason.EXPIRED


@in_virtual_time
async def test_a_daemon_that_was_replaced_stops_no_cluster_of_the_one_that_replaced_it() -> None:
    setup = Setup()
    old = setup.make(reconcile_s=7.0)
    await old.start()
    async with setup.daemon(reconcile_s=1000.0) as new:
        lease = await setup.lease(new, "holder", ttl_s=1000.0)
        await asyncio.sleep(20.0)
        assert lease.cluster in setup.world.clusters
        assert "owns the store" in old.failed
    await old.stop()


@in_virtual_time
async def test_a_daemon_that_was_replaced_commits_nothing_and_stops() -> None:
    setup = Setup()
    old = setup.make()
    await old.start()
    async with setup.daemon() as new:
        with pytest.raises(PoolError, match="opened after this daemon"):
            await old.submit(setup.ask("late"))
        assert old.failed
        assert not old.ready
        assert old.stopped.is_set()
        with pytest.raises(StoreFailed):
            await old.submit(setup.ask("later"))
        assert not new.state.waiters
        assert not setup.disk.waiters
    await old.stop()


@in_virtual_time
async def test_what_queued_up_is_committed_at_once() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        sizes: list[int] = []
        daemon.observe_commits(lambda events, seconds: sizes.append(events))
        replies = await asyncio.gather(*(daemon.submit(setup.ask(f"h{n}")) for n in range(20)))
        assert sizes == [20]
        assert [reply.position for reply in replies] == list(range(1, 21))


@in_virtual_time
async def test_a_poison_event_is_rejected_alone() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        setup.stores[-1].fail_next = refuses(
            lambda change: isinstance(change.new, Waiter) and change.new.holder == "poison", times=99
        )
        asks = [setup.ask(name) for name in ("first", "poison", "last")]
        first, poison, last = await asyncio.gather(*map(daemon.submit, asks), return_exceptions=True)
        assert isinstance(first, Queued)
        assert isinstance(poison, StoreConflict)
        assert isinstance(last, Queued)
        assert {waiter.holder for waiter in setup.disk.waiters.values()} == {"first", "last"}
        assert {waiter.holder for waiter in daemon.state.waiters.values()} == {"first", "last"}


@in_virtual_time
async def test_an_event_that_cannot_be_decided_is_rejected_and_the_next_one_is_not() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        with pytest.raises(PoolError):
            await daemon.submit("nonsense")  # type: ignore[arg-type]
        assert isinstance(await daemon.submit(setup.ask("good")), Queued)


@in_virtual_time
async def test_a_request_id_older_than_the_daemons_memory_is_known_by_the_store() -> None:
    setup = Setup()
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "once")
        await daemon.submit(Release(lease.id, lease.epoch))
        await asyncio.sleep(5)
        daemon.state.requests.clear()
        daemon.state.ended.clear()
        refused = await daemon.acquire(setup.ask("once", lease_id="l-again"), 10.0)
        assert isinstance(refused, Rejected)
        assert refused.reason is Reason.REQUEST_ENDED
        daemon.state.requests["test", "once"] = lease.id
        daemon.state.ended[lease.id] = setup.disk.leases[lease.id]


@in_virtual_time
async def test_a_used_up_request_id_is_refused_as_it_queues_and_harms_nobody_else() -> None:
    setup = Setup(make_rules(ceiling=Ceiling(clusters=1)))
    async with setup.daemon() as daemon:
        lease = await setup.lease(daemon, "once")
        await daemon.submit(Release(lease.id, lease.epoch))
        other = await setup.lease(daemon, "other")
        ended = dict(daemon.state.ended)
        daemon.state.requests.pop(("test", "once"))
        del daemon.state.ended[lease.id]
        refused = await daemon.acquire(setup.ask("once", lease_id="l-again"), 10.0)
        assert isinstance(refused, Rejected)
        assert refused.reason is Reason.REQUEST_ENDED
        await daemon.submit(Release(other.id, other.epoch))
        await asyncio.sleep(5)
        assert [c.state for c in daemon.state.clusters.values()] == [ClusterState.IDLE]
        daemon.state.requests["test", "once"] = lease.id
        daemon.state.ended[lease.id] = ended[lease.id]
        daemon.state.ended.move_to_end(lease.id, last=False)


@pytest.mark.parametrize("written", [False, True])
def test_a_failed_store_stops_the_daemon_and_a_restart_is_safe(written: bool) -> None:
    @in_virtual_time
    async def run() -> None:
        setup = Setup()
        daemon = setup.make()
        await daemon.start()
        lease = await setup.lease(daemon, "holder", ttl_s=300.0)
        setup.stores[-1].fail_next = lambda _: Fault(StoreFailed("The disk is full."), written=written)
        with pytest.raises(StoreFailed, match="disk is full"):
            await daemon.submit(setup.ask("unlucky"))
        assert "disk is full" in daemon.failed
        with pytest.raises(StoreFailed):
            await daemon.submit(Renew(lease.id, lease.epoch))
        await daemon.stop()
        async with setup.daemon() as again:
            assert isinstance(await again.submit(Renew(lease.id, lease.epoch)), Renewed)
            assert len(again.state.waiters) == int(written)
            # The same request, whether it was written or not, is answered once.
            await setup.lease(again, "unlucky")
            assert len(again.state.leases) == 2

    run()


# --- restart -------------------------------------------------------------------------------------------------------

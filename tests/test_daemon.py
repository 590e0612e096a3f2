"""The single writer: batches, commits, failures, restarts, and those who wait for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from policies.learned import Learned
from policies.sizing import FloorAndBuffer
from pool.backends.simulated import Behaviour, SimulatedBackend, SimulatedCluster, SimulatedWorld
from pool.core.errors import PoolError, StoreConflict, StoreFailed
from pool.core.events import (
    Acquire,
    Cancel,
    Change,
    Granted,
    Progress,
    Queued,
    Rejected,
    Release,
    Renew,
    Renewed,
)
from pool.core.model import ClusterState, Lease, Mode, Waiter
from pool.core.reasons import Reason
from pool.core.settings import Ceiling, Rules
from pool.daemon import Daemon
from pool.store.memory import Fault, MemoryState, MemoryStore
from pool.tokens import Tokens
from tests.invariants import check
from tests.kit import KEY, in_virtual_time, make_rules
from tests.simulation.loop import SimLoop
from tests.simulation.place import SimClock

STEADY = Behaviour(start_s=(2.0, 2.0), stop_s=(1.0, 1.0), reset_s=(0.5, 0.5), list_s=(0.0, 0.0))


class Setup:
    """A disk and a world, on which daemons come and go."""

    def __init__(self, rules: Rules | None = None, behaviour: Behaviour = STEADY) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self.loop = loop
        self.clock = SimClock(loop)
        self.rules = rules if rules is not None else make_rules()
        self.disk = MemoryState()
        self.world = SimulatedWorld(behaviour=behaviour)
        self.stores: list[MemoryStore] = []

    def make(self, **options: Any) -> Daemon:
        """Return a daemon, not yet started."""
        store = MemoryStore(self.disk)
        self.stores.append(store)
        return Daemon(store, SimulatedBackend(self.world), self.rules, Tokens(b"k" * 32), self.clock, **options)

    @asynccontextmanager
    async def daemon(self, **options: Any) -> AsyncIterator[Daemon]:
        """Run a daemon, and end it as one that was asked to end."""
        daemon = self.make(**options)
        await daemon.start()
        try:
            yield daemon
            if not daemon.failed:
                check(daemon.state, self.clock.now())
        finally:
            await daemon.stop()

    def ask(self, name: str, *, timeout_s: float = 100.0, **fields: Any) -> Acquire:
        """Return an acquire of a holder."""
        now = self.clock.now()
        values: dict[str, Any] = {
            "lease_id": f"l-{name}", "caller": "test", "request_id": name, "key": KEY, "holder": name, "group": "",
            "mode": Mode.WAIT_OR_CREATE, "deadline": now + timeout_s, "seen_until": now + timeout_s,
        }  # fmt: skip
        return Acquire(**(values | fields))

    async def lease(self, daemon: Daemon, name: str, **fields: Any) -> Lease:
        """Have a lease, active."""
        ask = self.ask(name, **fields)
        # An answer comes early when the phase of the start changes.
        while isinstance(reply := await daemon.acquire(ask, 100.0), Queued):
            pass
        assert isinstance(reply, Granted), reply
        renewed = await daemon.submit(Renew(reply.lease.id, reply.lease.epoch))
        assert isinstance(renewed, Renewed), renewed
        return renewed.lease


def refuses(wanted: Callable[[Change], bool], *, times: int) -> Callable[[Sequence[Change]], Fault | None]:
    """Return a hook that refuses commits that hold such a change."""
    left = times

    def hook(changes: Sequence[Change]) -> Fault | None:
        nonlocal left
        if left and any(wanted(change) for change in changes):
            left -= 1
            return Fault(StoreConflict("refused"))
        return None

    return hook


# --- commits that fail ---------------------------------------------------------------------------------------------


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


# --- two daemons on one store --------------------------------------------------------------------------------------


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


# --- batches -------------------------------------------------------------------------------------------------------


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


# --- the store fails -----------------------------------------------------------------------------------------------


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
        assert await daemon.keep_learned() == 0
        del store.keep_learned  # type: ignore[method-assign]
        assert await daemon.keep_learned() > 0
        assert await daemon.keep_learned() == 0


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


@in_virtual_time
async def test_stop_can_stop_the_clusters_too_and_no_floor_starts_them_again() -> None:
    setup = Setup(make_rules(sizing=FloorAndBuffer(min_idle=2)))
    daemon = setup.make()
    await daemon.start()
    lease = await setup.lease(daemon, "holder", ttl_s=1000.0)
    await daemon.stop(stop_clusters=True)
    assert not setup.world.clusters
    assert setup.disk.leases[lease.id].end_reason is Reason.REVOKED


# --- time ----------------------------------------------------------------------------------------------------------


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

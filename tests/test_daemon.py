"""The single writer: batches, commits, failures, restarts, and those who wait for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pool.backends.simulated import Behaviour, SimulatedBackend, SimulatedWorld
from pool.core.errors import StoreConflict
from pool.core.events import Acquire, Change, Granted, Queued, Renew, Renewed
from pool.core.model import Lease, Mode
from pool.core.reasons import Reason
from pool.core.settings import Rules
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

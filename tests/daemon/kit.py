"""A disk and a world, on which daemons come and go in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pool.backends.simulated import Behaviour, SimulatedBackend, SimulatedWorld
from pool.core.decisions import Change, Granted, Queued, Renewed
from pool.core.errors import StoreConflict
from pool.core.events import Acquire, Renew
from pool.core.model import Lease, Mode
from pool.core.settings import Rules
from pool.daemon import Daemon
from pool.store.memory import Fault, MemoryState, MemoryStore
from pool.tokens import Tokens
from tests.invariants import check
from tests.kit import KEY, make_rules
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

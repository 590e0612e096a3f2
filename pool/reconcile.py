"""Puts what the backend has before the core, which compares it with what the pool believes and acts on the difference.

So an effect that was lost with a process is found again: what must exist is in the store, what does exist is in the
backend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
import tenacity

from pool.backends.base import Backend
from pool.clock import Clock
from pool.core.errors import PoolError
from pool.core.events import Listing
from pool.effects import Effects
from pool.pulse import Pulse

log = structlog.get_logger("warmpool.reconcile")

FIRST_BOUND_S = 300.0
"""So long the first listing may take."""


class Reconcile:
    """Lists the backend's clusters, and says what an effect was under way on meanwhile.

    Args:
        backend: what is listed.
        effects: those under way.
        clock: tells when a listing began.
        pulse: told when the backend was last seen.
    """

    def __init__(self, backend: Backend, effects: Effects, clock: Clock, pulse: Pulse) -> None:
        self._backend = backend
        self._effects = effects
        self._clock = clock
        self._pulse = pulse

    async def first(self) -> Listing:
        """Return the first listing: nothing is believed, and no time counts, before the backend was seen once.

        Raises:
            Exception: the backend's last one, if it could not be listed for `FIRST_BOUND_S`.
        """
        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10.0),
            stop=tenacity.stop_after_delay(FIRST_BOUND_S),
            before_sleep=lambda call: log.warning(
                "the backend cannot be listed yet, trying again", error=str(call.outcome and call.outcome.exception())
            ),
            reraise=True,
        )
        return await retrying(self._list)

    async def run(self, submit: Callable[[Listing], Awaitable[object]], every_s: float) -> None:
        """Have a listing decided every so many seconds, until cancelled; what fails is told, and tried again then."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await submit(await self._list())
            except PoolError as error:
                log.warning("reconcile was refused", error=error.detail)
            except Exception as error:
                log.warning("the backend cannot be listed, trying again", error=f"{type(error).__name__}: {error}")

    async def _list(self) -> Listing:
        started_at, busy = self._clock.now(), self._effects.busy
        listing = await self._backend.list()
        if listing.complete:
            self._pulse.listed_at, self._pulse.foreign = started_at, listing.foreign
        return replace(listing, started_at=started_at, busy=busy | self._effects.busy)

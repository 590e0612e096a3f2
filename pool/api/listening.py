"""The connections on which somebody waits for a grant, and what is done when one breaks.

A grant is a handshake: if its answer cannot be delivered, the pool takes it back, and a waiter to whom nobody listens
is kept only for a short time. Several connections may wait under one request id (the client retried, and the broken
connection is noticed late): only the last one to go gives anything back.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass

import structlog
from aiohttp import web

from pool.api.needs import Daemon
from pool.api.problems import ApiError
from pool.core.decisions import Granted, Queued, Rejected
from pool.core.errors import PoolError
from pool.core.events import Acquire, Detached, Undelivered
from pool.core.model import LeaseState
from pool.core.reasons import Reason

log = structlog.get_logger("warmpool.api")

GRACE_S = 5.0
"""A waiter whose connection broke is kept so long."""

SEEN_S = 10.0
"""A waiter that was told to ask again is kept so long after its wait."""


@dataclass(slots=True)
class _Asked:
    """One request id that is listened to, since a time."""

    since: float
    connections: int = 0
    delivered: bool = False


class Listening:
    """Acquires on behalf of connections. `stop` ends all waiting at once."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._asked: dict[tuple[str, str], _Asked] = {}
        self._waiting: set[asyncio.Task[object]] = set()
        self._cleaning: set[asyncio.Task[None]] = set()
        self._left: dict[tuple[str, str], float] = {}
        self._stop = asyncio.Event()
        self.stopping = False

    def __repr__(self) -> str:
        return f"<Listening [{len(self._waiting)} waiting, {len(self._cleaning)} cleaning up]>"

    async def stop(self) -> None:
        """Answer everybody who waits with where they stand, and finish what broken connections left to do."""
        self.stopping = True
        self._stop.set()
        for task in self._waiting:
            task.cancel()
        if self._cleaning:
            await asyncio.wait(self._cleaning, timeout=GRACE_S)

    async def acquire(self, event: Acquire, wait_s: float) -> Granted | Queued | Rejected:
        """Acquire, and wait for the grant up to `wait_s`. Follow with `leave`, whatever comes of it.

        Raises:
            ApiError: not_ready, if the API stopped before anything was decided.
        """
        key = (event.caller, event.request_id)
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked(self._daemon.clock.now())
            if self._left:
                self._left.pop(key, None)
        asked.connections += 1
        task: asyncio.Task[object] = asyncio.current_task()  # type: ignore[assignment]  # a handler runs in a task
        self._waiting.add(task)
        try:
            return await self._daemon.acquire(event, 0.0 if self.stopping else wait_s)
        except asyncio.CancelledError:
            if not self.stopping or task.uncancel():
                raise
            return self._stands(key)
        finally:
            self._waiting.discard(task)

    def _stands(self, key: tuple[str, str]) -> Granted | Queued:
        state = self._daemon.state
        lease_id = state.requests.get(key, "")
        lease = state.leases.get(lease_id)
        if lease is not None:
            return Granted(lease, state.clusters[lease.cluster])
        waiter = state.waiters.get(lease_id)
        if waiter is None:
            raise ApiError(Reason.NOT_READY, "The daemon is stopping.")
        return self._daemon.explain_waiter(waiter)

    def leave(self, event: Acquire, *, delivered: bool) -> None:
        """Tell that a connection is done: its answer was `delivered`, or it broke."""
        key = (event.caller, event.request_id)
        asked = self._asked[key]
        asked.connections -= 1
        asked.delivered |= delivered
        if asked.connections:
            return
        del self._asked[key]
        if not asked.delivered:
            self._spawn(self._give_back(event, asked.since))
            return
        waiters = self._daemon.state.waiters
        if waiters and (waiter := waiters.get(self._daemon.state.requests.get(key, ""))) is not None:
            seen_until = self._daemon.clock.now() + SEEN_S
            if waiter.seen_until > seen_until + 1.0:
                # Answered before its time (the phase of a start changed): it asks again at once, or not at all.
                self._spawn(self._expect_back(waiter.id, seen_until))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        # A task of its own: the one that waited may be cancelled, once more.
        task = asyncio.get_running_loop().create_task(work)
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _expect_back(self, lease_id: str, seen_until: float) -> None:
        with suppress(PoolError):  # a daemon that stops forgets who listened anyway
            await self._daemon.submit(Detached(lease_id, seen_until))

    async def _give_back(self, event: Acquire, since: float) -> None:
        daemon = self._daemon
        key = (event.caller, event.request_id)
        self._left[key] = since
        try:
            # Decided after the acquire, which may still be queued: when this returns, its outcome is known.
            asked_id = daemon.state.requests.get(key, event.lease_id)
            await daemon.submit(Detached(asked_id, daemon.clock.now() + GRACE_S))
            if daemon.state.requests.get(key) in daemon.state.waiters:
                # It may still be granted while nobody listens.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), GRACE_S)
            lease = daemon.state.leases.get(daemon.state.requests.get(key, ""))
            # Somebody who asked again meanwhile answers for it now; an older grant was delivered before.
            mine = self._left.get(key) == since
            if mine and lease and lease.state is LeaseState.GRANTED and lease.granted_at >= since:
                await daemon.submit(Undelivered(lease.id, lease.epoch))
        except PoolError as error:
            log.warning("a vanished client's request is left to time out", request_id=event.request_id, why=str(error))
        except Exception:
            log.exception("a vanished client's request is left to time out", request_id=event.request_id)
        finally:
            if self._left.get(key) == since:
                del self._left[key]


_POLL_HANGUP = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def is_gone(request: web.Request) -> bool:
    """Tell whether the other side has hung up, also if the event loop has not noticed yet."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return True
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), _POLL_HANGUP)
    return bool(poll.poll(0))

"""The client for asyncio. Its leases are renewed on the same thread as those of the sync one."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from pool.client.base import ClientBase
from pool.client.disconnect import disconnect_ray
from pool.client.lease import AsyncLease
from pool.client.request import LeaseRequest, Progress, make_request
from pool.client.residency import copies_written
from pool.client.talk import release
from pool.client.terminate import exit_on_sigterm
from pool.client.transport import AsyncTransport


class AsyncClient(ClientBase):
    """Acquires leases from one daemon, in an event loop.

    Example:
        >>> async with AsyncClient.from_environment() as client:
        ...     async with client.lease(image="local", tenant="p/d", holder="me") as lease:
        ...         lease.connect()  # then use Ray
    """

    def _reset(self) -> None:
        self._transport: AsyncTransport | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None

    async def acquire(
        self,
        request: LeaseRequest,
        *,
        progress: Callable[[Progress], None] | None = None,
        give_back: bool = True,
    ) -> AsyncLease:
        """Wait for a lease. It is renewed in the background, by a thread, until it is released.

        Args:
            request: what to ask for.
            progress: called with each answer of the daemon, the grant included.
            give_back: if this is cancelled, give back what it was granted or queued for; not where another process
                goes on with the same request id.

        Raises:
            InvalidRequest: a field is wrong.
            NotAllowed: the token, its role or its tenants do not allow it.
            AcquireRefused: no, for a reason; see its subclasses.
            Unreachable: the daemon did not answer.
        """
        asking = self._asking(request, progress)
        lease: AsyncLease | None = None
        transport = self._connection()
        try:
            lease = AsyncLease(*await transport.run(asking.acquire()), self._release)
            self._renewer.add(lease)
        except BaseException:
            if not give_back:
                pass
            elif lease is None:
                await _finish(transport.run(asking.abandon()))
            else:
                await lease.release(hold_s=0.0)
            raise
        return lease

    @contextlib.asynccontextmanager
    async def lease(
        self,
        request: LeaseRequest | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        **fields: Any,
    ) -> AsyncIterator[AsyncLease]:
        """Hold a lease while the body runs; it is released whatever way the body ends, cancellation included.

        What is said of a lost lease at `Client.lease` is so here too.
        In the main thread SIGTERM ends the program with ``SystemExit(143)``, unless it handles it itself.

        Args:
            request: what to ask for; or give its fields by name, or both to change some.
            progress: called with each answer of the daemon, the grant included.
            **fields: of `LeaseRequest`.

        Raises:
            ClientError: as `acquire`.
            LeaseLost: the body was ended by Ray because the lease was lost.
        """
        wanted = make_request(request, fields)
        with exit_on_sigterm():
            lease = await self.acquire(wanted, progress=progress)
            try:
                with lease._explaining():
                    yield lease
            finally:
                await lease.release()

    async def _release(self, lease: AsyncLease, hold_s: float | None, note: str) -> None:
        if lease.state != "ended":
            await _finish(self._once_written(lease, hold_s, note))

    async def _once_written(self, lease: AsyncLease, hold_s: float | None, note: str) -> None:
        # As long as they are written, the lease is renewed: the values are in the cluster's memory alone.
        failed = await asyncio.to_thread(copies_written)
        if lease._close():
            self._renewer.remove(lease)
            await self._give_back(lease, hold_s, note)
        if failed is not None:
            raise failed

    async def _give_back(self, lease: AsyncLease, hold_s: float | None, note: str) -> None:
        # On a thread: Ray takes a while to answer and to shut down, and other tasks of the loop should not wait for it.
        await asyncio.to_thread(lease.note_residency)
        await asyncio.to_thread(disconnect_ray, lease.cluster)
        lease._left()
        await self._connection().run(release(lease.id, lease._release_request(hold_s, note)))

    def _connection(self) -> AsyncTransport:
        owner = (os.getpid(), asyncio.get_running_loop())
        if self._transport is None or self._owner != owner:
            # Connections belong to their loop and process: those of another one are neither used nor closed.
            self._transport, self._owner = AsyncTransport(self._endpoint), owner
        return self._transport

    async def close(self) -> None:
        """Close the connections. Leases that are held stay held and renewed."""
        if self._transport is not None and self._owner == (os.getpid(), asyncio.get_running_loop()):
            await self._transport.close()
        self._transport = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Wait for `work` even if this task is cancelled meanwhile; it is bounded by itself."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError

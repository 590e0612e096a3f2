"""The client for threads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from pool.client.base import ClientBase
from pool.client.disconnect import disconnect_ray
from pool.client.lease import Lease
from pool.client.request import LeaseRequest, Progress, make_request
from pool.client.residency import copies_written
from pool.client.talk import release
from pool.client.terminate import exit_on_sigterm
from pool.client.transport import Transport


class Client(ClientBase):
    """Acquires leases from one daemon. May be shared by threads; a forked child gets connections of its own.

    Example:
        >>> with Client.from_environment() as client, client.lease(image="local", tenant="p/d", holder="me") as lease:
        ...     lease.connect()  # then use Ray
    """

    def _reset(self) -> None:
        self._transport: Transport | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def acquire(self, request: LeaseRequest, *, progress: Callable[[Progress], None] | None = None) -> Lease:
        """Wait for a lease. It is renewed in the background until it is released.

        If this is interrupted, what it was granted or queued for is given back.

        Args:
            request: what to ask for.
            progress: called with each answer of the daemon, the grant included.

        Raises:
            InvalidRequest: a field is wrong.
            NotAllowed: the token, its role or its tenants do not allow it.
            AcquireRefused: no, for a reason; see its subclasses.
            Unreachable: the daemon did not answer.
        """
        asking = self._asking(request, progress)
        lease: Lease | None = None
        transport = self._connection()
        try:
            lease = Lease(*transport.run(asking.acquire()), self._release)
            self._renewer.add(lease)
        except BaseException:
            if lease is None:
                transport.run(asking.abandon())
            else:
                lease.release(hold_s=0.0)
            raise
        return lease

    @contextlib.contextmanager
    def lease(
        self,
        request: LeaseRequest | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        **fields: Any,
    ) -> Iterator[Lease]:
        """Hold a lease while the body runs; it is released whatever way the body ends.

        A body that fails after its lease was lost is told so in a note of its error. One that waits in ``ray.get``
        then is woken by Ray with ``SystemExit(0)``; that becomes `LeaseLost`.

        In the main thread SIGTERM ends the body with ``SystemExit(143)``, unless the program handles it itself.

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
            lease = self.acquire(wanted, progress=progress)
            try:
                with lease._explaining():
                    yield lease
            finally:
                lease.release()

    def _release(self, lease: Lease, hold_s: float | None, note: str) -> None:
        # As long as they are written, the lease is renewed: the values are in the cluster's memory alone.
        failed = copies_written()
        self._give_back(lease, hold_s, note)
        if failed is not None:
            raise failed

    def _give_back(self, lease: Lease, hold_s: float | None, note: str) -> None:
        if not lease._close():
            return
        self._renewer.remove(lease)
        lease.note_residency()
        # A cluster on which a driver of ours still lives cannot be proven clean, and would be replaced.
        disconnect_ray(lease.cluster)
        lease._left()
        self._connection().run(release(lease.id, lease._release_request(hold_s, note)))

    def _connection(self) -> Transport:
        if self._pid != os.getpid():
            # A forked child must not speak over its parent's connection; nor close it, nor trust its lock.
            self._reset()
        with self._lock:
            if self._transport is None:
                self._transport = Transport(self._endpoint)
            return self._transport

    def close(self) -> None:
        """Close the connections. Leases that are held stay held and renewed."""
        if self._transport is not None and self._pid == os.getpid():
            self._transport.close()
            self._transport = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

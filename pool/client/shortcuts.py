"""`pool.lease` and `pool.alease`: the daemon is the one that the environment names."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from pool.client.aio import AsyncClient
from pool.client.lease import AsyncLease, Lease
from pool.client.request import LeaseRequest, Progress
from pool.client.sync import Client


@contextlib.contextmanager
def lease(
    request: LeaseRequest | None = None, *, progress: Callable[[Progress], None] | None = None, **fields: Any
) -> Iterator[Lease]:
    """Hold a lease while the body runs, as `Client.lease`.

    Args:
        request: what to ask for; or give its fields by name, or both to change some.
        progress: called with each answer of the daemon; `pool.client.waiting_display` makes one.
        **fields: of `LeaseRequest`: ``image``, ``tenant``, ``holder``, ...

    Raises:
        ClientError: as `Client.acquire`; `NotConfigured` if the environment names no daemon.
    """
    with _client().lease(request, progress=progress, **fields) as held:
        yield held


@contextlib.asynccontextmanager
async def alease(
    request: LeaseRequest | None = None, *, progress: Callable[[Progress], None] | None = None, **fields: Any
) -> AsyncIterator[AsyncLease]:
    """Hold a lease while the body runs, as `AsyncClient.lease`.

    Args:
        request: what to ask for; or give its fields by name, or both to change some.
        progress: called with each answer of the daemon; `pool.client.waiting_display` makes one.
        **fields: of `LeaseRequest`: ``image``, ``tenant``, ``holder``, ...

    Raises:
        ClientError: as `AsyncClient.acquire`; `NotConfigured` if the environment names no daemon.
    """
    # A client of its own: whose connections are closed before their event loop is.
    async with AsyncClient.from_environment() as client, client.lease(request, progress=progress, **fields) as held:
        yield held


_clients: dict[tuple[str, str], Client] = {}


def _client() -> Client:
    """Return the process's client of the daemon that the environment names now; its connection is kept alive."""
    fresh = Client.from_environment()
    # setdefault is atomic: two threads get the same one.
    return _clients.setdefault(fresh._identity, fresh)


@atexit.register
def _close_clients() -> None:
    for client in _clients.values():
        client.close()

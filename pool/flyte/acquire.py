"""From a `Pooled` config and an identity to a lease of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from pool.client import Client, ClientError, LeaseRequest, configured
from pool.client.endpoint import Endpoint
from pool.core.key import key_from
from pool.core.reasons import Reason
from pool.flyte.config import Pooled
from pool.flyte.errors import NoDaemon
from pool.flyte.holding import Wish
from pool.flyte.identity import Identity, fresh_id, request_id
from pool.flyte.shape import Own, shape_of

if TYPE_CHECKING:
    from pool.client import Lease

_nth = count(1)


def has_daemon(task: str, *, local: bool) -> bool:
    """Tell whether a daemon is configured; without one a local task gets a Ray of its own.

    Raises:
        NoDaemon: if there is none and the task runs on a Flyte backend, where its type was fixed at registration.
    """
    if configured():
        return True
    if local:
        return False
    raise NoDaemon(f"Task {task} was registered as Pooled, and no daemon is configured where it runs.")


def wish_of(task: str, pooled: Pooled, identity: Identity, own: Own) -> Wish:
    """Return what `task` needs.

    Raises:
        InvalidKey: if its image or its `RayJobConfig` cannot be understood, naming the field.
    """
    shape = shape_of(pooled.config, own)
    key = key_from(
        {"image": identity.image, "tenant": identity.tenant, "shape": shape.model_dump(mode="json", exclude_none=True)}
    )
    request = LeaseRequest(
        image=identity.image,
        tenant=identity.tenant,
        holder=identity.holder,
        shape=shape,
        group=identity.group,
        priority=pooled.priority,
        mode=str(pooled.mode),
        timeout_s=pooled.timeout_s,
        ttl_s=pooled.ttl_s,
        hold_s=pooled.hold_s,
        request_id=request_id(identity, next(_nth)),
    )
    return Wish(
        task=task,
        key=key.digest,
        group=identity.group,
        runtime_env=pooled.config.runtime_env,
        local=identity.local,
        timeout_s=pooled.timeout_s,
        acquire=lambda: leased(request),
    )


@cache
def _client(url: str, token: str | None, token_file: str | None) -> Client:
    """Return the one client of this process for a daemon: a chain of tasks speaks over one connection."""
    return Client(url, token, token_file)


@contextmanager
def leased(request: LeaseRequest) -> Iterator[Lease]:
    """Hold a lease of the configured daemon."""
    client = _client(*Endpoint.environment())
    handle = client.lease(request)
    try:
        lease = handle.__enter__()
    except ClientError as error:
        if error.reason is not Reason.REQUEST_ENDED:
            raise
        # The lease of an earlier container of this attempt is over: this one needs a lease of its own.
        handle = client.lease(replace(request, request_id=fresh_id()))
        lease = handle.__enter__()
    try:
        yield lease
    finally:
        handle.__exit__(None, None, None)

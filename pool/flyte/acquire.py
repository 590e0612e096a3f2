"""From a `Pooled` config and an identity to a lease of the daemon."""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from pool.client import Client, LeaseRequest, RequestIdUsed, WarmMiss, configured, waiting_display
from pool.client.endpoint import Endpoint
from pool.client.terminate import exit_on_sigterm
from pool.core.key import key_from
from pool.core.model import Mode
from pool.core.reasons import Reason
from pool.flyte.config import Pooled
from pool.flyte.errors import NestedDeadlock, NoDaemon
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


@dataclass(frozen=True)
class Above:
    """The lease of a task in another container that calls this one, and waits for it.

    Attributes:
        lease: its id.
        key: digest of its cluster key.
        holder, request_id: with which it was asked for. Asking the same again gives the same lease: so it is shared.
    """

    lease: str
    key: str
    holder: str
    request_id: str

    @classmethod
    def from_text(cls, text: str) -> Above | None:
        """Return what `to_text` wrote; None for anything else."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return None

    def to_text(self) -> str:
        """Return it as text without secrets: it travels where a backend stores it."""
        return json.dumps(asdict(self))


def wish_of(task: str, pooled: Pooled, identity: Identity, own: Own, above: Above | None = None) -> Wish:
    """Return what `task` needs.

    Args:
        task: its name.
        pooled: its config.
        identity: who asks.
        own: what the task has itself.
        above: the lease of the task that calls this one from another container.

    Raises:
        NestedDeadlock: if `above` is of another cluster key.
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
    if above is not None and above.key != key.digest:
        raise NestedDeadlock(f"Task {task} needs another cluster than the task that calls it, {above.holder}.")
    return Wish(
        task=task,
        request_id=str(request.request_id),
        holder=request.holder,
        key=key.digest,
        group=identity.group,
        runtime_env=pooled.config.runtime_env,
        local=identity.local,
        timeout_s=pooled.timeout_s,
        acquire=lambda: borrowed(request, above) if above else leased(request, show=identity.local),
    )


@cache
def _client(url: str, token: str | None, token_file: str | None) -> Client:
    """Return the one client of this process for a daemon: a chain of tasks speaks over one connection."""
    client = Client(url, token, token_file)
    atexit.register(client.close)
    return client


@contextmanager
def leased(request: LeaseRequest, *, show: bool) -> Iterator[Lease]:
    """Hold a lease of the configured daemon.

    Args:
        request: what to ask for.
        show: tell on standard error how the waiting goes.
    """
    with exit_on_sigterm():
        lease = _acquire(request, show=show)
        try:
            yield lease
        finally:
            lease.release()


@contextmanager
def borrowed(request: LeaseRequest, above: Above) -> Iterator[Lease]:
    """Share the lease of the task that waits for this one; it is that task's to release.

    Raises:
        NestedDeadlock: if it cannot be shared.
    """
    client = _client(*Endpoint.environment())
    try:
        # What is not shared must not be waited for: it might be waited for by what waits for us.
        same = replace(request, request_id=above.request_id, holder=above.holder, mode=Mode.WARM_ONLY)
        lease = client.acquire(same)
    except WarmMiss as error:
        raise NestedDeadlock(f"Lease {above.lease} of the calling task cannot be shared: {error.detail}") from error
    except RequestIdUsed as error:
        if error.reason is not Reason.REQUEST_ENDED:
            raise
        # The task above has ended, or lost its lease: nothing is held, so waiting is safe.
        with leased(request, show=False) as own:
            yield own
        return
    try:
        yield lease
    finally:
        if lease.id == above.lease:
            client.forget(lease)
        else:
            lease.release()


def _acquire(request: LeaseRequest, *, show: bool) -> Lease:
    client = _client(*Endpoint.environment())
    with waiting_display() if show else nullcontext() as progress:
        try:
            return client.acquire(request, progress=progress)
        except RequestIdUsed as error:
            if error.reason is not Reason.REQUEST_ENDED:
                raise
            # The lease of an earlier container of this attempt is over: this one needs a lease of its own.
            return client.acquire(replace(request, request_id=fresh_id()), progress=progress)

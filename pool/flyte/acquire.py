"""From a `Pooled` config and an identity to a lease of the daemon."""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from pool.client import Client, LeaseRequest, RequestIdUsed, WarmMiss, configured, waiting_display
from pool.client.endpoint import Endpoint
from pool.client.terminate import exit_on_sigterm
from pool.core.key import ClusterKey, key_from
from pool.core.model import Mode
from pool.core.reasons import Reason
from pool.flyte.config import Pooled
from pool.flyte.errors import NestedDeadlock, NoDaemon
from pool.flyte.holding import Wish
from pool.flyte.identity import Identity, fresh_id, request_id
from pool.flyte.shape import Own, shape_of
from pool.wire.key import ShapeSpec

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


@dataclass(frozen=True)
class Asked:
    """What a task asks for, whoever runs it. The fields are those of `Pooled` and of `LeaseRequest`."""

    shape: dict[str, Any]
    priority: int
    mode: str
    timeout_s: float
    ttl_s: float | None
    hold_s: float | None

    @classmethod
    def of(cls, pooled: Pooled, own: Own) -> Asked:
        """Return what a task of this config asks for.

        Raises:
            InvalidKey: if its `RayJobConfig` cannot be understood, naming the field.
        """
        shape = shape_of(pooled.config, own).model_dump(mode="json", exclude_none=True)
        return cls(shape, pooled.priority, str(pooled.mode), pooled.timeout_s, pooled.ttl_s, pooled.hold_s)

    def request(self, identity: Identity, nth: int) -> LeaseRequest:
        """Return the request of the `nth` time (from 1) that this process asks for `identity`."""
        return LeaseRequest(
            image=identity.image,
            tenant=identity.tenant,
            holder=identity.holder,
            group=identity.group,
            request_id=request_id(identity, nth),
            **asdict(self),
        )


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
    asked = Asked.of(pooled, own)
    request = asked.request(identity, next(_nth))
    key = _key(request)
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


def first_wish(task: str, asked: Asked, identity: Identity) -> Wish:
    """Return what `task` will need when it is run for the first time in this process, before it was loaded.

    Args:
        task: its name.
        asked: what was registered of its config.
        identity: who asks, on a Flyte backend.

    Raises:
        InvalidKey: if its image or shape cannot be understood, naming the field.
    """
    request = asked.request(identity, 1)
    return Wish(
        task=task,
        request_id=str(request.request_id),
        holder=request.holder,
        key=_key(request).digest,
        group=identity.group,
        runtime_env=None,
        local=False,
        timeout_s=asked.timeout_s,
        acquire=lambda: leased(request, show=False),
    )


def _key(request: LeaseRequest) -> ClusterKey:
    shape = ShapeSpec.model_validate(request.shape).model_dump(mode="json", exclude_none=True)
    return key_from({"image": request.image, "tenant": request.tenant, "shape": shape})


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

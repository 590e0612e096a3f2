"""What every route is given: the daemon, the callers, and the rules of who sees what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from pool.access import Access, Caller, Review, Role
from pool.api.keys import Keys
from pool.api.listening import Listening
from pool.api.needs import Daemon
from pool.api.problems import ApiError, rejected
from pool.api.watching import Watching
from pool.core.decisions import Done, Ended, Rejected, Renewed
from pool.core.events import Event
from pool.core.key import ClusterKey
from pool.core.model import Cluster, Lease, Pool, Waiter
from pool.core.reasons import Reason
from pool.wire.base import Request
from pool.wire.key import KeySpec
from pool.wire.records import ShadowAnswer

R = TypeVar("R", Renewed, Ended, Done)


class Api:
    """The parts that handlers share.

    Attributes:
        daemon: decides.
        access: knows the callers.
        review: knows callers whose tokens somebody else made.
        registry: of the metrics, None if there are none.
        refused: told the reason of each request that was refused.
        config: returns the configuration in force as plain data, without secrets.
        shadow: returns how a candidate policy compares, None if there is none.
        keys: normalised keys, remembered.
        listening: the connections that wait for a grant.
        watching: those that wait for news of a lease.
    """

    def __init__(
        self,
        daemon: Daemon,
        access: Access,
        registry: CollectorRegistry | None,
        refused: Callable[[Reason], None] = lambda reason: None,
        review: Review | None = None,
        config: Callable[[], dict[str, Any]] = dict,
        shadow: Callable[[], ShadowAnswer | None] = lambda: None,
    ) -> None:
        self.daemon = daemon
        self.access = access
        self.registry = registry
        self.refused = refused
        self.review = review
        self.config = config
        self.shadow = shadow
        self.keys = Keys()
        self.listening = Listening(daemon)
        self.watching = Watching(daemon)

    async def submit(self, event: Event, kind: type[R]) -> R:
        """Have an event decided and return its reply, of the kind that says it was done.

        Raises:
            ApiError: if it was refused.
        """
        reply = await self.daemon.submit(event)
        if isinstance(reply, Rejected):
            raise self.refusal(reply, getattr(event, "lease_id", ""))
        if not isinstance(reply, kind):
            raise TypeError(f"{event!r} was answered with {reply!r}")
        return reply

    def refusal(self, reply: Rejected, lease_id: str) -> ApiError:
        """Return the error for a refusal; one for an ended lease says why the lease ended."""
        error = rejected(reply)
        ended = self.daemon.state.ended.get(lease_id)
        if ended is not None and reply.reason is Reason.LEASE_ENDED:
            error.end_reason = ended.end_reason
        return error

    def key(self, caller: Caller, spec: KeySpec) -> ClusterKey:
        """Return the normalised key of a message, if its tenant is one of the caller's.

        Raises:
            ApiError: if it is not.
            InvalidKey: naming the field.
        """
        key = self.keys.key(spec)
        if not caller.sees(key.tenant):
            detail = f"key.tenant: the token {caller.name!r} is not for tenant {key.tenant!r}."
            raise ApiError(Reason.NOT_ALLOWED, detail)
        return key

    async def lease(self, caller: Caller, lease_id: str) -> Lease:
        """Return a lease, living or ended, that the caller may see.

        Raises:
            ApiError: unknown_lease, also for another tenant's.
        """
        lease = await self.daemon.records.find_lease(lease_id)
        if lease is None or not caller.sees(lease.tenant):
            raise unknown_lease(lease_id)
        return lease

    def waiter(self, caller: Caller, lease_id: str) -> Waiter | None:
        """Return the waiter that has this lease id, None if there is none that the caller may see."""
        waiter = self.daemon.state.waiters.get(lease_id)
        return waiter if waiter is not None and caller.sees(waiter.tenant) else None

    async def cluster(self, caller: Caller, cluster_id: str) -> Cluster:
        """Return a cluster, living or stopped, that the caller may see.

        Raises:
            ApiError: unknown_cluster, also for another tenant's.
        """
        cluster = await self.daemon.records.find_cluster(cluster_id)
        if cluster is None or not caller.sees(cluster.tenant):
            raise ApiError(Reason.UNKNOWN_CLUSTER, f"There is no cluster {cluster_id[:128]!r}.")
        return cluster

    def pool(self, caller: Caller, digest: str) -> Pool:
        """Return a pool that the caller may see.

        Raises:
            ApiError: unknown_pool, also for another tenant's.
        """
        pool = self.daemon.state.pools.get(digest)
        if pool is None or not caller.sees(pool.key.tenant):
            raise ApiError(Reason.UNKNOWN_POOL, f"There is no pool {digest[:128]!r}.")
        return pool

    def in_pool(self, digest: str, wanted: str | None) -> bool:
        """Tell whether a pool is the one wanted, by digest or by the configured name; None wants all."""
        if wanted is None or digest == wanted:
            return True
        pool = self.daemon.state.pools.get(digest)
        return pool is not None and pool.name == wanted

    async def proven(self, caller: Caller, lease_id: str, token: str, epoch: int) -> Lease:
        """Return the lease whose holder the sender has shown itself to be; it may have ended.

        Raises:
            ApiError: unknown_lease, wrong_token, stale_epoch.
        """
        lease = self.daemon.state.leases.get(lease_id)
        if lease is None or not caller.sees(lease.tenant):
            lease = await self.lease(caller, lease_id)
        tokens = self.daemon.tokens
        if tokens.check_lease(token, lease_id, lease.epoch):
            if epoch == lease.epoch:
                return lease
        elif not tokens.check_lease(token, lease_id, epoch):
            raise ApiError(Reason.WRONG_TOKEN, f"token: it is not the token of lease {lease_id}.")
        raise ApiError(Reason.STALE_EPOCH, f"epoch: {epoch} is not the epoch of lease {lease_id}.")


def unknown_lease(lease_id: str) -> ApiError:
    """Return the error for a lease that is not there, or not for the caller to see."""
    return ApiError(Reason.UNKNOWN_LEASE, f"There is no lease {lease_id[:128]!r}.")


def lease_ended(lease: Lease) -> ApiError:
    """Return the error for an action on a lease that has ended."""
    why = lease.end_detail or (lease.end_reason.sentence if lease.end_reason else "")
    detail = f"Lease {lease.id} has ended: {why}"
    return ApiError(Reason.LEASE_ENDED, detail, end_reason=lease.end_reason)


@dataclass(slots=True)
class Ask:
    """One request, understood.

    Attributes:
        request: as aiohttp gives it.
        caller: who asks; None on open routes.
        body, query: the messages in it, checked.
        id: the one in the path.
    """

    request: web.Request
    caller: Caller | None
    body: Any
    query: Any
    id: str

    @property
    def known(self) -> Caller:
        """The caller of a route that is not open."""
        if self.caller is None:
            raise TypeError("an open route has no caller")
        return self.caller


Handler = Callable[[Api, Ask], Awaitable[BaseModel | web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API: what is dispatched, checked and documented.

    Attributes:
        name: of the operation.
        role: whom it needs; None for an open route.
        body, query: what is read from the request.
        answer: of success: a message, or a choice of messages told apart by `status`.
        media: content type of success, where it is not JSON.
        reasons: what it may be refused for, besides what any request may be.
    """

    method: str
    path: str
    name: str
    handler: Handler
    summary: str
    tag: str
    role: Role | None
    body: type[Request] | None = None
    query: type[Request] | None = None
    answer: Any = None
    media: str = "application/json"
    reasons: tuple[Reason, ...] = ()
    needs_ready: bool = True

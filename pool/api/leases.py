"""What holders ask: acquire, renew, release, cancel, and a look at their leases."""

from __future__ import annotations

import asyncio
import secrets

from aiohttp import web
from pydantic import BaseModel

from pool.access import Caller, Role
from pool.api.core import Api, Ask, lease_ended
from pool.api.explain import explain_lease, explain_waiter
from pool.api.listening import SEEN_S, is_gone
from pool.api.paging import page
from pool.api.problems import ApiError
from pool.api.views import cluster_view, grant_answer, lease_view, queued_answer, waiter_view
from pool.core.decisions import Ended, Granted, Queued, Rejected, Renewed
from pool.core.errors import PoolError
from pool.core.events import Acquire, Cancel, Release, Renew, Revoke
from pool.core.model import Lease, LeaseState, ResidentValue, Waiter
from pool.core.reasons import Reason
from pool.wire.base import Message
from pool.wire.leases import (
    AcquireRequest,
    EndedAnswer,
    LeaseProof,
    ReleaseRequest,
    RenewAnswer,
    RenewItem,
    RenewManyAnswer,
    RenewManyRequest,
    WatchAnswer,
    WatchRequest,
)
from pool.wire.lists import LeaseList, LeaseQuery, WaiterList, WaiterQuery
from pool.wire.operate import RevokeRequest
from pool.wire.views import Explanation, LeaseAnswer


async def acquire(api: Api, ask: Ask) -> web.Response:
    """Grant, or say where the asker stands. The answer is written here: an undelivered grant is taken back."""
    message: AcquireRequest = ask.body
    caller = ask.known
    key = api.key(caller, message.key)
    api.daemon.check(key)
    now = api.daemon.clock.now()
    event = Acquire(
        lease_id=f"l-{secrets.token_hex(8)}",
        caller=caller.name,
        request_id=message.request_id,
        key=key,
        holder=message.holder,
        group=message.group,
        mode=message.mode,
        deadline=now + message.timeout_s,
        seen_until=now + message.wait_s + SEEN_S,
        priority=message.priority,
        ttl_s=message.ttl_s,
        hold_s=message.hold_s,
    )
    delivered = False
    try:
        reply = await api.listening.acquire(event, message.wait_s)
        response = json_response(_acquired(api, reply))
        await response.prepare(ask.request)
        await response.write_eof()
        delivered = not is_gone(ask.request)
        return response
    except (PoolError, ConnectionError) as error:
        # A refusal is as good as delivered: there is nothing to give back.
        delivered = isinstance(error, PoolError)
        raise
    finally:
        api.listening.leave(event, delivered=delivered)


def _acquired(api: Api, reply: Granted | Queued | Rejected) -> Message:
    if isinstance(reply, Rejected):
        error = api.refusal(reply, "")
        error.is_rejection = True
        raise error
    if isinstance(reply, Granted):
        return grant_answer(api.daemon, reply)
    return queued_answer(reply, api.daemon.clock.now())


def json_response(message: BaseModel) -> web.Response:
    """Return a message as the answer of success."""
    return web.Response(body=message.__pydantic_serializer__.to_json(message), headers=_HEADERS)


_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}


async def renew(api: Api, ask: Ask) -> RenewAnswer:
    """Extend a lease."""
    proof: LeaseProof = ask.body
    return await _renew(api, ask.known, ask.id, proof)


async def _renew(api: Api, caller: Caller, lease_id: str, proof: LeaseProof) -> RenewAnswer:
    lease = await api.proven(caller, lease_id, proof.token, proof.epoch)
    if lease.state is LeaseState.ENDED:
        raise lease_ended(lease)
    reply = await api.submit(Renew(lease_id, proof.epoch), Renewed)
    remaining_s = max(0.0, reply.lease.expires_at - api.daemon.clock.now())
    return RenewAnswer(lease_id=lease_id, remaining_s=remaining_s, hints=list(reply.hints))


async def renew_many(api: Api, ask: Ask) -> RenewManyAnswer:
    """Extend many leases; each has its own result."""
    message: RenewManyRequest = ask.body

    async def one(item: RenewItem) -> RenewAnswer | EndedAnswer:
        try:
            return await _renew(api, ask.known, item.lease_id, item)
        except ApiError as error:
            api.refused(error.reason)
            reason = error.end_reason or error.reason
            return EndedAnswer(lease_id=item.lease_id, reason=reason, explanation=error.detail)

    return RenewManyAnswer(results=list(await asyncio.gather(*map(one, message.leases))))


async def watch(api: Api, ask: Ask) -> WatchAnswer:
    """Answer once there is news of a lease that its holder does not know, or the time has passed."""
    message: WatchRequest = ask.body
    known: dict[str, frozenset[str]] = {}
    for item in message.leases:
        try:
            await api.proven(ask.known, item.lease_id, item.token, item.epoch)
        except ApiError:
            # Its renewal says why.
            return WatchAnswer(changed=[item.lease_id])
        known[item.lease_id] = frozenset(item.hints)
    return WatchAnswer(changed=await api.watching.news(known, message.wait_s))


async def release(api: Api, ask: Ask) -> EndedAnswer:
    """End a lease. Asking again gives the same answer."""
    message: ReleaseRequest = ask.body
    lease = await api.proven(ask.known, ask.id, message.token, message.epoch)
    if lease.state is LeaseState.ENDED:
        if lease.end_reason is not Reason.RELEASED:
            raise lease_ended(lease)
        return _ended(Ended(lease.id, Reason.RELEASED))
    told = message.resident
    resident = None if told is None else tuple(ResidentValue(**item.model_dump()) for item in told)
    reads = tuple(message.reads.items())
    release = Release(ask.id, message.epoch, message.hold_s, resident, reads, message.note)
    return _ended(await api.submit(release, Ended))


def _ended(reply: Ended) -> EndedAnswer:
    explanation = reply.detail or reply.reason.sentence
    return EndedAnswer(lease_id=reply.lease_id, reason=reply.reason, explanation=explanation)


async def cancel(api: Api, ask: Ask) -> EndedAnswer:
    """Take an acquire back: leave the queue, or give back a grant that nobody has claimed."""
    caller = ask.known
    record: Waiter | Lease = api.waiter(caller, ask.id) or await api.lease(caller, ask.id)
    if record.caller != caller.name and caller.role is not Role.OPERATOR:
        raise ApiError(Reason.NOT_ALLOWED, f"{ask.id} was asked for with another token than {caller.name!r}.")
    if isinstance(record, Lease):
        if record.state is LeaseState.ENDED:
            if record.end_reason is not Reason.CANCELLED:
                raise lease_ended(record)
            return _ended(Ended(record.id, Reason.CANCELLED))
        if record.state is LeaseState.ACTIVE:
            detail, remedy = f"Lease {ask.id} is in use.", "Release it with its token and epoch."
            raise ApiError(Reason.CONFLICT, detail, remedy=remedy)
    return _ended(await api.submit(Cancel(ask.id), Ended))


async def revoke(api: Api, ask: Ask) -> EndedAnswer:
    """End a lease by force; its cluster is recycled."""
    message: RevokeRequest = ask.body
    lease = await api.lease(ask.known, ask.id)
    if lease.state is LeaseState.ENDED:
        raise lease_ended(lease)
    return _ended(await api.submit(Revoke(ask.id, message.explanation), Ended))


async def get_lease(api: Api, ask: Ask) -> LeaseAnswer:
    """Return a lease, or the waiter that has its id."""
    now, state = api.daemon.clock.now(), api.daemon.state
    waiter = api.waiter(ask.known, ask.id)
    if waiter is not None:
        return LeaseAnswer(waiter_view(state, api.daemon.explain_waiter(waiter), now))
    return LeaseAnswer(lease_view(state, await api.lease(ask.known, ask.id), now))


async def list_leases(api: Api, ask: Ask) -> LeaseList:
    """Return leases, first granted first."""
    query: LeaseQuery = ask.query
    state, now, caller = api.daemon.state, api.daemon.clock.now(), ask.known
    found = [
        lease
        for lease in (state.ended if query.state is LeaseState.ENDED else state.leases).values()
        if (query.state is None or lease.state is query.state)
        and (query.tenant is None or lease.tenant == query.tenant)
        and (query.holder is None or lease.holder == query.holder)
        and (query.group is None or lease.group == query.group)
        and caller.sees(lease.tenant)
        and api.in_pool(lease.pool, query.pool)
    ]
    items, after = page(found, lambda lease: (lease.granted_at, lease.id), query)
    return LeaseList(items=[lease_view(state, lease, now) for lease in items], next=after)


async def list_waiters(api: Api, ask: Ask) -> WaiterList:
    """Return waiters in the order in which they will be served, pool by pool."""
    query: WaiterQuery = ask.query
    state, now, caller = api.daemon.state, api.daemon.clock.now(), ask.known
    found = [
        waiter
        for waiter in state.waiters.values()
        if (query.tenant is None or waiter.tenant == query.tenant)
        and (query.holder is None or waiter.holder == query.holder)
        and (query.group is None or waiter.group == query.group)
        and caller.sees(waiter.tenant)
        and api.in_pool(waiter.pool, query.pool)
    ]
    items, after = page(found, lambda waiter: (waiter.pool, waiter.rank, waiter.asked_at, waiter.id), query)
    explain = api.daemon.explain_waiter
    return WaiterList(items=[waiter_view(state, explain(waiter), now) for waiter in items], next=after)


async def explain(api: Api, ask: Ask) -> Explanation:
    """Return in sentences why a lease waited, missed and ended."""
    daemon, caller = api.daemon, ask.known
    state, now = daemon.state, daemon.clock.now()
    waiter = api.waiter(caller, ask.id)
    if waiter is not None:
        queued = daemon.explain_waiter(waiter)
        sentences = explain_waiter(state, queued, now)
        return Explanation(lease_id=ask.id, sentences=sentences, waiter=waiter_view(state, queued, now))
    lease = await api.lease(caller, ask.id)
    cluster = await daemon.records.find_cluster(lease.cluster)
    return Explanation(
        lease_id=ask.id,
        sentences=explain_lease(state, lease, cluster, now),
        lease=lease_view(state, lease, now),
        cluster=cluster_view(state, cluster, now) if cluster else None,
    )

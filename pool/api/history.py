"""What was asked of the pool: the demand that policies are tried on."""

from __future__ import annotations

import math

from pool.api.core import Api, Ask
from pool.api.paging import cursor, not_a_cursor, place_of
from pool.core.key import to_json
from pool.core.model import Lease
from pool.core.state import State
from pool.wire.records import HistoryItem, HistoryList, HistoryQuery

LOOKED_AT = 5_000
"""At most so many leases are read for one part: who wants few of many asks again, and the writer goes on between."""

STEP = 1_000


async def list_history(api: Api, ask: Ask) -> HistoryList:
    """Return leases that were and that are, as demand, first asked first, as long as the store keeps them."""
    query: HistoryQuery = ask.query
    daemon, caller = api.daemon, ask.known
    since = query.since or 0.0
    until = math.inf if query.until is None else query.until
    after = None if query.after is None else _after(query.after)
    now, state = daemon.clock.now(), daemon.state
    items: list[HistoryItem] = []
    for _ in range(LOOKED_AT // STEP):
        found = await daemon.records.history(since, until, after, STEP)
        for lease in found:
            after = lease.asked_at, lease.id
            if (
                (query.tenant is None or lease.tenant == query.tenant)
                and caller.sees(lease.tenant)
                and api.in_pool(lease.pool, query.pool)
                and lease.pool in state.pools
            ):
                items.append(_item(state, lease, now))
                if len(items) == query.limit:
                    return HistoryList(items=items, next=cursor(after))
        if len(found) < STEP:
            return HistoryList(items=items)
    return HistoryList(items=items, next=None if after is None else cursor(after))


def _after(text: str) -> tuple[float, str]:
    match place_of(text):
        case (int() | float() as asked_at, str() as lease_id):
            return float(asked_at), lease_id
    raise not_a_cursor()


def _item(state: State, lease: Lease, now: float) -> HistoryItem:
    pool = state.pools[lease.pool]
    ended_at = now if lease.ended_at is None else lease.ended_at
    return HistoryItem(
        lease=lease.id,
        arrival_s=lease.asked_at,
        wait_s=max(0.0, lease.granted_at - lease.asked_at),
        duration_s=max(0.0, ended_at - lease.granted_at),
        pool=lease.pool,
        pool_name=pool.name,
        tenant=lease.tenant,
        group=lease.group,
        outcome=lease.outcome,
        reason=lease.miss,
        end_reason=lease.end_reason,
        key=to_json(pool.key),
    )

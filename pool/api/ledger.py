"""The ledger as callers see it: what clusters spent their time on, how leases came by theirs, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pool.api.core import Api, Ask
from pool.api.paging import page
from pool.core.key import footprint_of
from pool.core.model import Outcome
from pool.core.reasons import Reason
from pool.core.state import State
from pool.store.books import DAY_S, Account, Kind, Spent, Sum
from pool.wire.records import LedgerItem, LedgerList, LedgerQuery

DAYS = 7
"""So many days, today's among them, if nothing is said."""

_LAST_DAY = 3_000_000
"""Beyond what a date can be."""

Group = tuple[int, str, str]
"""Day, digest of the pool, tenant; 0 or empty where entries are not told apart by it."""


async def get_ledger(api: Api, ask: Ask) -> LedgerList:
    """Return cluster seconds by what they were spent on, leases by how they were granted, and what that costs.

    Days are whole days of UTC. Of each cluster the seconds add up to its life. Costs are those of the prices in force
    now.
    """
    query: LedgerQuery = ask.query
    daemon, caller = api.daemon, ask.known
    now = daemon.clock.now()
    until = math.ceil((now if query.until is None else query.until) / DAY_S)
    since = until - DAYS if query.since is None else math.floor(query.since / DAY_S)
    since, until = min(since, _LAST_DAY), min(until, _LAST_DAY)
    by = set(query.by.split(",")) if query.by else set()
    found = await daemon.records.ledger(since, until, by_day="day" in by)
    groups: dict[Group, Line] = {}
    total = Line()
    for account, entered in sorted(found.items()):
        if (
            (query.tenant is None or account.tenant == query.tenant)
            and caller.sees(account.tenant)
            and api.in_pool(account.pool, query.pool)
        ):
            group = (
                account.day if "day" in by else 0,
                account.pool if "pool" in by else "",
                account.tenant if by & {"pool", "tenant"} else "",
            )
            for line in (groups.setdefault(group, Line()), total):
                line.add(daemon.state, account, entered)
    items, after = page(groups.items(), lambda group: group[0], query)
    return LedgerList(
        since=_date(since),
        until=_date(until),
        items=[_item(daemon.state, *group, line) for group, line in items],
        total=_item(daemon.state, 0, "", "", total),
        next=after,
    )


@dataclass(slots=True)
class Line:
    """Entries added up."""

    spent_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys((spent.value for spent in Spent), 0.0))
    hits: int = 0
    misses: dict[Reason, int] = field(default_factory=dict)
    waited_s: float = 0.0
    idle_cost: float = 0.0
    overhead_cost: float = 0.0
    waiting_cost: float = 0.0

    def add(self, state: State, account: Account, entered: Sum) -> None:
        """Add one entry, at the prices of its pool."""
        pool = state.pools.get(account.pool)
        prices = state.settings(account.pool).prices if pool is not None else None
        hours = entered.seconds / 3600
        if account.kind == Kind.GRANT:
            if account.what == Outcome.HIT:
                self.hits += entered.times
            else:
                reason = _REASONS.get(account.reason, Reason.INTERNAL)
                self.misses[reason] = self.misses.get(reason, 0) + entered.times
            self.waited_s += entered.seconds
            if prices is not None:
                self.waiting_cost += prices.waiting * hours
            return
        self.spent_s[account.what] += entered.seconds
        if prices is None or pool is None or account.what == Spent.BUSY:
            return
        if account.what == Spent.WARM_HEAD:
            self.idle_cost += prices.idle(footprint_of(pool.key.shape, {})) * hours
        elif account.what == Spent.IDLE:
            self.idle_cost += prices.idle(pool.key.footprint) * hours
        else:
            self.overhead_cost += prices.idle(pool.key.footprint) * hours


_REASONS = {reason.value: reason for reason in Reason}


def _item(state: State, day: int, digest: str, tenant: str, line: Line) -> LedgerItem:
    pool = state.pools.get(digest)
    misses = _in_order(line.misses.items())
    return LedgerItem(
        day=_date(day) if day else None,
        pool=digest or None,
        pool_name=pool.name if pool is not None else None,
        tenant=tenant or None,
        **{f"{what}_s": seconds for what, seconds in line.spent_s.items()},
        life_s=math.fsum(line.spent_s.values()),
        leases=line.hits + sum(misses.values()),
        hits=line.hits,
        misses=sum(misses.values()),
        misses_by_reason=misses,
        waited_s=line.waited_s,
        idle_cost=line.idle_cost,
        overhead_cost=line.overhead_cost,
        waiting_cost=line.waiting_cost,
        cost=line.idle_cost + line.overhead_cost + line.waiting_cost,
    )


def _in_order(counts: Iterable[tuple[Reason, int]]) -> dict[Reason, int]:
    """Return counts, most first."""
    return dict(sorted(counts, key=lambda found: (-found[1], found[0])))


def _date(day: int) -> str:
    try:
        return datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "9999-12-31"

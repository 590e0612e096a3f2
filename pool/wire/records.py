"""What there was, and what there would have been: history, ledger, shadow."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pool.core.model import Outcome
from pool.core.reasons import Reason
from pool.wire.base import Message, Text, Time
from pool.wire.lists import PageQuery


class HistoryQuery(PageQuery):
    """Which leases that were, and that are."""

    pool: Text | None = Field(None, description="Digest, or name of the configured pool.")
    since: Time | None = Field(None, description="Asked for at this time or later, in seconds since the epoch.")
    until: Time | None = Field(None, description="Asked for before this time.")


class LedgerQuery(PageQuery):
    """Which part of the ledger, and what its lines are told apart by."""

    pool: Text | None = Field(None, description="Digest, or name of the configured pool.")
    since: Time | None = Field(None, description="From the day of this time on; of the last seven days if not given.")
    until: Time | None = Field(None, description="To the day before this time; until now if not given.")
    by: Annotated[str, Field(pattern=r"^((day|pool|tenant)(,(day|pool|tenant)){0,2})?$")] = Field(
        "pool", description="One line for each of these: day, pool, tenant, with commas between; empty for one line."
    )


class HistoryItem(Message):
    """What one lease was as demand."""

    lease: str
    arrival_s: float = Field(description="When it was asked for, in seconds since the epoch.")
    wait_s: float = Field(description="From then until it was granted.")
    duration_s: float = Field(description="From the grant until its end; until now for one that lives.")
    pool: str = Field(description="Digest of the key.")
    pool_name: str
    tenant: str
    group: str
    outcome: Outcome
    reason: Reason | None = Field(description="Why it was not a hit; null for a hit.")
    end_reason: Reason | None = Field(description="Null for one that lives.")
    key: dict[str, Any] = Field(description="What was asked for, as an acquire says it.")


class HistoryList(Message):
    """Leases, first asked first. A part may hold fewer than were asked for, also none, while there are more."""

    items: list[HistoryItem]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


class LedgerItem(Message):
    """One line of the ledger. Cluster seconds add up to the lives of its clusters, as far as they lie in its days."""

    day: str | None = Field(description="A day of UTC, as 2026-03-01; null for all of them together.")
    pool: str | None = Field(description="Digest of the key; null for all of them together.")
    pool_name: str | None
    tenant: str | None
    starting_s: float = Field(description="Cluster seconds of starts, and of warm heads that got their workers back.")
    idle_s: float = Field(description="Of clusters that stood ready.")
    warm_head_s: float = Field(description="Of idle clusters without their workers.")
    busy_s: float = Field(description="Of leased clusters.")
    resetting_s: float = Field(description="Of resets, and of quarantine.")
    stopping_s: float = Field(description="Of clusters from the decision to stop them until they were seen gone.")
    life_s: float = Field(description="All of these together.")
    leases: int
    hits: int
    misses: int
    misses_by_reason: dict[Reason, int] = Field(description="Most first.")
    waited_s: float = Field(description="From asking until the grant, of all leases.")
    idle_cost: float = Field(description="Of idle clusters and warm heads, at idle_cost_per_hour.")
    overhead_cost: float = Field(description="Of starting, resetting and stopping clusters, likewise.")
    waiting_cost: float = Field(description="Of waiting, at waiting_cost_per_hour.")
    cost: float = Field(description="All three together.")


class LedgerList(Message):
    """Lines of the ledger, by day, pool and tenant."""

    since: str = Field(description="The first day.")
    until: str = Field(description="The day after the last.")
    items: list[LedgerItem]
    total: LedgerItem = Field(description="Of all lines, also those of other parts.")
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


class ShadowItem(Message):
    """What the live policy and the one in its shadow came to."""

    pool: str = Field(description="Digest of the key; empty for all of them together.")
    pool_name: str
    tenant: str
    leases: int
    both: int = Field(description="Leases that were a hit, and would have been.")
    live_only: int = Field(description="That were a hit, and would not have been.")
    shadow_only: int = Field(description="That were none, and would have been.")
    neither: int
    live_idle_s: float = Field(description="Cluster seconds that stood idle.")
    shadow_idle_s: float = Field(description="That would have.")
    live_starts: int
    shadow_starts: int


class ShadowDifference(Message):
    """A lease that was a hit and would not have been, or the other way."""

    at: float
    lease: str
    pool: str
    live: Outcome
    shadow: Outcome


class ShadowAnswer(Message):
    """A candidate policy on live demand, beside the live one; nothing that it decides is done."""

    policy: str
    since: float = Field(description="From when on it was followed: the daemon's start, or the last reload.")
    items: list[ShadowItem] = Field(description="The pools in which most differs, 200 at most.")
    total: ShadowItem
    differences: list[ShadowDifference] = Field(description="The latest leases in which both differ, the last first.")

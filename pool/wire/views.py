"""What there is: pools, clusters, leases and waiters, without their secrets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, RootModel

from pool.core.model import ClusterState, LeaseState, Mode, Outcome
from pool.core.reasons import Reason
from pool.wire.base import Message
from pool.wire.leases import ResidentItem


class LeaseView(Message):
    """A lease, without its secrets."""

    id: str
    cluster: str
    pool: str
    pool_name: str
    tenant: str
    caller: str
    request_id: str
    holder: str
    group: str
    priority: int
    mode: Mode
    state: LeaseState
    outcome: Outcome
    reason: Reason | None
    explanation: str
    epoch: int
    asked_at: float
    granted_at: float
    waited_s: float
    expires_at: float
    remaining_s: float
    ended_at: float | None
    end_reason: Reason | None
    end_explanation: str = ""


class WaiterView(Message):
    """A queued acquire."""

    state: Literal["queued"] = "queued"
    id: str
    pool: str
    pool_name: str
    tenant: str
    caller: str
    request_id: str
    holder: str
    group: str
    priority: int
    mode: Mode
    position: int
    reason: Reason
    explanation: str
    phase: str
    asked_at: float
    waited_s: float
    deadline: float
    expected_s: float | None


class WearItem(Message):
    """How much a cluster had grown at its last reset; 0 where that was not looked at."""

    head_memory_bytes: int = Field(description="Of Ray's own processes on the head, without the object store.")
    open_files: int = Field(description="In the one of these processes that has the most open.")
    store_left_bytes: int = Field(description="In use of the object stores though nobody is left who owns anything.")


class EvidenceItem(Message):
    """What a reset found that would not go, and whose it was."""

    lease: str = Field(description="The last one on the cluster; empty if that is not known any more.")
    holder: str
    found_at: float
    left: list[str] = Field(description="A phrase for each thing.")


class ClusterView(Message):
    """A cluster, without its secrets."""

    id: str
    pool: str
    pool_name: str
    tenant: str
    image: str
    shape: str
    state: ClusterState
    state_for_s: float
    age_s: float
    start_s: float | None = Field(description="How long its start took; null while it starts.")
    phase: str
    epoch: int
    uses: int
    leases: list[str]
    group: str
    held_until: float | None
    cordoned: bool
    degraded: str = Field("", description="What it misses of what its key says; nobody new gets it meanwhile.")
    resident: list[ResidentItem] = Field(
        default_factory=list, description="What its group's holders left in its memory, as the last one told."
    )
    evidence: EvidenceItem | None = Field(None, description="Why it could not be proven clean; null if it could.")
    wear: WearItem | None = Field(None, description="How much it has grown; null before a reset has told it.")
    cause: Reason
    reason: Reason | None
    explanation: str
    dashboard_url: str
    ray_version: str


class PoolView(Message):
    """A pool and its counts."""

    digest: str
    name: str
    tenant: str
    image: str
    shape: str
    key: dict[str, Any]
    clusters: dict[str, int] = Field(description="Clusters by state.")
    waiters: int
    cordoned: bool
    min_idle: int | None
    max_clusters: int | None
    failures: int
    breaker: Literal["closed", "open", "half_open"]
    last_error: str
    next_start_s: float | None = Field(description="In how long a start is tried again after failures; null if now.")
    start_typical_s: float | None
    grow_typical_s: float | None = Field(None, description="How long a warm head takes to get its workers back.")
    warm_head_price: float = Field(
        1.0, description="What a cluster costs without its workers, as a share of the whole; 1 if it keeps them."
    )
    lease_typical_s: float | None


class LeaseAnswer(RootModel[LeaseView | WaiterView]):
    """A lease; while it is queued, the waiter that has its id."""


class Explanation(Message):
    """Why a lease waited, why it missed, why it ended: sentences, with the records they are drawn from."""

    lease_id: str
    sentences: list[str]
    lease: LeaseView | None = None
    waiter: WaiterView | None = None
    cluster: ClusterView | None = None


class ClusterExplanation(Message):
    """Why a cluster was started, what it served, why it is as it is: sentences, with the record they are drawn from."""

    cluster_id: str
    sentences: list[str]
    cluster: ClusterView

"""The messages of the HTTP API, shared by daemon and client: pydantic models, units in the names.

All durations are seconds; all times are seconds since the epoch (UTC). Unknown fields are refused in requests and
ignored in answers, so that an older client understands a newer daemon.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from pool.core.model import ClusterState, LeaseState, Mode, Outcome, ReadFrom
from pool.core.reasons import Reason

Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
RequestId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
Text = Annotated[str, Field(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]
Quantity = (
    Annotated[int, Field(ge=0)]
    | Annotated[float, Field(ge=0, allow_inf_nan=False)]
    | Annotated[str, Field(max_length=32)]
)
Count = Annotated[int, Field(ge=0, le=100_000)]
Duration = Annotated[float, Field(ge=0, le=604_800, allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class Message(BaseModel):
    """Base of what is received by a client."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class Request(BaseModel):
    """Base of what is received by the daemon."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


# --- the key -------------------------------------------------------------------------------------------------------


class NodeSpec(Request):
    """Resources and rights of one node."""

    cpu: Quantity = Field(1, description="Logical CPUs: 2, 0.5 or 500m.")
    memory: Quantity = Field(0, description="Bytes or 4Gi; 0 leaves it to the backend.")
    object_store_memory: Quantity = Field(0, description="Bytes or 1Gi; 0 leaves it to the backend.")
    gpu: Count = Field(0, description="Whole GPUs.")
    accelerator: Text = Field("", description="Accelerator type, empty for any.")
    custom: dict[Text, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="Custom Ray resources."
    )
    start_params: dict[Text, Text] = Field(default_factory=dict, description="Parameters of `ray start`.")
    pod: dict[str, Any] = Field(
        default_factory=dict, description="Pod template, and whatever else fixes what the node may do and see."
    )


class WorkerSpec(NodeSpec):
    """A group of equal worker nodes."""

    name: Text = Field("workers", description="Name of the group.")
    replicas: Count = 1
    min_replicas: Count | None = Field(None, description="With autoscaling; `replicas` if not given.")
    max_replicas: Count | None = Field(None, description="With autoscaling; `replicas` if not given.")


class ShapeSpec(Request):
    """All that is fixed when a cluster is created."""

    head: NodeSpec = Field(default_factory=NodeSpec)
    workers: list[WorkerSpec] = Field(default_factory=list, max_length=64)
    autoscaling: bool = False
    autoscaler_options: dict[str, Any] = Field(default_factory=dict)


class KeySpec(Request):
    """What two leases must agree on to be served by the same cluster."""

    image: Text = Field(description="Container image, or the name of the local environment.", examples=["local"])
    tenant: Text = Field(description="Isolation domain: project/domain.", examples=["flytesnacks/development"])
    shape: ShapeSpec = Field(default_factory=ShapeSpec)
    cluster_type: Text = "ray"


# --- leases --------------------------------------------------------------------------------------------------------


class AcquireRequest(Request):
    """Ask for a lease. Asking again with the same `request_id` returns the same answer, and is how to poll."""

    request_id: RequestId = Field(description="Of the caller's making; never grants again after its lease ended.")
    key: KeySpec
    holder: Text = Field(min_length=1, description="Who will have it: an execution's task attempt, say.")
    group: Text = Field("", description="Leases of one group like to share a cluster and its data.")
    priority: int = Field(0, ge=-1000, le=1000, description="Higher is served sooner; waiting raises it.")
    mode: Mode = Mode.WAIT_OR_CREATE
    wait_s: Annotated[float, Field(ge=0, le=300, allow_inf_nan=False)] = Field(
        0.0, description="How long this call may wait for the grant (long-poll)."
    )
    timeout_s: Duration = Field(600.0, description="How long the acquire waits altogether, over all calls.")
    ttl_s: Annotated[float, Field(ge=1, le=3600)] | None = Field(
        None, description="The lease expires if not renewed for so long; the pool's setting if not given."
    )
    hold_s: Duration | None = Field(None, description="Hold the cluster for the group so long after the release.")


class ClusterAccess(Message):
    """How to use the leased cluster. `token` is the cluster's own secret."""

    id: str
    address: str = Field(description="GCS address, for RAY_ADDRESS or ray.init(address=...).")
    client_address: str = Field("", description="Ray Client address (ray://...), empty if there is none.")
    dashboard_url: str = ""
    ray_version: str = ""
    token: str = Field(repr=False, description="Value of RAY_AUTH_TOKEN, with RAY_AUTH_MODE=token.")


class GrantAnswer(Message):
    """The lease was granted."""

    status: Literal["granted"] = "granted"
    lease_id: str
    token: str = Field(repr=False, description="Secret of the lease: shown at renew and release.")
    epoch: int = Field(description="Fencing token: shown at renew and release.")
    outcome: Outcome
    reason: Reason | None = Field(description="Why it was not a hit; null for a hit.")
    explanation: str = ""
    waited_s: float
    ttl_s: float
    remaining_s: float
    cluster: ClusterAccess
    pool: str
    group: str
    resident: list[str] = Field(default_factory=list, description="Names of the group's data on the cluster.")
    group_was_here: bool = Field(False, description="The group's previous lease ran on this very cluster.")


class QueuedAnswer(Message):
    """Not yet: ask again with the same request id."""

    status: Literal["queued"] = "queued"
    lease_id: str
    position: int
    reason: Reason
    explanation: str
    expected_s: float | None = Field(description="Seconds until a cluster is expected; null if nothing is known.")
    phase: str = Field(description="Of the start it will likely get: queued, starting, ...")
    waited_s: float
    remaining_s: float = Field(description="Until the acquire is given up with wait_timeout.")


AcquireAnswer = Annotated[GrantAnswer | QueuedAnswer, Field(discriminator="status")]


class LeaseProof(Request):
    """Shows that the sender is the holder."""

    token: str = Field(repr=False, min_length=1, max_length=128)
    epoch: int = Field(ge=0, le=2**53)


class ResidentItem(Request):
    """One named value in a cluster's memory."""

    name: Text
    bytes: int = Field(ge=0, le=2**53)
    node: Text = Field("", description="Id of the Ray node that has it.")
    used_at: float = Field(0.0, ge=0, allow_inf_nan=False, description="When it was last put or got.")


class ReleaseRequest(LeaseProof):
    """The holder is done."""

    hold_s: Duration | None = Field(None, description="Overrides what the acquire asked.")
    resident: list[ResidentItem] | None = Field(
        None, max_length=1000, description="What is resident on the cluster now; null if the holder did not look."
    )
    reads: dict[ReadFrom, Count] = Field(
        default_factory=dict, description="How many reads of resident data were answered from where."
    )
    note: Text = Field("", description="What the holder says of its end; shown as the lease's `end_explanation`.")


class RenewItem(LeaseProof):
    """One lease of a renewal of many."""

    lease_id: Id


class RenewManyRequest(Request):
    """Renew many leases in one call."""

    leases: list[RenewItem] = Field(min_length=1, max_length=1000)


class RenewAnswer(Message):
    """The lease lives on.

    `hints`: ``drain`` (please finish: the cluster is to be stopped), ``max_lease`` (it ends soon whatever you do),
    ``degraded`` (the cluster lost a worker).
    """

    status: Literal["renewed"] = "renewed"
    lease_id: str
    remaining_s: float
    hints: list[str] = Field(default_factory=list)


class EndedAnswer(Message):
    """The lease is over."""

    status: Literal["ended"] = "ended"
    lease_id: str
    reason: Reason
    explanation: str = ""


class RenewManyAnswer(Message):
    """One result per lease, in the order asked; a refused one is `ended`."""

    results: list[Annotated[RenewAnswer | EndedAnswer, Field(discriminator="status")]]


# --- what operators see --------------------------------------------------------------------------------------------


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


class PageQuery(Request):
    """Which part of a list, and whose."""

    tenant: Text | None = Field(None, description="Of this tenant alone.")
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    after: Text | None = Field(None, description="`next` of the part before.")


class PoolQuery(PageQuery):
    """Which pools."""

    name: Text | None = Field(None, description="Of the configured pool.")


class ClusterQuery(PageQuery):
    """Which clusters."""

    pool: Text | None = Field(None, description="Digest, or name of the configured pool.")
    state: ClusterState | None = None


class LeaseQuery(PageQuery):
    """Which leases: those that live, unless `state` is `ended` (the recently ended)."""

    pool: Text | None = Field(None, description="Digest, or name of the configured pool.")
    state: LeaseState | None = None
    holder: Text | None = None
    group: Text | None = None


class WaiterQuery(PageQuery):
    """Which waiters."""

    pool: Text | None = Field(None, description="Digest, or name of the configured pool.")
    holder: Text | None = None
    group: Text | None = None


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


class PoolList(Message):
    """Pools."""

    items: list[PoolView]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


class ClusterList(Message):
    """Clusters."""

    items: list[ClusterView]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


class LeaseList(Message):
    """Leases, first granted first."""

    items: list[LeaseView]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


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


class LeaseAnswer(RootModel[LeaseView | WaiterView]):
    """A lease; while it is queued, the waiter that has its id."""


class WaiterList(Message):
    """Waiters in the order in which they will be served, pool by pool."""

    items: list[WaiterView]
    next: str | None = Field(None, description="There are more: ask again with `after` set to this.")


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


class PrewarmRequest(Request):
    """Start clusters of a key until `count` are idle or starting."""

    key: KeySpec
    count: int = Field(1, ge=1, le=1000)


class ResizeRequest(Request):
    """Set a pool's least number of idle clusters, or its ceiling, over its configuration."""

    min_idle: Count | None = None
    max_clusters: Count | None = None


class RevokeRequest(Request):
    """End a lease by force; its cluster is recycled."""

    explanation: Text = ""


class DoneAnswer(Message):
    """An operator's request was carried out."""

    status: Literal["done"] = "done"
    text: str
    ids: list[str] = Field(default_factory=list)


class ConfigAnswer(Message):
    """The configuration in force, with every default filled in, and without secrets."""

    config: dict[str, Any] = Field(description="As the configuration file says it.")


class Health(Message):
    """The daemon's health."""

    status: Literal["ok", "standing_by", "starting", "stopping", "failed"]
    version: str
    detail: str = ""


class Problem(Message):
    """An error (RFC 9457, application/problem+json)."""

    type: str = Field(description="urn:warmpool:reason:<reason>")
    title: str
    status: int
    detail: str = ""
    reason: Reason
    remedy: str = Field("", description="What to do next.")
    instance: str = ""
    end_reason: Reason | None = Field(None, description="With `lease_ended`: why the lease ended.")

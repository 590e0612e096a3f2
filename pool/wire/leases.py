"""What a holder says and is told: acquire, renew, release."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pool.core.model import Mode, Outcome, ReadFrom
from pool.core.reasons import Reason
from pool.wire.base import Count, Duration, Id, Message, Request, RequestId, Text
from pool.wire.key import KeySpec


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


class WatchItem(RenewItem):
    """One lease that there may be news of."""

    hints: list[Text] = Field(default_factory=list, max_length=16, description="As the holder knows them.")


class WatchRequest(Request):
    """Wait until one of the leases is over or has other hints. Nothing is renewed by it."""

    leases: list[WatchItem] = Field(min_length=1, max_length=1000)
    wait_s: Annotated[float, Field(ge=0, le=300, allow_inf_nan=False)] = Field(
        45.0, description="How long this call may wait for news (long-poll)."
    )


class WatchAnswer(Message):
    """`changed` names the leases of which a renewal now tells something new; none if the time passed without."""

    changed: list[str]


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

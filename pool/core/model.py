"""What the pool knows: immutable records of pools, clusters, leases and waiters.

A record is replaced, never altered, so that a change is a pair (old, new): the store writes the new one, an undo
puts the old one back, metrics compare the two. They are named tuples, since every decision copies a few of them, and
a tuple is copied several times faster than a dataclass. All times are seconds since the epoch (UTC), as the daemon's
one clock gave them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, TypeVar

from pool.core.key import ClusterKey, Footprint
from pool.core.reasons import Reason


class ClusterState(StrEnum):
    """Where a cluster is in its life. The transitions stand in `pool.core.lifecycle`."""

    STARTING = "starting"
    IDLE = "idle"
    LEASED = "leased"
    RESETTING = "resetting"
    SHRINKING = "shrinking"
    WARM_HEAD = "warm_head"
    GROWING = "growing"
    QUARANTINED = "quarantined"
    STOPPING = "stopping"
    STOPPED = "stopped"


(
    STARTING, IDLE, LEASED, RESETTING, SHRINKING, WARM_HEAD, GROWING, QUARANTINED, STOPPING, STOPPED,
) = ClusterState  # fmt: skip
"""The states as names of their own: every decision looks at dozens, and Python 3.11 finds a member of an enumeration
many times slower than a name."""


class LeaseState(StrEnum):
    """``granted`` until the holder first shows itself (renews), then ``active``, then ``ended``."""

    GRANTED = "granted"
    ACTIVE = "active"
    ENDED = "ended"


GRANTED, ACTIVE, ENDED = LeaseState


class Mode(StrEnum):
    """What an acquire does on a miss: fail at once, only wait, or start a cluster unless a release comes sooner."""

    WARM_ONLY = "warm_only"
    WAIT = "wait"
    WAIT_OR_CREATE = "wait_or_create"


class Outcome(StrEnum):
    """How a lease came by its cluster: idle at once, waited for a release, for the workers of a warm head, a start."""

    HIT = "hit"
    WAITED = "waited"
    WARM_HEAD = "warm_head"
    COLD = "cold"


class ReadFrom(StrEnum):
    """From where a read of resident data was answered: this node's memory, another's, its durable copy, nowhere."""

    LOCAL = "local"
    REMOTE = "remote"
    DURABLE = "durable"
    MISSING = "missing"


class Pool(NamedTuple):
    """All clusters of one key.

    Attributes:
        digest: of the key; names the pool.
        name: of the configured pool whose settings apply (bounded: metrics use it as their label).
        next_seq: number of the next cluster; only rises.
        failures: starts failed in a row.
        retry_at: no start before this time (backoff); 0 for none.
        breaker_until: the breaker is open until then; 0 when closed.
        last_error: why the last start failed.
        cordoned: no new grants.
        min_idle, max_clusters: an operator's resize, over the configured values; None leaves them.
    """

    digest: str
    key: ClusterKey
    name: str
    next_seq: int = 1
    failures: int = 0
    retry_at: float = 0.0
    breaker_until: float = 0.0
    last_error: str = ""
    cordoned: bool = False
    min_idle: int | None = None
    max_clusters: int | None = None
    created_at: float = 0.0

    def __repr__(self) -> str:
        flags = [f"{self.failures} failures"] if self.failures else []
        flags += ["cordoned"] if self.cordoned else []
        return f"<{' '.join(['Pool', self.digest, self.name, self.key.image, *flags])}>"


class ResidentValue(NamedTuple):
    """Named data that a holder left in a cluster's memory for the next one of its group, as that holder told.

    Attributes:
        node: id of the Ray node that has it.
        used_at: when it was last put or got.
    """

    name: str
    bytes: int
    node: str
    used_at: float


class Wear(NamedTuple):
    """How much a cluster has grown, as its last reset measured. What was not looked at is 0.

    Attributes:
        head_memory_bytes: memory of Ray's own processes on the head, without what is shared (the object store).
        open_files: the most files that one of these processes has open.
        store_left_bytes: what is in use of the nodes' object stores though nobody is left who owns anything.
    """

    head_memory_bytes: int = 0
    open_files: int = 0
    store_left_bytes: int = 0


class Evidence(NamedTuple):
    """What a reset found that would not go, and whose it was.

    Attributes:
        lease, holder: the last ones on the cluster; empty if that is not known any more.
        found_at: when.
        left: a phrase for each thing.
    """

    lease: str
    holder: str
    found_at: float
    left: tuple[str, ...]


class Cluster(NamedTuple):
    """One cluster, from the decision to start it until it is seen gone.

    Attributes:
        id: ``c-<digest>-<seq>``: deterministic, so that starting twice starts once.
        pool: digest of its key.
        tenant: its isolation domain.
        footprint: what it takes of the ceilings until it is seen gone; less once its workers were seen gone, all of
            it again from the moment in which it begins to grow.
        epoch: the fencing token; rises with every grant and every end of a lease.
        leases: ids of the leases on it (at most one, unless the pool shares).
        uses: grants so far.
        cause: why it was started.
        changed_at: when it entered its state.
        idle_since: when it came idle last; letting its workers go does not change it.
        boot_id: identity of the running head, as the backend told when it was ready; empty before.
        group: the group whose lease ran on it last, whose data it may hold.
        hold_until: it is kept for `group` until then; 0 for no hold.
        cordoned: no new grants.
        doom: why it must be stopped, and not reset, once its leases ended; None while it may live on.
        reason, detail: why it is in its state (stopping, quarantined), as code and as sentence; of one that is doomed,
            `detail` says that in words.
        retires_at: end of its life by `max_lifetime` (with its jitter); 0 for never.
        resizes: how often it began to let its workers go or to get them back. The backend marks what it writes with it:
            a late write of a daemon that was replaced must not undo a later one.
        grow_s: how long it took to get its workers back last, None if it never let them go.
        evidence: why it could not be proven clean, None if it could.
        grown_at: when it had its workers back, until its next grant; 0 otherwise, and not kept over a restart.
        phase: how far a start or a growth is, in the backend's words (not kept over a restart).
        group_only: it was proven clean for its group; another group's holder gets it after a full reset. The store
            keeps such an idle cluster as one that resets, so that a restart resets it in full.
        degraded: what it misses of what its key says, empty while it is whole; since `degraded_at`. Not kept over a
            restart: the backend tells it again.
        resident: what its group's holders left in its memory. Not kept over a restart: the next release tells it again.
        slow: its reset takes so long that who waits does not count on it. Not kept over a restart.
        wear: how much it has grown, None before a reset told it. Not kept over a restart: the next reset tells again.
    """

    id: str
    pool: str
    tenant: str
    seq: int
    footprint: Footprint
    state: ClusterState
    cause: Reason
    created_at: float
    changed_at: float
    epoch: int = 0
    leases: tuple[str, ...] = ()
    uses: int = 0
    ready_at: float | None = None
    boot_id: str = ""
    address: str = ""
    client_address: str = ""
    dashboard_url: str = ""
    ray_version: str = ""
    group: str = ""
    hold_until: float = 0.0
    cordoned: bool = False
    doom: Reason | None = None
    reason: Reason | None = None
    detail: str = ""
    retires_at: float = 0.0
    idle_since: float = 0.0
    resizes: int = 0
    grow_s: float | None = None
    evidence: Evidence | None = None
    grown_at: float = 0.0
    phase: str = ""
    group_only: bool = False
    degraded: str = ""
    degraded_at: float = 0.0
    resident: tuple[ResidentValue, ...] = ()
    wear: Wear | None = None
    slow: bool = False

    @property
    def resident_bytes(self) -> int:
        """How much of its group's data it has in memory."""
        return sum(value.bytes for value in self.resident)

    @property
    def grantable(self) -> bool:
        """Whether it may be granted to somebody new, as far as that does not depend on its state."""
        return not self.cordoned and self.doom is None and not self.degraded

    @property
    def doomed(self) -> str:
        """Why it must be stopped once its leases ended, as a sentence; empty while it may live on."""
        return (self.detail or self.doom.sentence) if self.doom is not None else ""

    def __repr__(self) -> str:
        flags = [f"for {', '.join(self.leases)}"] if self.leases else []
        flags += ["held"] if self.hold_until else []
        flags += ["for its group"] if self.group_only else []
        flags += [f"{self.resident_bytes} bytes resident"] if self.resident else []
        flags += ["cordoned"] if self.cordoned else []
        flags += [f"doomed: {self.doom}"] if self.doom else []
        flags += ["degraded"] if self.degraded else []
        flags += [f"({self.reason})"] if self.reason else []
        return f"<{' '.join(['Cluster', self.id, self.state, f'epoch {self.epoch}', *flags])}>"


class Lease(NamedTuple):
    """The time-bounded right of one holder to one cluster.

    Attributes:
        id: also the id of the waiter it was, if it waited.
        caller: the API token's name: request ids are scoped to it.
        pool: digest of the key that was asked for (the cluster may be of a larger one).
        epoch: the cluster's epoch as of this grant; what the holder must show.
        expires_at: renewals move it, in memory only (see `renewed_in`).
        max_until: it ends then however often it is renewed; 0 for never.
        hold_s: for how long its cluster is held for its group after the release.
        miss: why no idle cluster answered it; None for a hit.
        renewed_in: writer generation in which it was granted or last renewed. A restart extends leases that the
            generation before it saw, so that a holder who went away is not waited for at restart after restart.
    """

    id: str
    cluster: str
    pool: str
    tenant: str
    caller: str
    request_id: str
    holder: str
    group: str
    priority: int
    mode: Mode
    epoch: int
    state: LeaseState
    outcome: Outcome
    miss: Reason | None
    asked_at: float
    granted_at: float
    ttl_s: float
    expires_at: float
    max_until: float = 0.0
    hold_s: float = 0.0
    ended_at: float | None = None
    end_reason: Reason | None = None
    end_detail: str = ""
    renewed_in: int = 0

    def __repr__(self) -> str:
        end = f" ({self.end_reason})" if self.end_reason else ""
        return (
            f"<Lease {self.id} {self.state}{end} {self.outcome} on {self.cluster} epoch {self.epoch} by {self.holder}>"
        )


class Waiter(NamedTuple):
    """A queued acquire.

    Attributes:
        id: the id its lease will have.
        rank: its place in the queue by the pool's queue order; lower is served first; ties by `asked_at`.
        deadline: it is refused with `wait_timeout` then.
        seen_until: it is dropped if it has not asked again by then (in memory only).
        local_until: until then it waits for the cluster that holds its group's data; 0 for not.
        miss: why it was not answered at once.
    """

    id: str
    pool: str
    tenant: str
    caller: str
    request_id: str
    holder: str
    group: str
    priority: int
    mode: Mode
    asked_at: float
    rank: float
    deadline: float
    seen_until: float
    ttl_s: float
    hold_s: float
    miss: Reason
    local_until: float = 0.0

    def __repr__(self) -> str:
        ask = f"{self.mode} priority {self.priority} ({self.miss})"
        return f"<Waiter {self.id} of pool {self.pool} {ask} by {self.holder}>"


Record = Pool | Cluster | Lease | Waiter
R = TypeVar("R", Pool, Cluster, Lease, Waiter)

PLACES: dict[type, dict[str, int]] = {
    kind: {name: place for place, name in enumerate(kind._fields)} for kind in (Pool, Cluster, Lease, Waiter)
}
"""Where each field of a record stands."""


def record_id(record: Record) -> str:
    """Return the id of any record (the digest of a pool)."""
    return record.digest if isinstance(record, Pool) else record.id

"""What can happen (events, in), what must be done (effects, out), and what the asker is told (replies).

Whatever is random or secret (ids, tokens) and the time are made by the shell and passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pool.core.key import ClusterKey
from pool.core.model import Cluster, Lease, Mode, ReadFrom, Record, ResidentValue, Waiter, Wear
from pool.core.reasons import Reason
from pool.core.settings import Rules

# --- events: what a holder or an operator asks ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acquire:
    """Ask for a lease, or ask again with the same request id.

    Attributes:
        lease_id: fresh id, used if this call makes a waiter or a lease.
        caller: the API token's name.
        deadline: when the waiting ends altogether.
        seen_until: until when the asker is known to listen.
        ttl_s, hold_s: None for the pool's setting.
    """

    lease_id: str
    caller: str
    request_id: str
    key: ClusterKey
    holder: str
    group: str
    mode: Mode
    deadline: float
    seen_until: float
    priority: int = 0
    ttl_s: float | None = None
    hold_s: float | None = None


@dataclass(frozen=True, slots=True)
class Renew:
    """Extend a lease by its ttl. `epoch` must be the lease's."""

    lease_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Release:
    """The holder is done.

    Attributes:
        hold_s: overrides what the acquire asked.
        resident: what is resident on the cluster now, as the holder found it; None if it did not look.
        reads: how many of its reads of resident data were answered from where.
        note: what it says of its end; kept with the lease.
    """

    lease_id: str
    epoch: int
    hold_s: float | None = None
    resident: tuple[ResidentValue, ...] | None = None
    reads: tuple[tuple[ReadFrom, int], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The asker no longer wants what it queued for (or was granted meanwhile and has not claimed)."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Detached:
    """The connection on which a waiter listened broke; it may come back until `seen_until`."""

    lease_id: str
    seen_until: float


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The answer that held a grant could not be written: its holder never learned of it."""

    lease_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Revoke:
    """An operator ends a lease."""

    lease_id: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Cordon:
    """No new grants on a cluster (or, with its digest, a pool); `on=False` takes it back; `drain` also stops it."""

    target: str
    on: bool = True
    drain: bool = False


@dataclass(frozen=True, slots=True)
class Prewarm:
    """Start clusters of a key until `count` are idle or starting."""

    key: ClusterKey
    count: int


@dataclass(frozen=True, slots=True)
class GroupEnded:
    """A group's workflow has ended: it asks for nothing any more."""

    tenant: str
    group: str


@dataclass(frozen=True, slots=True)
class Resize:
    """Set a pool's `min_idle` and ceiling over its configuration; None leaves one as it is."""

    pool: str
    min_idle: int | None = None
    max_clusters: int | None = None


# --- events: what the backend tells --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """A start, or a growth, has come to a phase."""

    cluster_id: str
    phase: str


@dataclass(frozen=True, slots=True)
class Started:
    """A cluster is ready, or has its workers back.

    A job can be submitted, a driver can connect, all its nodes are alive, a call without its token is refused.
    """

    cluster_id: str
    boot_id: str
    address: str
    client_address: str = ""
    dashboard_url: str = ""
    ray_version: str = ""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A start, or a growth, came to nothing."""

    cluster_id: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class ResetDone:
    """A reset ended.

    Attributes:
        clean: only if it was proven.
        left: what was found otherwise.
        full: clean for everybody of the tenant; else for the group that used it last.
        wear: how much the cluster has grown, None if that was not measured.
        evidence: all that was found otherwise, a phrase each; `left` sums it up.
    """

    cluster_id: str
    epoch: int
    clean: bool
    left: str = ""
    full: bool = True
    wear: Wear | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shrunk:
    """An idle cluster has let workers go, and they were seen gone.

    Attributes:
        left: the worker nodes that are still there, by group: (name, number).
        detail: why they are; empty if none is.
    """

    cluster_id: str
    left: tuple[tuple[str, int], ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ShrinkFailed:
    """Letting workers go did not succeed; reconcile tries again."""

    cluster_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A cluster was stopped and seen gone."""

    cluster_id: str


@dataclass(frozen=True, slots=True)
class StopFailed:
    """A stop did not succeed; reconcile tries again."""

    cluster_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A cluster broke: its head died, was replaced, or does not answer. `boot_id` of the one that was seen."""

    cluster_id: str
    boot_id: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Degraded:
    """A cluster is not what its key says, though it works.

    Attributes:
        boot_id: of the head that was seen.
        detail: what is wrong with it; empty: it is whole again.
        lasting: it will not become whole by itself.
        reason: for which it is given up then.
    """

    cluster_id: str
    boot_id: str
    detail: str
    lasting: bool = False
    reason: Reason = Reason.EDITED


@dataclass(frozen=True, slots=True)
class Readmit:
    """The cause for which a cluster was quarantined is gone: whoever had a right to it has none any more."""

    cluster_id: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One cluster of a listing. `boot_id` is empty while it is not known."""

    cluster_id: str
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the backend has.

    Attributes:
        started_at: when the listing began: a cluster changed later may be missing in it.
        complete: False if a part could not be listed; then nothing is concluded from absence.
        busy: ids on which an effect of ours is under way.
        foreign: how many clusters it shows that are not ours: they are never touched, only counted.
    """

    started_at: float
    complete: bool
    seen: tuple[Seen, ...]
    busy: frozenset[str] = frozenset()
    foreign: int = 0


# --- events: time and settings -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: whatever is due by the clock happens."""


@dataclass(frozen=True, slots=True)
class Paused:
    """The daemon did not run for `gap_s` (a suspended machine): holders could not renew meanwhile."""

    gap_s: float


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """New rules, as a whole."""

    rules: Rules


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Stop every cluster; leases end as revoked."""


Event = (
    Acquire | Renew | Release | Cancel | Detached | Undelivered | Revoke | Cordon | Prewarm | Resize | GroupEnded
    | Progress | Started | StartFailed | ResetDone | Shrunk | ShrinkFailed | Stopped | StopFailed | Lost | Degraded
    | Readmit | Listing
    | Tick | Paused | Reconfigure | Shutdown
)  # fmt: skip

# --- replies: what the asker of one event is told ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Granted:
    """The lease, and the cluster it is on."""

    lease: Lease
    cluster: Cluster


@dataclass(frozen=True, slots=True)
class Queued:
    """Not yet.

    Attributes:
        position: 1 for the next one to be served.
        reason: why it still waits, as of now.
        expected_at: when a cluster is expected, None if nothing is known.
        phase: of the start it will most likely get, e.g. ``queued``, ``starting``.
        detail: the reason with names and numbers.
    """

    waiter: Waiter
    position: int
    reason: Reason
    detail: str
    expected_at: float | None
    phase: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """No, and why; `remedy` says what to do next."""

    reason: Reason
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Renewed:
    """The lease as extended, the cluster as it is, and hints (``drain``, ``max_lease``)."""

    lease: Lease
    cluster: Cluster
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The lease is over (released, cancelled, or had ended before for its own reason)."""

    lease_id: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """An operator's request was carried out; `text` says what it did."""

    text: str = ""
    ids: tuple[str, ...] = ()


Reply = Granted | Queued | Rejected | Renewed | Ended | Done | None

# --- effects: what the shell must do after the commit --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Start the cluster, or, if it runs already, wait until it is ready.

    Attributes:
        timeout_s: bound of the start.
        resident_share: of each node's object store that resident data may take.
    """

    cluster: Cluster
    key: ClusterKey
    timeout_s: float
    resident_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the cluster and see it gone."""

    cluster_id: str
    key: ClusterKey
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a lease, from its grant to its end, by the daemon's clock."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Reset:
    """Stop what the holder left and prove the cluster clean: in `full`, or so far that its group may go on.

    `span` is the time of the cluster's last lease, None if it is not known any more.
    """

    cluster: Cluster
    key: ClusterKey
    epoch: int
    timeout_s: float
    full: bool = True
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Shrink:
    """Let the workers of an idle cluster go, but for those that hold something, and see them gone."""

    cluster: Cluster
    key: ClusterKey


@dataclass(frozen=True, slots=True)
class Grow:
    """Give a cluster its workers back, and wait until it is ready with all of them."""

    cluster: Cluster
    key: ClusterKey


@dataclass(frozen=True, slots=True)
class StopOrphan:
    """Stop a cluster that carries our store's id but that the store does not know."""

    cluster_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Wake whoever listens for this waiter with a final answer."""

    lease_id: str
    reply: Granted | Rejected


@dataclass(frozen=True, slots=True)
class Nudge:
    """Something about the pool's queue changed (a phase, a position): tell whoever watches it."""

    pool: str


Effect = Start | Stop | Reset | Shrink | Grow | StopOrphan | Answer | Nudge

# --- changes -------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """One record replaced. `old` None: it is new. `new` None: it is gone.

    `durable` is False for what lives in memory only (a renewal, a phase).
    """

    old: Record | None
    new: Record | None
    durable: bool = True


@dataclass(slots=True)
class Decision:
    """What one event led to. The changes are already applied to the state; `State.revert` takes them back."""

    event: Event
    now: float
    reply: Reply = None
    changes: list[Change] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    drift: dict[str, int] = field(default_factory=dict)

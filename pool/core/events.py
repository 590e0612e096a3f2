"""What can happen to the pool: asked by holders and operators, told by the backend, due by the clock.

Whatever is random or secret (ids, tokens) and the time are made by the shell and passed in. Those that come with every
lease and have many fields are named tuples, which are made several times faster than a frozen dataclass; so are those
of `pool.core.decisions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pool.core.key import ClusterKey
from pool.core.model import Mode, ReadFrom, ResidentValue, Wear
from pool.core.reasons import Reason
from pool.core.settings import Rules

# --- events: what a holder or an operator asks ---------------------------------------------------------------------


class Acquire(NamedTuple):
    """Ask for a lease, or ask again with the same request id.

    Attributes:
        lease_id: fresh id, used if this call makes a waiter or a lease.
        caller: the API token's name.
        deadline: when the waiting ends altogether.
        seen_until: until when the asker is known to listen.
        ttl_s, hold_s: None for the pool's setting.
        told: whether the asker is told how it stands while it waits, which has to be reckoned; a replay's is not.
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
    told: bool = True


@dataclass(frozen=True, slots=True)
class Renew:
    """Extend a lease by its ttl. `epoch` must be the lease's."""

    lease_id: str
    epoch: int


class Release(NamedTuple):
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


class Started(NamedTuple):
    """A cluster is ready, or has its workers back.

    A job can be submitted, a driver can connect, all its nodes are alive, a call without its token is refused.

    Attributes:
        took_s: how long the start took, where the clock did not see it: in a replay in which starts take no time,
            policies go by what they would have taken.
    """

    cluster_id: str
    boot_id: str
    address: str
    client_address: str = ""
    dashboard_url: str = ""
    ray_version: str = ""
    took_s: float | None = None


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A start, or a growth, came to nothing."""

    cluster_id: str
    reason: Reason
    detail: str


class ResetDone(NamedTuple):
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

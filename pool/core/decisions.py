"""What a decision is: what changes, what the shell must do after the commit, and what the asker is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pool.core.events import Event
from pool.core.key import ClusterKey
from pool.core.model import Cluster, Lease, Record, Waiter
from pool.core.reasons import Reason

# --- replies: what the asker of one event is told ------------------------------------------------------------------


class Granted(NamedTuple):
    """The lease, and the cluster it is on."""

    lease: Lease
    cluster: Cluster


class Queued(NamedTuple):
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


class Renewed(NamedTuple):
    """The lease as extended, the cluster as it is, and hints (``drain``, ``max_lease``)."""

    lease: Lease
    cluster: Cluster
    hints: tuple[str, ...] = ()


class Ended(NamedTuple):
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


class Start(NamedTuple):
    """Start the cluster, or, if it runs already, wait until it is ready.

    Attributes:
        timeout_s: bound of the start.
        resident_share: of each node's object store that resident data may take.
    """

    cluster: Cluster
    key: ClusterKey
    timeout_s: float
    resident_share: float = 0.5


class Stop(NamedTuple):
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


class Reset(NamedTuple):
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


class Answer(NamedTuple):
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

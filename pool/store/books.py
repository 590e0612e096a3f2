"""The ledger's books: what clusters spent their time on and how leases came by theirs, added up by day and pool.

Entries are made of the changes that a commit writes, and are written by the same transaction, so that they are as
durable as the changes and never counted twice. What is *booked* of a cluster is kept with it: in which state it was,
and until when its seconds are in the ledger. A restart goes on from there. So of each cluster the seconds booked and
those since then add up to its life, whatever happened.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pool.core.decisions import Change
from pool.core.model import Cluster, ClusterState, Lease, Outcome

DAY_S = 86_400.0
LONGEST_S = 400 * DAY_S
"""What is longer than that is entered on the day on which it began, but for its end."""


class Kind(StrEnum):
    """What an entry counts: seconds of clusters, or grants and the seconds that were waited for them."""

    TIME = "time"
    GRANT = "grant"


class Spent(StrEnum):
    """What a cluster's time was spent on."""

    STARTING = "starting"
    IDLE = "idle"
    WARM_HEAD = "warm_head"
    BUSY = "busy"
    RESETTING = "resetting"
    STOPPING = "stopping"


SPENT: Mapping[ClusterState, Spent] = {
    ClusterState.STARTING: Spent.STARTING,
    ClusterState.GROWING: Spent.STARTING,
    ClusterState.IDLE: Spent.IDLE,
    ClusterState.SHRINKING: Spent.IDLE,
    ClusterState.WARM_HEAD: Spent.WARM_HEAD,
    ClusterState.LEASED: Spent.BUSY,
    ClusterState.RESETTING: Spent.RESETTING,
    ClusterState.QUARANTINED: Spent.RESETTING,
    ClusterState.STOPPING: Spent.STOPPING,
}


class Account(NamedTuple):
    """Where something is entered.

    Attributes:
        day: days since the epoch (UTC).
        pool: digest.
        kind: of the entry.
        what: a `Spent` of its clusters, or an `Outcome` of its leases.
        reason: why a lease was no hit; else empty.
    """

    day: int
    pool: str
    tenant: str
    kind: str
    what: str
    reason: str = ""


class Sum(NamedTuple):
    """How often, and so many seconds of it."""

    times: int = 0
    seconds: float = 0.0


Entries = defaultdict[Account, Sum]


def entries() -> Entries:
    """Return a ledger without entries."""
    return defaultdict(Sum)


class Booked(NamedTuple):
    """What is booked of a cluster: its seconds until `since`, from when on it was in `state`."""

    pool: str
    tenant: str
    state: ClusterState
    since: float


def booked(pool: str, tenant: str, state: str, changed_at: float, booked_state: str, booked_at: float) -> Booked:
    """Return what is booked of a cluster as the store has it.

    Code that knows no ledger may have changed it since (an upgrade that was taken back): then it begins there anew.
    """
    if booked_at >= changed_at and booked_state:
        return Booked(pool, tenant, ClusterState(booked_state), booked_at)
    return Booked(pool, tenant, ClusterState(state), changed_at)


@dataclass(slots=True)
class Draft:
    """What the changes of one commit add to the ledger, and what is booked of their clusters then (None: it is gone).

    Nothing of it counts before it is written.
    """

    entries: Entries = field(default_factory=entries)
    booked: dict[str, Booked | None] = field(default_factory=dict)


class Books:
    """What is booked of every living cluster."""

    def __init__(self) -> None:
        self._booked: dict[str, Booked] = {}

    def begin(self, found: Iterable[tuple[str, Booked]]) -> None:
        """Begin with what the store has of living clusters."""
        self._booked = dict(found)

    def draft(self, changes: Sequence[Change]) -> Draft:
        """Return what `changes` enter."""
        draft = Draft()
        for old, new, _ in changes:
            if type(new) is Cluster:
                self._cluster(draft, old if type(old) is Cluster else None, new)
            elif type(new) is Lease and old is None:
                _granted(draft.entries, new)
        return draft

    def _cluster(self, draft: Draft, old: Cluster | None, new: Cluster) -> None:
        was = draft.booked.get(new.id) or self._booked.get(new.id)
        if was is None:
            if new.state is ClusterState.STOPPED:
                return
            was = Booked(new.pool, new.tenant, new.state if old is None else old.state, new.created_at)
        if old is not None and old.changed_at > was.since:
            # Nobody committed what it did meanwhile, or a restart let its time begin anew.
            was = _spend(draft.entries, was, old.state, old.changed_at)
        if new.changed_at > was.since or new.state is not was.state:
            was = _spend(draft.entries, was, new.state, new.changed_at)
        draft.booked[new.id] = None if new.state is ClusterState.STOPPED else was

    def take(self, draft: Draft) -> None:
        """Go on from a draft that was written."""
        for id_, was in draft.booked.items():
            if was is None:
                self._booked.pop(id_, None)
            else:
                self._booked[id_] = was

    def unbooked(self, now: float) -> Entries:
        """Return the seconds of living clusters that are not in the ledger yet."""
        found = entries()
        for was in self._booked.values():
            _spend(found, was, was.state, now, over=False)
        return found


def _spend(into: Entries, was: Booked, state: ClusterState, until: float, *, over: bool = True) -> Booked:
    """Enter the seconds from `was` to `until`, each on its day, and return what is booked then."""
    what = SPENT[was.state].value

    def enter(day: int, times: int, seconds: float) -> None:
        account = Account(day, was.pool, was.tenant, Kind.TIME.value, what)
        count, before = into[account]
        into[account] = Sum(count + times, before + seconds)

    since = was.since
    if until - since > LONGEST_S:
        # A clock was set: not a line for each day since then.
        enter(math.floor(since / DAY_S), 0, until - LONGEST_S - since)
        since = until - LONGEST_S
    if since < until:
        for day in range(math.floor(since / DAY_S), math.floor(until / DAY_S) + 1):
            seconds = min(until, (day + 1) * DAY_S) - max(since, day * DAY_S)
            if seconds > 0:
                enter(day, 0, seconds)
    if over and SPENT.get(state) is not SPENT[was.state]:
        enter(math.floor(until / DAY_S), 1, 0.0)
    return Booked(was.pool, was.tenant, state, max(was.since, until))


def _granted(into: Entries, lease: Lease) -> None:
    reason = "" if lease.outcome is Outcome.HIT or lease.miss is None else lease.miss.value
    day = math.floor(lease.granted_at / DAY_S)
    account = Account(day, lease.pool, lease.tenant, Kind.GRANT.value, lease.outcome.value, reason)
    count, seconds = into[account]
    into[account] = Sum(count + 1, seconds + max(0.0, lease.granted_at - lease.asked_at))


def added(
    into: Entries,
    more: Mapping[Account, Sum],
    since_day: float = -math.inf,
    until_day: float = math.inf,
    *,
    by_day: bool = True,
) -> Entries:
    """Add the entries of some days to others, all as of day 0 unless `by_day`, and return them."""
    for account, (count, seconds) in more.items():
        if since_day <= account.day < until_day:
            where = account if by_day else account._replace(day=0)
            was = into[where]
            into[where] = Sum(was.times + count, was.seconds + seconds)
    return into

"""The one entry to the core: ``decide(state, event, now) -> Decision``.

A decision is pure in that it asks nobody anything: no clock, no I/O. Its changes are applied to the state as it is
made, so that the events of a batch see one another; `State.revert` takes them back if they cannot be committed. An
event that raises changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

from pool.core import (
    ahead,
    capacity,
    clusters,
    fairness,
    grant,
    groups,
    idling,
    learning,
    leases,
    operate,
    quarantine,
    reconcile,
    warm_heads,
)
from pool.core.decisions import Decision, Reply
from pool.core.events import (
    Acquire,
    Cancel,
    Cordon,
    Degraded,
    Detached,
    Event,
    GroupEnded,
    Listing,
    Lost,
    Paused,
    Prewarm,
    Progress,
    Readmit,
    Reconfigure,
    Release,
    Renew,
    ResetDone,
    Resize,
    Revoke,
    ShrinkFailed,
    Shrunk,
    Shutdown,
    Started,
    StartFailed,
    StopFailed,
    Stopped,
    Tick,
    Undelivered,
)
from pool.core.larger import smaller_of
from pool.core.model import ClusterState
from pool.core.state import COMING_UP, UNUSED, State
from pool.core.timers import Kind
from pool.core.turn import Turn


class Due(NamedTuple):
    """Something is due by the clock (made by `due_events`, not by the shell)."""

    kind: Kind
    id: str


def decide(state: State, event: Event | Due, now: float) -> Decision:
    """Decide what one event leads to.

    Args:
        state: altered in place.
        event: what happened.
        now: seconds since the epoch.

    Returns:
        Reply, changes (applied already) and effects (to be carried out after the commit).

    Raises:
        PoolError: if the event is not possible; nothing was changed.
    """
    turn = Turn(state, event, now)  # type: ignore[arg-type]
    try:
        turn.decision.reply = _HANDLERS[type(event)](turn, event)
        _settle(turn)
        if isinstance(event, Acquire):
            turn.decision.reply = leases.settle_reply(turn, event, turn.decision.reply)
    except BaseException:
        state.revert(turn.decision.changes)
        raise
    return turn.decision


def due_events(state: State, now: float, limit: int = 1_000) -> list[Due]:
    """Return what is due, each to be decided as an event of its own, after at most `limit` looks.

    What a look was promised for may be over, or later by now: of these promises most are of that kind, and they are
    no events. A lease that was renewed is looked at again when it expires.
    """
    out: list[Due] = []
    for _ in range(limit):
        due = state.timers.pop(now)
        if due is None:
            break
        kind, id_ = due
        if kind is Kind.LEASE:
            lease = state.leases.get(id_)
            if lease is None:
                continue
            if now < lease.expires_at:
                state.timers.arm(kind, id_, lease.expires_at)
                continue
        elif kind in _OF_WAITERS:
            if id_ not in state.waiters:
                continue
        elif kind in _MATTERS_IN:
            cluster = state.clusters.get(id_)
            if cluster is None or cluster.state not in _MATTERS_IN[kind]:
                continue
        out.append(Due(kind, id_))
    return out


_OF_WAITERS = (Kind.DEADLINE, Kind.SEEN, Kind.LOCAL)

_MATTERS_IN: dict[Kind, tuple[ClusterState, ...]] = {
    Kind.START: COMING_UP,
    Kind.RESET: (ClusterState.RESETTING,),
    Kind.SLOW: (ClusterState.RESETTING,),
    Kind.KEEP: UNUSED,
    Kind.WORKERS: (ClusterState.IDLE,),
    Kind.SHRINK: (ClusterState.SHRINKING,),
    Kind.HOLD: (ClusterState.IDLE,),
    Kind.REST: (ClusterState.IDLE,),
    Kind.RETIRE: UNUSED,
    Kind.QUARANTINE: (ClusterState.QUARANTINED,),
}
"""In which states of its cluster something may be due: in another one, whoever looks finds nothing to do."""


def _settle(turn: Turn) -> None:
    """Serve the queues that the event touched, then start what is still missing."""
    state = turn.state
    rounds = 0
    while turn.touched or turn.freed:
        # Every round grants, starts or stops something; the bound only turns a bug into an error instead of a hang.
        rounds += 1
        if rounds > 10_000:
            raise RuntimeError("the queues do not settle")
        touched, turn.touched = turn.touched, {}
        follow: dict[str, None] = {}
        for digest in touched:
            index = state.index.get(digest)
            if index is not None:
                if state.waiting_pools:
                    if state.blocked:
                        capacity.give_way(turn, digest)
                    grant.serve(turn, digest)
                    grant.serve_smaller(turn, digest)
                # Most pools have neither waiters nor smaller ones.
                (capacity.plan_in_turn if index.queue else capacity.plan)(turn, digest)
                for smaller in smaller_of(state, digest):
                    # It may count on what this one had to spare.
                    if idling.counts_on_larger(state, smaller):
                        follow[smaller] = None
        for digest in follow:
            capacity.plan_in_turn(turn, digest)
        if turn.idled:
            if state.blocked and any(id_ in state.evictable for id_ in turn.idled):
                turn.freed = True
            turn.idled.clear()
        if turn.freed:
            turn.freed = False
            if not state.blocked:
                continue
            for digest in sorted(state.blocked, key=lambda d: fairness.place(state, d)):
                capacity.plan(turn, digest)
                if state.starting >= state.rules.max_starting:
                    break


def _due(turn: Turn, due: Due) -> Reply:
    again = _DUE[due.kind](turn, due.id)
    if again is not None:
        turn.state.timers.arm(due.kind, due.id, again)
    return None


def _pool_due(turn: Turn, digest: str) -> float | None:
    state = turn.state
    if digest in state.pools:
        expected = state.index[digest].expected
        for id_ in islice(state.index[digest].free, expected.lapsed(turn.now)):
            state.timers.arm(Kind.KEEP, id_, turn.now)
        if not expected.has_rhythm():
            ahead.look_at_rhythm(state, digest, turn.now)
        turn.touch(digest)
    return None


def _nothing(_turn: Turn, _event: Tick | ShrinkFailed | StopFailed) -> Reply:
    return None


def _paused(turn: Turn, event: Paused) -> Reply:
    """Nobody could renew while the daemon stood still: that time does not count."""
    for lease in list(turn.state.leases.values()):
        until = lease.expires_at + event.gap_s
        turn.update(lease, durable=False, expires_at=min(until, lease.max_until) if lease.max_until else until)
    for waiter in list(turn.state.waiters.values()):
        turn.update(waiter, durable=False, seen_until=waiter.seen_until + event.gap_s)
    return None


def _reconfigure(turn: Turn, event: Reconfigure) -> Reply:
    """Take new rules as a whole: pools take their new names and settings, the indexes follow."""
    state = turn.state
    state.set_rules(event.rules)
    learning.recount(state, turn.now)
    ahead.forget(state)
    for pool in list(state.pools.values()):
        name = state.settings(pool.digest).name
        if name != pool.name:
            turn.update(pool, name=name)
        turn.touch(pool.digest)
    for key in event.rules.pinned:
        turn.touch(turn.pool(key).digest)
    for cluster in state.clusters.values():
        if cluster.state in UNUSED:
            turn.watch_unused(cluster)
    return None


_DUE: dict[Kind, Callable[[Turn, str], float | None]] = {
    Kind.LEASE: leases.lease_due,
    Kind.DEADLINE: leases.deadline_due,
    Kind.SEEN: leases.seen_due,
    Kind.LOCAL: leases.local_due,
    Kind.START: clusters.start_due,
    Kind.RESET: clusters.reset_due,
    Kind.SLOW: clusters.slow_due,
    Kind.KEEP: clusters.keep_due,
    Kind.WORKERS: warm_heads.workers_due,
    Kind.SHRINK: warm_heads.shrink_due,
    Kind.HOLD: clusters.hold_due,
    Kind.REST: clusters.rest_due,
    Kind.DEGRADED: clusters.degraded_due,
    Kind.RETIRE: clusters.retire_due,
    Kind.QUARANTINE: quarantine.quarantine_due,
    Kind.POOL: _pool_due,
}

_HANDLERS: dict[type, Callable[[Turn, Any], Reply]] = {
    Acquire: leases.acquire,
    Renew: leases.renew,
    Release: leases.release,
    Cancel: leases.cancel,
    Detached: leases.detached,
    Undelivered: leases.undelivered,
    Revoke: leases.revoke,
    Cordon: operate.cordon,
    Prewarm: operate.prewarm,
    Resize: operate.resize,
    GroupEnded: groups.group_ended,
    Progress: clusters.progress,
    Started: clusters.started,
    StartFailed: clusters.start_failed,
    ResetDone: clusters.reset_done,
    Shrunk: warm_heads.shrunk,
    ShrinkFailed: _nothing,
    Stopped: clusters.stopped,
    StopFailed: _nothing,
    Lost: clusters.lost,
    Degraded: clusters.degraded,
    Readmit: quarantine.readmit,
    Listing: reconcile.listing,
    Tick: _nothing,
    Paused: _paused,
    Reconfigure: _reconfigure,
    Shutdown: operate.shutdown,
    Due: _due,
}

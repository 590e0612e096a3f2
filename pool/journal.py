"""One line for each decision that a person would ask about: what was done, to what, and why.

Hits and clean releases are the daily bread of a pool and are told at ``debug``; what costs somebody time or a cluster
at ``info``; what somebody may have to act on at ``warning``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import structlog

from pool.core.decisions import Answer, Decision, Done, Rejected
from pool.core.events import Acquire
from pool.core.model import Cluster, ClusterState, Lease, LeaseState, Outcome, Pool, Waiter
from pool.core.reasons import Reason
from pool.core.reconcile import EXPECTED_DRIFTS
from pool.core.state import State

# How a lease ends when all is well: nobody asks why.
_QUIET_ENDS = (Reason.RELEASED, Reason.CANCELLED)


class Journal:
    """Tells decisions as sentences.

    Attributes:
        debug: whether lines at ``debug`` are wanted; hits cost nothing if not.
    """

    def __init__(self, state: Callable[[], State], *, debug: bool = False, logger: Any = None) -> None:
        self._state = state
        self.debug = debug
        self._log = logger if logger is not None else structlog.get_logger("warmpool.journal")

    def observe(self, decision: Decision) -> None:
        """Tell a committed decision."""
        waiters: dict[str, Waiter] = {}
        for change in decision.changes:
            old, new = change.old, change.new
            if isinstance(new, Cluster):
                self._cluster(old, new, decision.now)  # type: ignore[arg-type]
            elif isinstance(new, Lease):
                self._lease(old, new)  # type: ignore[arg-type]
            elif isinstance(new, Pool) and isinstance(old, Pool):
                self._pool(old, new, decision.now)
            elif isinstance(old, Waiter) and new is None:
                waiters[old.id] = old
        if decision.drift:
            self._drift(decision.drift)
        self._answers(decision, waiters)

    def _name(self, digest: str) -> str:
        pool = self._state().pools.get(digest)
        return pool.name if pool is not None else digest

    def _tell(self, level: int, sentence: str, **fields: Any) -> None:
        self._log.log(level, sentence, **{name: value for name, value in fields.items() if value not in ("", None)})

    # --- clusters --------------------------------------------------------------------------------------------------

    def _cluster(self, old: Cluster | None, new: Cluster, now: float) -> None:
        if not self._wants(old, new):
            return
        fields = {"cluster": new.id, "pool": self._name(new.pool), "tenant": new.tenant}
        if old is None:
            self._tell(logging.INFO, f"starting {new.id}: {_lower(new.cause.sentence)}", reason=new.cause, **fields)
        elif new.state is ClusterState.STOPPING:
            self._stopping(old, new, fields)
        elif old.state is not new.state and (new.state in _SIZED or old.state in _SIZED):
            self._sized(old, new, now, fields)
        elif new.state is ClusterState.QUARANTINED:
            found = _evidence(new)
            self._tell(logging.WARNING, f"{new.id} is quarantined: {new.detail}", reason=new.reason, **found, **fields)
        elif old.state is ClusterState.STARTING:
            start_s = now - new.created_at
            self._tell(logging.INFO, f"{new.id} is ready after {start_s:.1f} s", start_s=round(start_s, 3), **fields)
        elif old.doom is not new.doom:
            if new.doom is not None:
                sentence = f"{new.id} will be stopped when its lease ends: {_lower(new.doomed)}"
                self._tell(logging.WARNING, sentence, reason=new.doom, **fields)
        elif old.degraded != new.degraded:
            if new.degraded:
                self._tell(logging.WARNING, f"{new.id} is degraded: {_lower(new.degraded)}", **fields)
            else:
                self._tell(logging.INFO, f"{new.id} is whole again", **fields)
        elif new.state is ClusterState.STOPPED and self.debug:
            self._tell(logging.DEBUG, f"{new.id} is gone", **fields)

    def _wants(self, old: Cluster | None, new: Cluster) -> bool:
        if old is None:
            return True
        if old.state is new.state:
            return old.degraded != new.degraded or old.doom is not new.doom
        return (
            old.state is ClusterState.STARTING
            or old.state in _SIZED
            or new.state in (*_SIZED, ClusterState.STOPPING, ClusterState.QUARANTINED, ClusterState.STOPPED)
        )

    def _sized(self, old: Cluster, new: Cluster, now: float, fields: dict[str, str]) -> None:
        """Tell of a cluster that lets its workers go, or gets them back."""
        took_s = now - old.changed_at
        if new.state is ClusterState.SHRINKING and old.state is ClusterState.GROWING:
            sentence = f"{new.id} {_FAILING[old.state]}: {_lower(new.detail)}"
            self._tell(logging.WARNING, sentence, reason=new.reason, **fields)
        elif new.state is ClusterState.SHRINKING:
            self._tell(logging.INFO, f"letting the workers of {new.id} go: {new.detail}", reason=new.reason, **fields)
        elif new.state is ClusterState.WARM_HEAD:
            self._tell(logging.INFO, f"workers of {new.id} are gone after {took_s:.1f} s: {new.detail}", **fields)
        elif new.state is ClusterState.GROWING:
            self._tell(logging.INFO, f"{new.id} gets its workers back", **fields)
        elif old.state is ClusterState.GROWING:
            sentence = f"{new.id} has its workers back after {took_s:.1f} s"
            self._tell(logging.INFO, sentence, grow_s=round(took_s, 3), **fields)
        else:
            self._tell(logging.INFO, f"{new.id} keeps its workers: {new.detail}", reason=new.reason, **fields)

    def _stopping(self, old: Cluster, new: Cluster, fields: dict[str, str]) -> None:
        reason = new.reason or Reason.SHUTDOWN
        detail = _lower((new.detail or reason.sentence).removeprefix(f"{new.id}: "))
        if old.state in _FAILING and reason in _FAILED:
            self._tell(logging.WARNING, f"{new.id} {_FAILING[old.state]}: {detail}", reason=reason, **fields)
        else:
            level = logging.WARNING if reason in _ALARMING else logging.INFO
            found = _evidence(new) if old.state is ClusterState.RESETTING else {}
            self._tell(level, f"stopping {new.id}: {detail}", reason=reason, uses=new.uses, **found, **fields)

    # --- leases ----------------------------------------------------------------------------------------------------

    def _lease(self, old: Lease | None, new: Lease) -> None:
        if old is None:
            if new.outcome is not Outcome.HIT or self.debug:
                self._granted(new)
        elif new.state is LeaseState.ENDED and old.state is not LeaseState.ENDED:
            quiet = new.end_reason in _QUIET_ENDS
            if not quiet or self.debug:
                self._ended(new, logging.DEBUG if quiet else logging.WARNING)

    def _granted(self, lease: Lease) -> None:
        waited_s = max(0.0, lease.granted_at - lease.asked_at)
        if lease.outcome is Outcome.HIT:
            level, how = logging.DEBUG, "at once"
        else:
            why = _lower(lease.miss.sentence) if lease.miss is not None else "a miss"
            level, how = logging.INFO, f"after {waited_s:.1f} s ({lease.outcome}): {why}"
        self._tell(
            level,
            f"granted {lease.cluster} to {lease.holder} {how}",
            reason=lease.miss,
            waited_s=round(waited_s, 3),
            outcome=lease.outcome,
            **self._of(lease),
        )

    def _ended(self, lease: Lease, level: int) -> None:
        reason = lease.end_reason or Reason.LEASE_ENDED
        held_s = max(0.0, (lease.ended_at or 0.0) - lease.granted_at)
        # What a backend says of a cluster may begin with its name, which stands here already.
        why = _lower((lease.end_detail or reason.sentence).removeprefix(f"{lease.cluster}: "))
        self._tell(
            level,
            f"lease {lease.id} of {lease.holder} on {lease.cluster} ended: {why}",
            reason=reason,
            held_s=round(held_s, 3),
            **self._of(lease),
        )

    def _of(self, lease: Lease) -> dict[str, str]:
        return {
            "lease": lease.id,
            "cluster": lease.cluster,
            "holder": lease.holder,
            "group": lease.group,
            "pool": self._name(lease.pool),
            "tenant": lease.tenant,
        }

    # --- pools, reconcile, answers ---------------------------------------------------------------------------------

    def _pool(self, old: Pool, new: Pool, now: float) -> None:
        fields = {"pool": new.name, "digest": new.digest, "tenant": new.key.tenant}
        if new.breaker_until > now and new.breaker_until != old.breaker_until:
            self._tell(
                logging.WARNING,
                f"starts of pool {new.name} ({new.digest}) are paused for {new.breaker_until - now:.0f} s: "
                f"{new.failures} failed in a row, the last one: {new.last_error}",
                reason=Reason.BREAKER_OPEN,
                **fields,
            )
        elif old.breaker_until and not new.breaker_until:
            self._tell(logging.INFO, f"starts of pool {new.name} ({new.digest}) work again", **fields)

    def _drift(self, drift: dict[str, int]) -> None:
        level = logging.INFO if all(kind in EXPECTED_DRIFTS for kind in drift) else logging.WARNING
        found = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(drift.items()))
        self._tell(level, f"reconcile found the backend and the pool to differ: {found}", **drift)

    def _answers(self, decision: Decision, waiters: dict[str, Waiter]) -> None:
        reply, event = decision.reply, decision.event
        for effect in decision.effects:
            if isinstance(effect, Answer) and isinstance(effect.reply, Rejected):
                waiter = waiters.get(effect.lease_id)
                if waiter is not None:
                    self._refused(effect.reply, waiter.holder, self._name(waiter.pool), waiter.tenant)
        if isinstance(reply, Done) and reply.text:
            self._tell(logging.INFO, f"on request: {reply.text}", ids=list(reply.ids) or None)
        elif isinstance(reply, Rejected) and not waiters and isinstance(event, Acquire):
            name = self._state().rules.settings_for(event.key).name
            self._refused(reply, event.holder, name, event.key.tenant)
        elif isinstance(reply, Rejected) and reply.reason is Reason.STALE_EPOCH:
            self._tell(logging.WARNING, f"refused an old epoch: {reply.detail}", reason=reply.reason)

    def _refused(self, reply: Rejected, holder: str, pool: str, tenant: str) -> None:
        if reply.reason is Reason.CANCELLED and not self.debug:
            return
        level = logging.DEBUG if reply.reason is Reason.CANCELLED else logging.INFO
        sentence = f"refused {holder}: {_lower(reply.detail)}"
        self._tell(level, sentence, reason=reply.reason, holder=holder, pool=pool, tenant=tenant)


_SIZED = (ClusterState.SHRINKING, ClusterState.WARM_HEAD, ClusterState.GROWING)
_FAILING = {ClusterState.STARTING: "could not be started", ClusterState.GROWING: "did not get its workers back"}
_FAILED = (
    Reason.START_FAILED,
    Reason.START_TIMEOUT,
    Reason.NO_CAPACITY,
    Reason.OPEN_CLUSTER,
    Reason.PROCESS_GONE,
    Reason.HEAD_REPLACED,
    Reason.UNHEALTHY,
)
_ALARMING = (
    Reason.HOLDER_NOT_GONE,
    Reason.RESET_FAILED,
    Reason.SHRINK_FAILED,
    Reason.HEAD_REPLACED,
    Reason.PROCESS_GONE,
    Reason.UNHEALTHY,
    Reason.OPEN_CLUSTER,
)


def _evidence(cluster: Cluster) -> dict[str, Any]:
    """Return what a reset found that would not go, and whose it was, as fields."""
    found = cluster.evidence
    return {"lease": found.lease, "holder": found.holder, "left": list(found.left)} if found is not None else {}


def _lower(sentence: str) -> str:
    """Return a sentence as the rest of another: no full stop, its first letter small unless it begins with a name."""
    sentence = sentence.removesuffix(".")
    head = sentence[:2]
    return sentence[:1].lower() + sentence[1:] if head[:1].isupper() and not head[1:].isupper() else sentence

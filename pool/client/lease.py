"""A lease as its holder sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pool.client.connect import connect, let_in
from pool.client.errors import LeaseEnded, LeaseLost
from pool.client.residency import Residency, residency
from pool.core.model import Outcome
from pool.core.reasons import Reason
from pool.wire.leases import ClusterAccess, GrantAnswer, ReleaseRequest, RenewItem, WatchItem

log = logging.getLogger("warmpool.client")

State = Literal["active", "lost", "ended", "unreachable"]


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """What a callback of `on_change` is told.

    Attributes:
        what: ``lost`` (the daemon ended the lease: `reason` says why), ``unreachable`` (its time passed with no answer
            from the daemon), or a hint: ``drain`` (please finish), ``max_lease`` (it ends soon), ``degraded``.
        reason: why it is over; None for a hint.
        explanation: one sentence.
    """

    what: str
    reason: Reason | None
    explanation: str

    @property
    def over(self) -> bool:
        """Whether the lease is over with this."""
        return self.what in {"lost", "unreachable"}


_HINTS = {
    "drain": "The cluster is to be stopped: please finish and release.",
    "max_lease": "The lease is close to the longest time its pool allows: it ends soon.",
    "degraded": "The cluster misses workers: Ray goes on with those it has.",
}


class HeldLease:
    """What `Lease` and `AsyncLease` share. All methods may be called from any thread.

    Attributes:
        id: of the lease.
        epoch: its fencing token.
        outcome: ``hit``, ``waited``, ``warm_head`` or ``cold``.
        reason: why it was not a hit; None for a hit.
        explanation: the reason with names and numbers.
        waited_s: how long the acquire waited.
        ttl_s: the lease expires if not renewed for so long.
        cluster: how to use the cluster, with its secret token.
        pool: digest of the key that was asked for.
        group: whose data the cluster may hold.
        group_was_here: the group's previous lease ran on this very cluster.
        resident: names of the group's data on the cluster.
    """

    #: Variables that must not be set beside those of `environment`: Ray would take its token from there.
    unset_environment = ("RAY_AUTH_TOKEN_PATH",)

    def __init__(self, grant: GrantAnswer, basis: float) -> None:
        """Make the lease of a grant whose `remaining_s` counts from `basis` of the monotonic clock."""
        self.id = grant.lease_id
        self.epoch = grant.epoch
        self.outcome: Outcome = grant.outcome
        self.reason = grant.reason
        self.explanation = grant.explanation
        self.waited_s = grant.waited_s
        self.ttl_s = grant.ttl_s
        self.cluster: ClusterAccess = grant.cluster
        self.pool = grant.pool
        self.group = grant.group
        self.group_was_here = grant.group_was_here
        self.resident = tuple(grant.resident)
        self._token = grant.token
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], object]] = []
        self._looked = False
        self._residency: Residency | None = None
        self._let_in = contextlib.ExitStack()
        self._released = False
        self._pid = os.getpid()
        self._state: State = "active"
        self._hints: tuple[str, ...] = ()
        self._deadline = basis + grant.remaining_s
        self._end = LeaseChange("", None, "")
        self._callbacks: list[Callable[[LeaseChange], None]] = []

    @property
    def state(self) -> State:
        """``active``; ``ended`` once released; ``lost`` or ``unreachable`` if it was over before that."""
        return self._state

    @property
    def remaining_s(self) -> float:
        """Seconds until it expires if no renewal gets through any more; 0 once it is over."""
        return max(0.0, self._deadline - time.monotonic()) if self._state == "active" else 0.0

    @property
    def hints(self) -> tuple[str, ...]:
        """What the daemon asks for as of the last renewal: ``drain``, ``max_lease``, ``degraded``."""
        return self._hints

    def environment(self) -> dict[str, str]:
        """Return the variables with which a process finds the cluster and is let in; they hold its secret.

        The variables named in `unset_environment` must be removed.
        """
        return {
            "RAY_ADDRESS": self.cluster.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.cluster.token,
        }

    def connect(self, runtime_env: Mapping[str, Any] | None = None) -> None:
        """Connect this process's Ray to the cluster, until the lease is over; waits until it is connected.

        Also where Ray was imported before, or was connected to another cluster: Ray itself reads its token only once.
        Tasks find the modules of this process where they lie; on another machine they are given a copy of the working
        directory, unless `runtime_env` says otherwise.

        Args:
            runtime_env: as of ``ray.init``.

        Raises:
            ConnectionError: the cluster cannot be reached, or the process is connected to one already.
            LeaseOver: as `check`.
        """
        self.check()
        with contextlib.ExitStack() as stack:
            stack.enter_context(let_in(self.cluster))
            connect(self.cluster, runtime_env)
            self._let_in.push(stack.pop_all())

    def check(self) -> None:
        """Return if the lease is held.

        Raises:
            LeaseLost: if it is over, though not released.
            LeaseEnded: if it was released.
        """
        if self._state == "active" and time.monotonic() >= self._deadline:
            # The thread that renews may be stopped (a debugger, a call that keeps the interpreter's lock).
            raise LeaseLost(Reason.EXPIRED, f"Lease {self.id} was not renewed in time.")
        if self._state == "ended":
            raise LeaseEnded(f"Lease {self.id} was released.")
        if self._state != "active":
            raise LeaseLost(self._end.reason or Reason.EXPIRED, self._end.explanation)

    def on_change(self, callback: Callable[[LeaseChange], None]) -> None:
        """Have `callback` called when the lease is over though not released, and with each new hint.

        It is called from a thread of the client's own; at once if the lease is over already.
        """
        with self._lock:
            self._callbacks.append(callback)
            missed = self._end if self._state in {"lost", "unreachable"} else None
        if missed:
            callback(missed)

    # --- what the client's own modules use ---

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Have what ends a body whose lease was lost say so."""
        try:
            yield
        except SystemExit as end:
            # Ray wakes a thread whose `ray.get` lost its connection with SystemExit(0): that must not pass for success.
            if not end.code and self._state in {"lost", "unreachable"}:
                raise LeaseLost(self._end.reason or Reason.EXPIRED, self._end.explanation) from end
            raise
        except Exception as error:
            if self._state in {"lost", "unreachable"} and not isinstance(error, LeaseLost):
                error.add_note(f"Lease {self.id} was lost before this: {self._end.explanation}")
            raise

    @property
    def _proof(self) -> RenewItem:
        return RenewItem(lease_id=self.id, token=self._token, epoch=self.epoch)

    @property
    def _watched(self) -> WatchItem:
        """What the daemon needs in order to tell whether there is news."""
        return WatchItem(lease_id=self.id, token=self._token, epoch=self.epoch, hints=list(self._hints))

    def note_residency(self) -> None:
        """Note what is resident on the cluster, to tell it with the release: before Ray is disconnected from it.

        Only the first call looks: the next may come while Ray shuts down.
        """
        with self._lock:
            first, self._looked = not self._looked, True
        if first:
            self._residency = residency(self.cluster)

    def tell_residency(self, told: Residency) -> None:
        """Tell with the release what other processes saw, which used the cluster under this lease."""
        with self._lock:
            self._looked, self._residency = True, told

    def _left(self) -> None:
        """Take the cluster's token out of this process again, which Ray is disconnected by now."""
        self._let_in.close()

    def _release_request(self, hold_s: float | None, note: str = "") -> ReleaseRequest:
        request = ReleaseRequest(token=self._token, epoch=self.epoch, hold_s=hold_s)
        if note:
            request = request.model_copy(update={"note": note})
        if self._residency is None:
            return request
        # What there is nothing of is not said.
        told = {"resident": self._residency.values, "reads": self._residency.reads or None}
        return request.model_copy(update={name: value for name, value in told.items() if value is not None})

    def _extend(self, deadline: float, hints: list[str]) -> list[LeaseChange]:
        with self._lock:
            self._deadline = deadline
            new = [hint for hint in hints if hint not in self._hints]
            self._hints = tuple(hints)
        return [LeaseChange(hint, None, _HINTS.get(hint, f"The daemon says: {hint}.")) for hint in new]

    def _lose(self, state: Literal["lost", "unreachable"], reason: Reason, explanation: str) -> list[LeaseChange]:
        with self._lock:
            if self._state != "active":
                return []
            self._state = state
            self._end = LeaseChange(state, reason, explanation)
            waiting = list(self._waiting)
        for wake in waiting:
            wake()
        return [self._end]

    def _close(self) -> bool:
        """Mark it released; tell whether it was not yet. A lease that was lost stays so."""
        if os.getpid() != self._pid:
            # A forked child: the lease is its parent's (and the lock may be held by a thread that is not here).
            return False
        with self._lock:
            if self._released:
                return False
            self._released = True
            if self._state == "active":
                self._state = "ended"
            waiting = list(self._waiting)
        for wake in waiting:
            wake()
        return True

    def _when_over(self, wake: Callable[[], object]) -> None:
        with self._lock:
            self._waiting.append(wake)
            over = self._state != "active"
        if over:
            wake()

    def _forget(self, wake: Callable[[], object]) -> None:
        with self._lock:
            self._waiting.remove(wake)

    def _tell(self, changes: list[LeaseChange]) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for change in changes:
            for callback in callbacks:
                try:
                    callback(change)
                except Exception:
                    log.exception("a callback of lease %s failed on %r", self.id, change.what)

    def __repr__(self) -> str:
        left = f", {self.remaining_s:.0f} s left" if self._state == "active" else ""
        return f"<{type(self).__name__} {self.id} on {self.cluster.id} [{self._state}{left}]>"


class Lease(HeldLease):
    """A lease of the sync client."""

    def __init__(self, grant: GrantAnswer, basis: float, release: Callable[[Lease, float | None, str], None]) -> None:
        super().__init__(grant, basis)
        self._release = release

    def release(self, hold_s: float | None = None, *, note: str = "") -> None:
        """Give the cluster back; Ray is disconnected from it first. Releasing again does nothing.

        Args:
            hold_s: hold the cluster for the group so long; None for what the acquire asked.
            note: what to say of the end; the daemon keeps it with the lease.
        """
        self._release(self, hold_s, note)

    def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Wait until the lease is over, at most `timeout_s`; tell whether it was lost (and not released)."""
        told = threading.Event()
        self._when_over(told.set)
        told.wait(timeout_s)
        self._forget(told.set)
        return self._state in {"lost", "unreachable"}


class AsyncLease(HeldLease):
    """A lease of the async client."""

    def __init__(
        self, grant: GrantAnswer, basis: float, release: Callable[[AsyncLease, float | None, str], Awaitable[None]]
    ) -> None:
        super().__init__(grant, basis)
        self._release = release

    async def release(self, hold_s: float | None = None, *, note: str = "") -> None:
        """Give the cluster back; Ray is disconnected from it first. Releasing again does nothing.

        Args:
            hold_s: hold the cluster for the group so long; None for what the acquire asked.
            note: what to say of the end; the daemon keeps it with the lease.
        """
        await self._release(self, hold_s, note)

    async def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Wait until the lease is over, at most `timeout_s`; tell whether it was lost (and not released)."""
        loop, told = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            # The loop may have been closed meanwhile: then nobody waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(told.set)

        self._when_over(tell)
        try:
            async with asyncio.timeout(timeout_s):
                await told.wait()
        except TimeoutError:
            pass
        finally:
            self._forget(tell)
        return self._state in {"lost", "unreachable"}

"""Renewing leases on a thread of its own: a body that blocks its thread or its event loop keeps its lease."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
from collections.abc import Collection, Iterator
from typing import Literal

from pool.client.backoff import pauses
from pool.client.disconnect import disconnect_ray
from pool.client.endpoint import Endpoint
from pool.client.lease import HeldLease, LeaseChange
from pool.client.request import seconds
from pool.client.talk import NotRenewed, release, renew
from pool.client.transport import Transport
from pool.client.watching import Watching
from pool.core.reasons import Reason
from pool.wire.leases import EndedAnswer

log = logging.getLogger("warmpool.client")
changes_log = logging.getLogger("warmpool.client.changes")
"""What `on_change` tells too: whoever shows it that way turns this off."""

# The most leases that one call may renew.
_BATCH = 1000
# The longest that one call may take: an answer that takes longer is asked for again.
_CALL_S = 5.0
# The thread stays for the next lease so long.
_LINGER_S = 30.0
# How long each release is tried as the process ends.
_AT_EXIT_S = 2.0


class _Due:
    """A lease, and when it is to be renewed next (monotonic). A new one at once: that claims its grant."""

    __slots__ = ("at", "cause", "interval_s", "lease", "retry")

    def __init__(self, lease: HeldLease) -> None:
        self.lease = lease
        self.at = time.monotonic()
        self.interval_s = lease.ttl_s / 3
        self.retry: Iterator[float] | None = None
        self.cause = ""

    def renewed(self, sent_at: float, remaining_s: float) -> None:
        self.interval_s = min(self.lease.ttl_s, remaining_s) / 3
        # Jitter, so that leases granted together do not stay together.
        self.at = sent_at + self.interval_s * random.uniform(0.85, 1.0)  # noqa: S311 - not a secret
        if self.retry is not None:
            log.info("lease %s is renewed again", self.lease.id)
        self.retry, self.cause = None, ""

    def failed(self, now: float, cause: str) -> None:
        if self.retry is None:
            log.warning(
                "lease %s could not be renewed (%s): trying again for the %s that it has left",
                self.lease.id,
                cause,
                seconds(self.lease.remaining_s),
            )
            self.retry = pauses(self.interval_s / 20, min(self.interval_s / 2, 2.0))
        self.cause = cause
        # Awake at the deadline, to give the lease up then and not later.
        self.at = now + min(next(self.retry), self.lease.remaining_s)


class Renewer:
    """The thread that renews the leases of one endpoint, and the leases it renews."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._wake = threading.Condition()
        # By object, not by id: two holders may share a lease, and each is told of it.
        self._leases: dict[HeldLease, _Due] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._watching = Watching(endpoint, self._due_now)

    def add(self, lease: HeldLease) -> None:
        """Renew `lease` from now on, first at once."""
        with self._wake:
            self._leases[lease] = _Due(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="warmpool-renewal", daemon=True)
                self._thread.start()
            self._wake.notify()
        self._watching.add(lease)

    def remove(self, lease: HeldLease) -> None:
        """Renew `lease` no more."""
        with self._wake:
            self._leases.pop(lease, None)
        self._watching.remove(lease)

    def leases(self) -> list[HeldLease]:
        """Return the leases that are being renewed."""
        with self._wake:
            return list(self._leases)

    def close(self) -> None:
        """End the thread, which closes its connection; not waited for if it hangs at the daemon."""
        with self._wake:
            self._closed = True
            thread = self._thread
            self._wake.notify()
        self._watching.close()
        if thread is not None:
            thread.join(0.5)

    # --- the thread ---

    def _run(self) -> None:
        transport = Transport(self.endpoint)
        try:
            while (due := self._next()) is not None:
                due = [d for d in due if not self._overdue(d)]
                for start in range(0, len(due), _BATCH):
                    self._renew(transport, due[start : start + _BATCH])
        finally:
            transport.close()

    def _next(self) -> list[_Due] | None:
        """Wait for the leases that are to be renewed now; None when there was none for a while."""
        idle_since = time.monotonic()
        with self._wake:
            while not self._closed:
                now = time.monotonic()
                if self._leases:
                    idle_since = now
                    first_at = min(due.at for due in self._leases.values())
                    if first_at <= now:
                        # What is due within half of its interval goes with what is due now: leases that were
                        # acquired at any two times so come to be renewed in one call.
                        return [due for due in self._leases.values() if due.at <= now + due.interval_s / 2]
                    self._wake.wait(first_at - now)
                elif now - idle_since >= _LINGER_S:
                    self._thread = None
                    return None
                else:
                    self._wake.wait(idle_since + _LINGER_S - now)
            return None

    def _overdue(self, due: _Due) -> bool:
        """Give the lease up if its time has passed unanswered; tell whether it was.

        One that was never asked for meanwhile (this process was stopped) is asked for once more: the daemon knows.
        """
        if due.retry is None or due.lease.remaining_s > 0:
            return False
        text = f"The daemon at {self.endpoint.url} did not renew lease {due.lease.id} in time: {due.cause}."
        self._over(due.lease, "unreachable", Reason.EXPIRED, text)
        return True

    def _renew(self, transport: Transport, due: list[_Due]) -> None:
        # Connecting and answering may each take the timeout: together no longer than the shortest lease has left.
        left_s = min(d.lease.remaining_s for d in due)
        timeout_s = min(_CALL_S, max(left_s / 2, 0.05))
        try:
            sent_at, results = transport.run(renew([d.lease._proof for d in due], timeout_s))
        except NotRenewed as error:
            now = time.monotonic()
            for d in due:
                d.failed(now, str(error))
            return
        for d, result in zip(due, results, strict=True):
            if isinstance(result, EndedAnswer):
                self._over(d.lease, "lost", result.reason, result.explanation or result.reason.sentence)
                continue
            changes = d.lease._extend(sent_at + result.remaining_s, result.hints)
            d.renewed(sent_at, result.remaining_s)
            if changes:
                changes_log.warning("lease %s: %s", d.lease.id, " ".join(change.explanation for change in changes))
                _tell(d.lease, changes)
        self._watching.renewed()

    def _due_now(self, lease_ids: Collection[str]) -> None:
        """Renew leases of which there is news without waiting for their time."""
        with self._wake:
            for lease, due in self._leases.items():
                if lease.id in lease_ids:
                    due.at = 0.0
            self._wake.notify()

    def _over(self, lease: HeldLease, state: Literal["lost", "unreachable"], reason: Reason, text: str) -> None:
        self.remove(lease)
        changes = lease._lose(state, reason, text)
        if changes:
            changes_log.error("lease %s on %s is over: %s", lease.id, lease.cluster.id, text)
            _tell(lease, changes)


def _tell(lease: HeldLease, changes: list[LeaseChange]) -> None:
    """Disconnect Ray if the lease is over, then call its callbacks: on a thread that may take its time.

    The renewing thread must not: other leases would expire meanwhile.
    """

    def tell() -> None:
        if any(change.over for change in changes):
            disconnect_ray(lease.cluster)
        lease._tell(changes)

    threading.Thread(target=tell, name="warmpool-change", daemon=True).start()


_renewers: dict[tuple[int, str, str], Renewer] = {}
_renewers_lock = threading.Lock()


def renewer_for(endpoint: Endpoint) -> Renewer:
    """Return this process's renewer of the endpoint's leases, whichever client they were acquired with."""
    key = (os.getpid(), *endpoint.identity)
    with _renewers_lock:
        if key not in _renewers:
            _renewers[key] = Renewer(endpoint)
        return _renewers[key]


def _forked() -> None:
    """Forget, in a forked child, what belongs to its parent; the locks may be held by threads that are not here."""
    global _renewers_lock
    _renewers_lock = threading.Lock()
    _renewers.clear()


@atexit.register
def _release_all() -> None:
    """Release what is still held as the process ends: acquired without `with`, or ended past its `with`."""
    for renewer in list(_renewers.values()):
        leases = renewer.leases()
        if leases:
            transport = Transport(renewer.endpoint)
            for lease in leases:
                renewer.remove(lease)
                if lease._close():
                    disconnect_ray(lease.cluster)
                    transport.run(release(lease.id, lease._release_request(None), tries_s=_AT_EXIT_S))
            transport.close()
        renewer.close()


os.register_at_fork(after_in_child=_forked)

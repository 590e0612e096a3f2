"""Waiting for news of leases, so that a holder learns at once what the next renewal would tell it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection

from pool.client.backoff import pauses
from pool.client.endpoint import Endpoint
from pool.client.lease import HeldLease
from pool.client.talk import NotHeard, watch
from pool.client.transport import Transport

log = logging.getLogger("warmpool.client")

# A lease that ends within this time is not worth a connection.
_AFTER_S = 1.0
# How long one call waits for news. Less than the minute after which proxies and Services drop a silent connection.
_WAIT_S = 45.0
# For leases that came while the others are waited for: soon the oldest thread takes them along.
_MORE_S = 5.0
_THREADS = 4
# The most leases that one call may name.
_BATCH = 1000
# The renewal that news asks for is waited for so long before the daemon is asked again.
_HEARD_S = 1.0
# An answer without news that comes sooner says nothing.
_SOON_S = 1.0
_LINGER_S = 30.0
# A daemon that knows no such call is left alone for so long.
_UNKNOWN_S = 300.0


class Watching:
    """Asks the daemon for news of leases as long as there are any.

    Args:
        endpoint: the daemon's.
        news: called with the ids of leases that are to be renewed now.
    """

    def __init__(self, endpoint: Endpoint, news: Callable[[Collection[str]], None]) -> None:
        self._endpoint, self._news = endpoint, news
        self._wake = threading.Condition()
        # By which thread each is watched; 0 for none yet.
        self._leases: dict[HeldLease, int] = {}
        self._threads: list[int] = []
        self._calling: set[int] = set()
        self._made = 0
        self._closed = False

    def add(self, lease: HeldLease) -> None:
        """Watch a lease from now on, if it lasts."""
        with self._wake:
            self._leases[lease] = 0
            # One that is between two calls takes it along.
            if len(self._calling) == len(self._threads) < _THREADS:
                self._made += 1
                self._threads.append(self._made)
                name = "warmpool-watch"
                threading.Thread(target=self._run, args=(self._made,), name=name, daemon=True).start()
            self._wake.notify_all()

    def remove(self, lease: HeldLease) -> None:
        """Watch a lease no more."""
        with self._wake:
            self._leases.pop(lease, None)
            self._wake.notify_all()

    def renewed(self) -> None:
        """Take note that leases were renewed: they have the hints that the daemon gave."""
        with self._wake:
            self._wake.notify_all()

    def close(self) -> None:
        """End the threads, each once its call is answered."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def _run(self, me: int) -> None:
        transport: Transport | None = None
        retry = pauses(0.5, 5.0)
        self._pause(_AFTER_S)
        try:
            while mine := self._claim(me):
                transport = transport or Transport(self._endpoint)
                sent = {lease: lease.hints for lease in mine}
                items = [lease._watched for lease in mine]
                # Jitter, so that those who began together do not ask together.
                wait_s = (_WAIT_S if self._is_oldest(me) else _MORE_S) * random.uniform(0.8, 1.0)  # noqa: S311
                began = time.monotonic()
                try:
                    changed = transport.run(watch(items, wait_s))
                except NotHeard as error:
                    # Renewals tell all there is, only later.
                    self._rest(me, next(retry) if error.passing else _UNKNOWN_S)
                    continue
                retry = pauses(0.5, 5.0)
                # A daemon that stops answers all who wait, and need not be asked again that soon.
                self._rest(me, 0.0 if changed or time.monotonic() - began > _SOON_S else _SOON_S)
                if changed:
                    self._news(changed)
                    self._heard({lease: hints for lease, hints in sent.items() if lease.id in changed})
        finally:
            if transport is not None:
                transport.close()

    def _is_oldest(self, me: int) -> bool:
        with self._wake:
            return self._threads[0] == me

    def _claim(self, me: int) -> list[HeldLease]:
        """Return the leases that this thread is to watch: none when it is to end."""
        with self._wake:
            while True:
                oldest = self._threads[0] == me
                mine = [one for one, by in self._leases.items() if oldest or by in (0, me)][:_BATCH]
                if mine and not self._closed:
                    self._leases |= dict.fromkeys(mine, me)
                    self._calling.add(me)
                    return mine
                if self._closed or not oldest or not self._wake.wait_for(self._has_work, _LINGER_S):
                    self._threads.remove(me)
                    return []
                self._wake.wait_for(lambda: self._closed, _AFTER_S)

    def _has_work(self) -> bool:
        return bool(self._leases) or self._closed

    def _rest(self, me: int, for_s: float) -> None:
        with self._wake:
            self._calling.discard(me)
        if for_s:
            self._pause(for_s)

    def _pause(self, for_s: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._closed, for_s)

    def _heard(self, sent: dict[HeldLease, tuple[str, ...]]) -> None:
        """Wait until the renewals have brought the news: asked before, the daemon would tell it again."""

        def heard() -> bool:
            return self._closed or all(one not in self._leases or one.hints != hints for one, hints in sent.items())

        with self._wake:
            self._wake.wait_for(heard, _HEARD_S)

"""Holders that wait for news of their leases: that one is over, or that its hints are others than they know."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from pool.api.needs import Daemon
from pool.core.decisions import Decision
from pool.core.hints import hints
from pool.core.model import Cluster


class Watching:
    """Answers as soon as there is news, on any number of connections. `stop` answers all of them at once."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._of: dict[str, set[asyncio.Event]] = {}
        self._stopping = False
        daemon.observe(self._look)

    def __repr__(self) -> str:
        return f"<Watching [{len(set().union(*self._of.values()))} waiting]>"

    async def news(self, known: Mapping[str, frozenset[str]], wait_s: float) -> list[str]:
        """Return the leases there is news of, waiting up to `wait_s` for the first; none if there was none.

        Args:
            known: by a lease's id, the hints that its holder knows.
            wait_s: at most.
        """
        event, leases = asyncio.Event(), self._daemon.state.leases
        found: list[str] = []
        clusters = {leases[lease_id].cluster for lease_id in known if lease_id in leases}
        for cluster_id in clusters:
            self._of.setdefault(cluster_id, set()).add(event)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while not (found := self._found(known)) and not self._stopping:
                        event.clear()
                        await event.wait()
        finally:
            for cluster_id in clusters:
                waiting = self._of[cluster_id]
                waiting.discard(event)
                if not waiting:
                    del self._of[cluster_id]
        return found

    def stop(self) -> None:
        """Have everybody answered, now and from now on."""
        self._stopping = True
        for waiting in self._of.values():
            for event in waiting:
                event.set()

    def _found(self, known: Mapping[str, frozenset[str]]) -> list[str]:
        return [lease_id for lease_id, told in known.items() if self._is_news(lease_id, told)]

    def _is_news(self, lease_id: str, told: frozenset[str]) -> bool:
        state = self._daemon.state
        lease = state.leases.get(lease_id)
        if lease is None:
            return True
        return frozenset(hints(lease, state.clusters[lease.cluster], self._daemon.clock.now())) != told

    def _look(self, decision: Decision) -> None:
        # The end of a lease changes its cluster too; renewals, of which there are many, do not.
        if not self._of:
            return
        for change in decision.changes:
            record = change.new or change.old
            if isinstance(record, Cluster):
                for event in self._of.get(record.id, ()):
                    event.set()

"""What is committed, and when: what must last at once, what only the ledger counts with the next commit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from pool.clock import Clock
from pool.core.decisions import Change, Decision, Grow, Reset, Shrink, Start, Stop, StopOrphan
from pool.core.model import Cluster
from pool.pulse import Pulse
from pool.store.base import Store

ENTER_AFTER_S = 10.0
"""What is only for the ledger waits so long at most for a commit that it can go with."""

ACTS = (Start, Stop, Reset, Shrink, Grow, StopOrphan)
"""Effects that change the world."""


class Commits:
    """Gives the store what decisions changed, a batch at a time.

    Attributes:
        observers: called after every commit with its number of events and its seconds.
    """

    def __init__(self, store: Store, clock: Clock, pulse: Pulse) -> None:
        self.observers: list[Callable[[int, float], None]] = []
        self._store = store
        self._clock = clock
        self._pulse = pulse
        # Moves of clusters that are not worth a commit.
        self._moved: list[Change] = []
        self._enter_at = math.inf

    def due(self, now: float, *, closing: bool) -> bool:
        """Tell whether what waits for a commit has waited long enough; at the end nothing waits."""
        return bool(self._moved) and (closing or now >= self._enter_at)

    async def enter(self) -> None:
        """Commit what waited, without anything else.

        Raises:
            StoreFailed: if that was not possible; it waits on.
        """
        await self._write([])

    async def commit(self, decisions: list[Decision]) -> None:
        """Commit what these decisions changed; return at once where nothing has to last.

        Raises:
            StoreConflict: if the store refused it, all of it.
            StoreFailed: if it cannot be said what the store has.
            NotTheWriter: if another daemon took over.
        """
        every = [change for decision in decisions for change in decision.changes]
        changes = [change for change in every if change.durable or _moves(change)]
        # What acts without a change to commit (an orphan, an effect done again) must be the writer's, too: a daemon
        # that was replaced would stop the clusters of the one that replaced it.
        acts = any(isinstance(effect, ACTS) for d in decisions for effect in d.effects)
        if not acts and not any(change.durable for change in changes):
            if changes:
                self._moved += changes
                self._enter_at = min(self._enter_at, self._clock.now() + ENTER_AFTER_S)
            return
        seconds = await self._write(changes)
        for observer in self.observers:
            observer(len(decisions), seconds)

    async def _write(self, changes: list[Change]) -> float:
        """Commit `changes`, and what waited for a commit; return the seconds that it took."""
        self._pulse.committing_since = self._clock.now()
        began = time.perf_counter()
        try:
            await self._store.commit([*self._moved, *changes])
        finally:
            self._pulse.committing_since = None
        self._moved, self._enter_at = [], math.inf
        self._pulse.committed_at = self._clock.now()
        return time.perf_counter() - began


def _moves(change: Change) -> bool:
    """Tell whether a cluster goes into another state."""
    old, new = change.old, change.new
    return type(old) is Cluster and type(new) is Cluster and old.state is not new.state

"""The single writer: it takes events one at a time, decides, commits once per batch, and only then answers and acts.

There are no locks, because nothing else changes the state. If a commit is refused, its events are tried one by one
and the culprit alone is rejected; if the store itself fails, the daemon stops, and a restart from the store is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import structlog

from pool.backends.base import Backend
from pool.clock import Clock
from pool.commits import Commits
from pool.core.decide import Due, decide, due_events
from pool.core.decisions import Answer, Decision, Granted, Nudge, Queued, Rejected, Reply
from pool.core.errors import NotTheWriter, PoolError, StoreConflict, StoreFailed
from pool.core.events import Acquire, Event, Paused, Reconfigure, Shutdown
from pool.core.explain import queued
from pool.core.key import ClusterKey
from pool.core.model import Waiter
from pool.core.reasons import Reason
from pool.core.settings import Rules
from pool.core.state import State
from pool.effects import Effects
from pool.inbox import Inbox, Item
from pool.listeners import Listeners
from pool.pulse import Pulse
from pool.reconcile import Reconcile
from pool.records import Records
from pool.store.base import Store
from pool.tokens import Tokens

log = structlog.get_logger("warmpool.daemon")

HEARTBEAT_S = 1.0
"""The loop runs at least this often, so that a pause of the process is noticed."""

PAUSE_S = 5.0
"""A loop later than this was paused: holders could not renew meanwhile, and the time does not count."""

DUE_AGAIN_S = 1.0
"""What was due and could not be committed is tried again after so long."""


class Daemon:
    """Keeps the pools.

    Attributes:
        state: what the pool knows. For reading.
        records: what the store keeps besides.
        ready: True once clusters were adopted and time counts.
        standing_by: who the writer of the store is, while this daemon only waits for its turn; else empty.
        failed: why it stopped by itself, empty if it did not.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        rules: Rules,
        tokens: Tokens,
        clock: Clock,
        *,
        reconcile_s: float = 10.0,
    ) -> None:
        self.state = State(rules)
        self.tokens = tokens
        self.clock = clock
        self.records = Records(store, lambda: self.state, clock)
        self.ready = False
        self.standing_by = ""
        self.failed = ""
        self.stopped = asyncio.Event()
        self.store_id = ""
        self._rules = rules
        self._store = store
        self._backend = backend
        self._reconcile_s = reconcile_s
        self._pulse = Pulse()
        self._effects = Effects(backend, self.tell)
        self._reconcile = Reconcile(backend, self._effects, clock, self._pulse)
        self._inbox = Inbox()
        self._begun = False
        self._closing = False
        self._listeners = Listeners()
        self._commits = Commits(store, clock, self._pulse)
        self._observers: list[Callable[[Decision], None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        waits = f"stands by for {self.standing_by}" if self.standing_by else "starting"
        condition = self.failed or ("ready" if self.ready else waits)
        return f"<Daemon {self.store_id} {condition} {self.state!r}>"

    @property
    def pulse(self) -> Pulse:
        """Signs of life of the writer, as of now."""
        self._pulse.waiting = len(self._inbox)
        return self._pulse

    # --- life ------------------------------------------------------------------------------------------------------

    async def stand_by(self, told: Callable[[str], None]) -> None:
        """Return once it is this daemon's turn to be the writer of the store.

        Args:
            told: called with who the writer is, whenever it is another than before.

        Raises:
            StoreFailed: if the store could not be opened then either.
        """
        await self._store.stand_by(told)
        self.standing_by = ""

    async def start(self) -> None:
        """Read the store, observe the backend, adopt its clusters, and begin to serve.

        Raises:
            StoreFailed: if the store cannot be opened.
        """
        self._begun = True
        now = self.clock.now()
        loaded = await self._store.open(now)
        self.store_id = loaded.store_id
        self.state = loaded.state(self._rules, now)
        known = [(cluster, self.state.key_of(cluster)) for cluster in self.state.clusters.values()]
        await self._backend.open(loaded.store_id, self.tokens.cluster_token, self.tell, known)
        listing = await self._reconcile.first()
        await self._process([Item(listing), Item(Reconfigure(self._rules))], self.clock.now())
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._run(), name="warmpool writer"),
            loop.create_task(self._reconcile.run(self.submit, self._reconcile_s), name="warmpool reconcile"),
            loop.create_task(self._keep_turn(), name="warmpool turn"),
        ]
        self.ready = True

    async def follow(self, rules: Rules) -> None:
        """Decide by these rules from now on; before the start, from the start on.

        Raises:
            PoolError: if that was not possible; the rules before stay in force.
        """
        if self._begun:
            await self.submit(Reconfigure(rules))
        self._rules = rules

    async def _keep_turn(self) -> None:
        try:
            await self._store.keep()
        except PoolError as error:
            self._fail(str(error))
        except Exception as error:
            log.exception("whether this daemon is the writer cannot be said")
            self._fail(f"{type(error).__name__}: {error}")

    async def stop(self, *, stop_clusters: bool = False, timeout_s: float = 60.0) -> None:
        """End cleanly. Clusters go on for the next daemon, unless `stop_clusters`."""
        if stop_clusters and not self.failed and self.ready:
            await self.submit(Shutdown())
            try:
                async with asyncio.timeout(timeout_s):
                    await self._all_stopped()
            except TimeoutError:
                log.warning("not every cluster stopped in time", left=sorted(self.state.clusters))
        self._closing = True
        self.ready = False
        self._listeners.wake_all()
        await self._effects.close()
        self._inbox.wake()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self.failed and self._begun and await self.records.keep_learned():
            pass
        await self._backend.close()
        await self._store.close()
        self.stopped.set()

    async def _all_stopped(self) -> None:
        gone = asyncio.Event()

        def look(_decision: Decision) -> None:
            if not self.state.clusters:
                gone.set()

        self.observe(look)
        if self.state.clusters and not self.failed:
            await gone.wait()

    def observe(self, observer: Callable[[Decision], None]) -> None:
        """Have `observer` called with every decision after its commit. It must not raise."""
        self._observers.append(observer)

    def observe_commits(self, observer: Callable[[int, float], None]) -> None:
        """Have `observer` called after every commit with its number of events and its seconds."""
        self._commits.observers.append(observer)

    # --- asking ----------------------------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Put an event before the core; nobody waits for the answer."""
        self._put(Item(event))

    async def submit(self, event: Event) -> Reply:
        """Put an event before the core and return its reply once it is committed.

        Raises:
            PoolError: if it was not possible; nothing was changed.
        """
        done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._put(Item(event, done))
        return await done

    async def acquire(self, event: Acquire, wait_s: float) -> Granted | Queued | Rejected:
        """Ask for a lease, and wait up to `wait_s` for it.

        Returns early, still queued, when the phase of the awaited start changes: whoever watches wants to know.

        Raises:
            PoolError: if it was not possible; nothing was changed.
        """
        done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        item = Item(event, done, listen=wait_s > 0)
        self._put(item)
        try:
            reply = await done
            if not isinstance(reply, Queued):
                return cast(Granted | Rejected, reply)
            if item.listener is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await item.listener.news.wait()
        finally:
            if item.listener is not None:
                self._listeners.leave(item.listener)
        if item.listener is not None and item.listener.answer is not None:
            return item.listener.answer
        waiter = self.state.waiters.get(reply.waiter.id)
        return reply if waiter is None else self.explain_waiter(waiter)

    def explain_waiter(self, waiter: Waiter) -> Queued:
        """Return why a waiter waits, as of now."""
        return queued(self.state, waiter, self.clock.now())

    def check(self, key: ClusterKey) -> None:
        """Raise `ShapeTooLarge` or `InvalidKey` if the backend can never make a cluster of `key`."""
        self._backend.check(key)

    def cluster_token(self, cluster_id: str) -> str:
        """Return the token of a cluster, for its holder."""
        return self._backend.token(cluster_id)

    # --- the writer ------------------------------------------------------------------------------------------------

    def _put(self, item: Item) -> None:
        if self.failed or (self._closing and item.done is not None):
            item.fail(StoreFailed(self.failed or "The daemon is stopping.", remedy="Ask again soon."))
            return
        self._inbox.put(item)

    async def _run(self) -> None:
        try:
            last = self.clock.now()
            while True:
                now = self.clock.now()
                if now - last > PAUSE_S:
                    log.warning("the daemon stood still: leases are extended by that time", gap_s=round(now - last, 1))
                    await self._process([Item(Paused(now - last))], now)
                last = now
                # What is due by the clock comes first: what is open by the clock is a function of now.
                items = [Item(due) for due in due_events(self.state, now)] + self._inbox.take()
                if items:
                    await self._process(items, now)
                elif self._commits.due(now, closing=self._closing):
                    await self._commits.enter()
                elif self._closing:
                    return
                else:
                    await self._sleep(now)
        except (StoreFailed, NotTheWriter) as error:
            self._fail(str(error))
        except Exception as error:
            log.exception("the writer failed")
            self._fail(f"{type(error).__name__}: {error}")

    async def _sleep(self, now: float) -> None:
        await self._inbox.sleep(min(HEARTBEAT_S, max(0.0, self.state.timers.next_due() - now)))

    async def _process(self, items: list[Item], now: float) -> None:
        decided = [(item, decision) for item in items if (decision := self._decide(item, now)) is not None]
        try:
            await self._commits.commit([decision for _, decision in decided])
        except StoreConflict:
            for _, decision in reversed(decided):
                self.state.revert(decision.changes)
            if len(decided) == 1:
                await self._reject(decided[0][0], now)
                return
            for item, _ in decided:
                await self._process([item], now)
            return
        except BaseException as error:
            for _, decision in reversed(decided):
                self.state.revert(decision.changes)
            for item, _ in decided:
                item.fail(error)
            raise
        for item, decision in decided:
            self._finish(item, decision)

    def _decide(self, item: Item, now: float) -> Decision | None:
        try:
            return decide(self.state, item.event, now)
        except PoolError as error:
            log.warning("an event was refused", happened=type(item.event).__name__, error=error.detail)
            self._refuse(item, error, now)
        except Exception as error:
            # A poison event must neither stop the daemon nor loop: it is rejected, and has changed nothing.
            log.exception("an event could not be decided", happened=repr(item.event))
            self._refuse(item, PoolError(f"{type(error).__name__} while deciding.", reason=Reason.INTERNAL), now)
        return None

    def _refuse(self, item: Item, error: PoolError, now: float) -> None:
        item.fail(error)
        if isinstance(item.event, Due):
            # What is due was taken off the clock, and is due still.
            self.state.timers.arm(item.event.kind, item.event.id, now + DUE_AGAIN_S)

    async def _reject(self, item: Item, now: float) -> None:
        event = item.event
        if isinstance(event, Acquire):
            lease = await self._store.find_request(event.caller, event.request_id)
            if lease is not None and item.awaited:
                why = lease.end_reason.sentence if lease.end_reason else ""
                item.answer(
                    Rejected(
                        Reason.REQUEST_ENDED, f"The lease of this request id ended: {why}", "Use a fresh request id."
                    )
                )
                return
        log.error("the store refused an event", happened=type(event).__name__)
        self._refuse(item, StoreConflict("The store refused this, and took nothing of it."), now)

    def _finish(self, item: Item, decision: Decision) -> None:
        reply = decision.reply
        if item.awaited and item.listen and isinstance(reply, Queued):
            # Made here, before anything else can happen, so that no answer falls between reply and listening.
            item.listener = self._listeners.join(reply.waiter.id)
        item.answer(reply)
        for observer in self._observers:
            observer(decision)
        for effect in decision.effects:
            if isinstance(effect, Answer):
                self._listeners.wake(effect.lease_id, effect.reply)
            elif isinstance(effect, Nudge):
                # Whoever is likely to get the cluster that has news; waking the whole queue would be a herd.
                for waiter_id in self.state.next_in_line(effect.pool):
                    self._listeners.wake(waiter_id, None)
            elif not self._closing:
                self._effects.run(effect)

    def _fail(self, why: str) -> None:
        self.failed, self.ready = why, False
        log.error("the daemon stops", why=why)
        self._inbox.fail(StoreFailed(why))
        self._listeners.wake_all()
        self.stopped.set()

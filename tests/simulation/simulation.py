"""One seeded run of the whole system: the real daemon and the real effects, in virtual time, while things break."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import random
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from pool.backends.simulated import SimulatedBackend, SimulatedWorld
from pool.core.decisions import Decision
from pool.core.key import Footprint
from pool.core.model import ClusterState, LeaseState
from pool.daemon import Daemon
from pool.store.base import Loaded
from pool.store.memory import MemoryState
from pool.tokens import Tokens
from tests.books import check_books
from tests.invariants import BY_RELEASE, Watch, check
from tests.simulation.faults import HEALTHY, Faults, make_behaviour
from tests.simulation.holders import Holder, Unreachable
from tests.simulation.loop import SimLoop
from tests.simulation.place import Oracle, RealClusters, SimClock, SimStore, make_keys, make_rules

T = TypeVar("T")

FAULTY_S = 60.0
"""Things break for so long."""
QUIET_S = 400.0
"""After that, everything must have come to rest within so long."""


@dataclass(eq=False)
class Host:
    """One daemon's process: what dies with it."""

    daemon: Daemon
    store: SimStore
    backend: SimulatedBackend
    watch: Watch
    life: asyncio.Task[None] | None = None
    calls: set[asyncio.Task[Any]] = field(default_factory=set)
    dead: bool = False

    @property
    def serves(self) -> bool:
        return not self.dead and self.daemon.ready and not self.daemon.failed


class Simulation:
    """One run. `run` raises what went wrong."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loop = SimLoop()
        self.clock = SimClock(self.loop)
        self.keys = make_keys()
        self.rules = make_rules(self.rng, self.keys)
        # Few keys make clusters come back to use, many make them fight for room.
        self.wanted = self.rng.sample(self.keys, self.rng.randint(1, len(self.keys)))
        self.disk = MemoryState()
        clusters = RealClusters(self.rules, self.keys, self.disk, self._problem)
        self.world = SimulatedWorld(random.Random(seed), make_behaviour(self.rng), clusters)
        self.host: Host | None = None
        self.forgotten: list[Host] = []
        self._lives: list[asyncio.Task[None]] = []
        self.leaves_dirt = self.rng.choice([0.0, 0.1])
        self.oracle = Oracle(self.is_shared, self.clock.now)
        self.decisions = self._checked = 0
        self.trace = hashlib.sha256()
        self.problems: list[str] = []
        self._holders: list[Holder] = []
        self._supervised = True

    def run(self) -> str:
        """Run it all.

        Returns:
            A digest of everything that happened.
        """
        state = random.getstate()
        random.seed(self.seed)  # tenacity's jitter
        log = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self.loop.set_exception_handler(self._unhandled)
        try:
            self.loop.run_until_complete(self._run())
        finally:
            structlog.configure(**log)
            random.setstate(state)
            self.loop.close()
        gc.collect(0)
        if self.problems:
            raise AssertionError(self.problems[0])
        return self.trace.hexdigest()

    def note(self, text: str) -> None:
        """Note that something happened."""
        self.trace.update(f"{self.loop.time():.6f} {text}\n".encode())

    def is_shared(self, cluster_id: str) -> bool:
        """Tell whether holders share this cluster."""
        return self.world.clusters.key_of(cluster_id).image.startswith("shared")  # type: ignore[attr-defined]

    # --- asking a daemon -------------------------------------------------------------------------------------------

    async def call(self, ask: Callable[[Daemon], Coroutine[Any, Any, T]]) -> T:
        """Ask a daemon something, as over a connection that breaks when it dies.

        Raises:
            Unreachable: there is none, or it died meanwhile.
        """
        hosts = [host for host in [self.host, *self.forgotten] if host is not None and host.serves]
        if not hosts:
            raise Unreachable
        host = self.rng.choice(hosts)
        task = self.loop.create_task(ask(host.daemon))
        host.calls.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if host.dead:
                raise Unreachable from None
            raise
        finally:
            host.calls.discard(task)

    # --- daemons come and go ---------------------------------------------------------------------------------------

    def boot(self) -> Host:
        """Start a daemon on the store."""
        watch = Watch()

        def opened(loaded: Loaded) -> None:
            self.note(f"generation {loaded.generation}")
            for records in (loaded.pools, loaded.clusters, loaded.leases, loaded.waiters, loaded.ended):
                watch.load(records)
            watch.tainted = {
                lease.cluster
                for lease in self.disk.leases.values()
                if lease.state is LeaseState.ENDED and lease.end_reason not in BY_RELEASE
            }

        store = SimStore(self.disk, self.rng, opened)
        backend = SimulatedBackend(self.world)
        daemon = Daemon(store, backend, self.rules, Tokens(b"k" * 32), self.clock, reconcile_s=5.0)
        host = Host(daemon, store, backend, watch)
        daemon.observe(lambda decision: self._observe(host, decision))
        self._check_between(host)
        host.life = self.loop.create_task(self._live(host))
        self._lives.append(host.life)
        return host

    async def _live(self, host: Host) -> None:
        try:
            await host.daemon.start()
        except Exception as error:
            self.note(f"no start: {type(error).__name__}")
            self._die(host)
            return
        await host.daemon.stopped.wait()
        self.note(f"failed: {host.daemon.failed}")
        if self.rng.random() < 0.5 and not host.dead:
            await host.daemon.stop()
        self._die(host)

    def fork(self) -> None:
        """Start a second daemon, and forget the first one without stopping it."""
        if self.host is not None and not self.host.dead:
            self.forgotten.append(self.host)
        self.host = self.boot()

    def kill(self, host: Host) -> None:
        """Kill a daemon where it stands: nothing of it runs any more."""
        if not host.dead:
            self.note("killed")
            life = host.life
            self._die(host)
            if life is not None:
                life.cancel()

    def _die(self, host: Host) -> None:
        host.dead = True
        daemon = host.daemon
        effects = daemon._effects._running
        for task in [*daemon._tasks, *effects, *host.calls]:
            task.cancel()
        host.backend._tell = None
        if host in self.forgotten:
            self.forgotten.remove(host)

    async def _supervise(self) -> None:
        while self._supervised:
            if self.host is None or self.host.dead:
                await asyncio.sleep(self.rng.choice([0.0, self.rng.uniform(0.0, 3.0)]))
                self.host = self.boot()
            await asyncio.sleep(0.5)

    # --- watching --------------------------------------------------------------------------------------------------

    def _observe(self, host: Host, decision: Decision) -> None:
        self.decisions += 1
        self.note(f"{type(decision.event).__name__} {type(decision.reply).__name__} {len(decision.changes)}")
        try:
            host.watch.decision(decision, self.rules)
        except AssertionError:
            self._problem(f"after {decision.event!r}:\n{traceback.format_exc(limit=-3)}")

    def _check_between(self, host: Host) -> None:
        """Have the state checked whenever the writer has nothing to do: in between, a batch is half decided."""
        daemon, sleep = host.daemon, host.daemon._sleep

        async def checked(now: float) -> None:
            if self.decisions >= self._checked + 4:
                self._checked = self.decisions
                try:
                    check(daemon.state, now)
                except AssertionError:
                    self._problem(traceback.format_exc(limit=-3))
            await sleep(now)

        daemon._sleep = checked  # type: ignore[method-assign]

    def _problem(self, text: str) -> None:
        self.problems.append(f"[{self.loop.time():.3f} s] {text}")

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text = "".join(traceback.format_exception(error, limit=-4)) if error is not None else str(context)
        self._problem(f"{context.get('message')}\n{text}")

    # --- the run ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        supervisor = self.loop.create_task(self._supervise())
        faults = self.loop.create_task(Faults(self, self.rng).run(FAULTY_S))
        tasks: list[asyncio.Task[None]] = []
        for number in range(self.rng.randint(4, 24)):
            await asyncio.sleep(self.rng.expovariate(1 / 2.5))
            holder = Holder(self, number, random.Random(self.rng.getrandbits(32)))
            self._holders.append(holder)
            tasks.append(self.loop.create_task(holder.run()))
        await faults
        self._mend()
        await self._all_done(tasks)
        await self._rest()
        self._supervised = False
        await supervisor
        assert self.host is not None
        if self.rng.random() < 0.5:
            await self.host.daemon.stop()
        self._die(self.host)
        await asyncio.sleep(0.1)
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)

    def _mend(self) -> None:
        self.note("mended")
        self.loop.forget_traps()
        self.world.behaviour = HEALTHY
        self.world.unreachable = False
        self.leaves_dirt = 0.0
        for host in [self.host, *self.forgotten]:
            if host is not None:
                host.store.fail_next = None
                host.store.gate.set()

    async def _all_done(self, tasks: list[asyncio.Task[None]]) -> None:
        try:
            async with asyncio.timeout(QUIET_S):
                for task in tasks:
                    await task
        except TimeoutError:
            living = [holder for holder in self._holders if not holder.outcome]
            raise AssertionError(f"{living} were never answered") from None

    async def _rest(self) -> None:
        """Wait until nothing is left, then see that everybody agrees that nothing is left."""
        until_s = self.loop.time() + QUIET_S
        while not self._at_rest():
            if self.loop.time() > until_s:
                raise AssertionError(f"it does not come to rest: {self._unrest()}")
            await asyncio.sleep(2.0)
        await asyncio.sleep(1.0)  # the state is ahead of the store while a commit is under way
        assert self._at_rest(), f"it did not stay at rest: {self._unrest()}"
        host = self.host
        assert host is not None
        for old in list(self.forgotten):
            self.kill(old)
        state = host.daemon.state
        check(state, self.clock.now())
        assert state.usage == Footprint(), state.usage
        assert not self.disk.waiters, self.disk.waiters
        assert all(lease.state is LeaseState.ENDED for lease in self.disk.leases.values())
        left = [c for c in self.disk.clusters.values() if c.state is not ClusterState.STOPPED]
        assert not left, f"the store still has {left}"
        check_books(self.disk)

    def _at_rest(self) -> bool:
        host = self.host
        if host is None or not host.serves:
            return False
        state = host.daemon.state
        return not (state.clusters or state.leases or state.waiters or self.world.clusters)

    def _unrest(self) -> str:
        host = self.host
        if host is None:
            return "there is no daemon"
        state = host.daemon.state
        real = list(self.world.clusters)
        return f"{host.daemon!r} {state.clusters} {state.leases} {state.waiters}; the world has {real}"


def run(seed: int) -> str:
    """Run one seed; a failure names the seed and the command that repeats it."""
    try:
        return Simulation(seed).run()
    except BaseException as error:
        error.add_note(f"seed {seed}; repeat it with: python -m tests.simulation.run --from {seed} --seeds 1")
        raise

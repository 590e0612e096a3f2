"""Leases one after the other on real local clusters, as the daemon gives them, each used by a short driver.

The drivers of a cluster are one process, which connects anew for each lease: so what is timed is Ray's and the pool's
and not an interpreter's. Each driver runs four tasks and an actor, of which it calls a method twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from policies.grant_order import MostRecentlyUsed
from policies.queue_order import PriorityWithAging
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.backends.local.backend import LocalBackend
from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import command, owned
from pool.backends.local.trail import Files, Trail
from pool.clock import WallClock
from pool.core.decisions import Decision, Granted
from pool.core.events import Acquire, Release, Renew, Revoke
from pool.core.key import ClusterKey, key_from
from pool.core.model import Cluster, ClusterState, Lease, Mode
from pool.core.reasons import Reason
from pool.core.settings import PoolSettings, Rules
from pool.daemon import Daemon
from pool.store.memory import MemoryState, MemoryStore
from pool.tokens import Tokens

KEY = key_from({"image": "local", "tenant": "bench/leases", "shape": {"head": {"cpu": 2}}})
STORE_BYTES = 100_000_000
BOUND_S = 180.0

DRIVER = """
import json, sys, time
import ray

def work(n):
    return n * n

class Counter:
    def __init__(self):
        self.n = 0
    def step(self):
        self.n += 1
        return self.n

for line in sys.stdin:
    begun, worked = time.perf_counter(), time.process_time()
    ray.init(address=json.loads(line), log_to_driver=False, configure_logging=False)
    connected = time.perf_counter()
    assert ray.get([ray.remote(work).remote(n) for n in range(4)]) == [0, 1, 4, 9]
    tasks = time.perf_counter()
    counter = ray.remote(num_cpus=1)(Counter).remote()
    assert ray.get([counter.step.remote(), counter.step.remote()]) == [1, 2]
    actor = time.perf_counter()
    ray.shutdown()
    ended = time.perf_counter()
    print(json.dumps({"connect_s": connected - begun, "tasks_s": tasks - connected, "actor_s": actor - tasks,
                      "shutdown_s": ended - actor, "cpu_s": time.process_time() - worked}), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Used:
    """What one lease took, seconds, and how its cluster was after its reset.

    Attributes:
        use: which lease of its cluster it was, from 1.
        wait_s: from the acquire to the grant.
        driver_s: of the driver, connecting and leaving included.
        reset_s: from the release until the cluster was idle again, or was given up.
        cpu_s: time of a core that the driver, the GCS and the raylets took, whatever else ran on the machine.
        kept: whether it was not given up.
        head_memory_bytes, open_files: as the reset measured them; 0 if it did not.
    """

    cluster: str
    use: int
    wait_s: float
    driver_s: float
    parts_s: dict[str, float]
    reset_s: float
    cpu_s: float
    kept: bool
    head_memory_bytes: int
    open_files: int


def rules_of(**fields: Any) -> Rules:
    """Return rules under which one cluster is kept, and retires by what `fields` say alone."""
    settings = PoolSettings(
        "default", MostRecentlyUsed(), PriorityWithAging(), FloorAndBuffer(), FixedTTL(ttl_s=86_400.0, jitter=0.0),
        **({"pickup_s": 600.0, "reset_timeout_s": 60.0, "group_rest_s": 0.0} | fields),
    )  # fmt: skip
    return Rules(lambda key: settings, max_starting=1)


def cpu_s(pid: int) -> float:
    """Return the time of a core that a process has taken so far; 0 if it is gone."""
    with suppress(OSError):
        # utime and stime, see proc_pid_stat(5).
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Leases:
    """A daemon over local clusters, and a driver for the one in use.

    Attributes:
        given_up: clusters that were stopped: id, reason and the reason in words.
    """

    def __init__(self, daemon: Daemon, backend: LocalBackend, state_dir: Path) -> None:
        self.daemon = daemon
        self.backend = backend
        self.state_dir = state_dir
        self._decided = asyncio.Event()
        self._driver: asyncio.subprocess.Process | None = None
        self._driver_of = ""
        self._asked = 0
        self.given_up: list[tuple[str, Reason | None, str]] = []
        daemon.observe(self._observe)

    def _observe(self, decision: Decision) -> None:
        self._decided.set()
        for change in decision.changes:
            if isinstance(change.new, Cluster) and change.new.state is ClusterState.STOPPING:
                self.given_up.append((change.new.id, change.new.reason, change.new.detail))

    async def one(self) -> Used:
        """Take a lease, use it, release it, and wait until its cluster is ready for the next one, or given up."""
        asked_at = time.perf_counter()
        granted = await self.acquire()
        granted_at = time.perf_counter()
        cluster = granted.cluster
        worked_s = self._ray_cpu_s(cluster.id)
        parts_s = await self.drive(cluster)
        driven_at = time.perf_counter()
        after = await self.release(granted.lease)
        reset_at = time.perf_counter()
        ray_s = self._ray_cpu_s(cluster.id) - worked_s
        wear = after.wear if after is not None else None
        return Used(
            cluster=cluster.id,
            use=cluster.uses,
            wait_s=granted_at - asked_at,
            driver_s=driven_at - granted_at,
            parts_s=parts_s,
            reset_s=reset_at - driven_at,
            cpu_s=parts_s.pop("cpu_s") + ray_s,
            kept=after is not None and after.state is ClusterState.IDLE,
            head_memory_bytes=wear.head_memory_bytes if wear is not None else 0,
            open_files=wear.open_files if wear is not None else 0,
        )

    def _ray_cpu_s(self, cluster_id: str) -> float:
        """Return the time of a core that the GCS and the raylets of a cluster have taken so far."""
        every = owned(self.daemon.store_id).get(cluster_id, {})
        names = {pid: PurePath(words[0]).name for pid in every if (words := command(pid))}
        return sum(cpu_s(pid) for pid, name in names.items() if name in ("gcs_server", "raylet"))

    async def acquire(self, key: ClusterKey = KEY) -> Granted:
        """Return a lease, active, that need not be renewed."""
        self._asked += 1
        name = f"l-{self._asked}"
        until = self.daemon.clock.now() + BOUND_S
        ask = Acquire(
            name, "bench", name, key, f"holder-{self._asked}", "", Mode.WAIT_OR_CREATE, until, until, ttl_s=600.0
        )  # fmt: skip
        async with asyncio.timeout(BOUND_S):
            while not isinstance(reply := await self.daemon.acquire(ask, BOUND_S), Granted):
                if not hasattr(reply, "waiter"):
                    raise RuntimeError(f"no lease: {reply}")
        await self.daemon.submit(Renew(reply.lease.id, reply.lease.epoch))
        return reply

    async def recycle(self, lease: Lease) -> None:
        """End a lease with its cluster, and return once that is gone."""
        await self.daemon.submit(Revoke(lease.id))
        async with asyncio.timeout(BOUND_S):
            while lease.cluster in self.daemon.state.clusters:
                self._decided.clear()
                await self._decided.wait()

    async def release(self, lease: Lease) -> Cluster | None:
        """Release a lease, and return its cluster once it is reset; None if it is gone by then."""
        await self.daemon.submit(Release(lease.id, lease.epoch))
        async with asyncio.timeout(BOUND_S):
            while True:
                self._decided.clear()
                cluster = self.daemon.state.clusters.get(lease.cluster)
                if cluster is None or cluster.state is not ClusterState.RESETTING:
                    return cluster
                await self._decided.wait()

    async def drive(self, cluster: Cluster) -> dict[str, float]:
        """Run a driver on a cluster, and return what it took, seconds, by its parts."""
        if self._driver is None or self._driver_of != cluster.id:
            await self.end_driver()
            env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
            env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.daemon.cluster_token(cluster.id)}
            with (self.state_dir / "driver.log").open("ab") as log:
                self._driver = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", DRIVER, env=env, stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE, stderr=log,
                )  # fmt: skip
            self._driver_of = cluster.id
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(f"{json.dumps(cluster.address)}\n".encode())
        await self._driver.stdin.drain()
        line = await asyncio.wait_for(self._driver.stdout.readline(), BOUND_S)
        if not line:
            said = (self.state_dir / "driver.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the driver ended: {said}")
        parts_s: dict[str, float] = json.loads(line)
        return parts_s

    def trails(self) -> list[Trail]:
        """Return the trails of the clusters that are there now."""
        every = (self.state_dir / "clusters").glob("*/c-*")
        return [trail for directory in every if (trail := Files(directory).trail()) is not None]

    async def end_driver(self) -> None:
        """End the process of the drivers."""
        if self._driver is not None and self._driver.stdin is not None:
            self._driver.stdin.close()
            await self._driver.wait()
            self._driver = None


@asynccontextmanager
async def leases(**fields: Any) -> AsyncIterator[Leases]:
    """Yield leases on clusters that are stopped at the end; `fields` are settings of their pool."""
    state_dir = Path(tempfile.mkdtemp(prefix="wpl-"))
    backend = LocalBackend(state_dir, options=LocalOptions(object_store_bytes=STORE_BYTES, settle_s=30.0))
    tokens = Tokens.load_or_create(state_dir / "secret")
    store = MemoryStore(MemoryState(store_id=uuid.uuid4().hex[:16]))
    daemon = Daemon(store, backend, rules_of(**fields), tokens, WallClock())
    try:
        await daemon.start()
        made = Leases(daemon, backend, state_dir)
        try:
            yield made
        finally:
            await made.end_driver()
            await daemon.stop(stop_clusters=True)
    finally:
        shutil.rmtree(state_dir, ignore_errors=True)

"""The servers that are measured, each in a process of its own: the daemon, and a bare endpoint beside it.

    python -m benchmarks.servers pool DIRECTORY     the real daemon and API, durable SQLite, simulated clusters
    python -m benchmarks.servers bare DIRECTORY     aiohttp alone: parses the same JSON and answers the same JSON

Each prints one line of JSON, ``{"port": ..., "token": ...}``, when it listens, and ends when its input closes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from policies.grant_order import MostRecentlyUsed
from policies.queue_order import PriorityWithAging
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.access import Access
from pool.api.app import create_app, serve
from pool.backends.simulated import INSTANT, SimulatedBackend, SimulatedCluster, SimulatedWorld
from pool.clock import WallClock
from pool.core.settings import PoolSettings, Rules
from pool.daemon import Daemon
from pool.interpreter import answer_promptly, long_lived_objects
from pool.journal import Journal
from pool.logs import configure
from pool.metrics import Metrics
from pool.store.sql import SqlStore
from pool.tokens import Tokens


def rules() -> Rules:
    """Return rules under which clusters are kept for the whole run."""
    settings = PoolSettings(
        "default",
        MostRecentlyUsed(),
        PriorityWithAging(),
        FloorAndBuffer(),
        FixedTTL(ttl_s=86_400.0, jitter=0.0),
        max_leases_per_cluster=1,
        # As where a reset is always full (the local backend): an instant one has nothing to gain by halves.
        group_rest_s=0.0,
    )
    return Rules(lambda key: settings, max_starting=100_000)


def make_daemon(directory: Path, world: SimulatedWorld) -> Daemon:
    """Return the real daemon on a durable store in `directory`."""
    store = SqlStore(f"sqlite+aiosqlite:///{directory}/warmpool.sqlite")
    return Daemon(store, SimulatedBackend(world), rules(), Tokens.load_or_create(directory / "secret"), WallClock())


def world_of(directory: Path) -> SimulatedWorld:
    """Return the world as `world.json` lists it, empty if there is none."""
    world = SimulatedWorld(behaviour=INSTANT)
    path = directory / "world.json"
    if path.exists():
        listed = json.loads(path.read_text())
        for id_ in listed["clusters"]:
            world.clusters[id_] = SimulatedCluster(id_, listed["store_id"], 1, ready=True)
    return world


async def serve_pool(directory: Path) -> None:
    """Serve the daemon until the input closes."""
    answer_promptly()
    configure(stream=(directory / "daemon.log").open("w"))
    daemon = make_daemon(directory, world_of(directory))
    with long_lived_objects():
        await daemon.start()
    # Who looks on when `warmpool serve` runs: metrics and journal are part of what a grant costs.
    metrics = Metrics(lambda: daemon.state, clock_now=daemon.clock.now)
    daemon.observe(metrics.observe)
    daemon.observe(Journal(lambda: daemon.state).observe)
    daemon.observe_commits(metrics.observe_commit)
    access = Access.load_or_create(directory / "tokens.yaml")
    server = await serve(create_app(daemon, access, metrics.registry, refused=metrics.observe_refusal))
    await _announce(server.port, (directory / "operator.token").read_text().strip())
    await server.close()
    await daemon.stop()


async def serve_bare(grant: dict[str, Any]) -> None:
    """Serve an endpoint that parses and answers JSON and does nothing else."""
    ended = {"status": "ended", "lease_id": grant["lease_id"], "reason": "released", "explanation": ""}

    async def acquire(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response(grant)

    async def release(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response(ended)

    app = web.Application()
    app.router.add_post("/v1/leases", acquire)
    app.router.add_post("/v1/leases/{id}/release", release)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    await _announce(runner.addresses[0][1], "none")
    await runner.cleanup()


async def _announce(port: int, token: str) -> None:
    print(json.dumps({"port": port, "token": token}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Run one of the servers."""
    which, directory = sys.argv[1], Path(sys.argv[2])
    if which == "pool":
        asyncio.run(serve_pool(directory))
    else:
        asyncio.run(serve_bare(json.loads((directory / "grant.json").read_text())))


if __name__ == "__main__":
    main()

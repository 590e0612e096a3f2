"""The API over the real daemon: the parts that the hand-driven one could get wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from pool.access import Access
from pool.api import listening
from pool.api.app import API, Server, create_app, serve
from pool.api.needs import Daemon as Needed
from pool.backends.simulated import Behaviour, SimulatedBackend, SimulatedWorld
from pool.clock import WallClock
from pool.core.decisions import Answer, Decision
from pool.core.model import ClusterState
from pool.core.settings import Rules
from pool.daemon import Daemon
from pool.store.memory import MemoryStore
from pool.tokens import Tokens

from .conftest import Http, proof, settings_for, until, wish

QUICK = Behaviour(start_s=(0.05, 0.05), stop_s=(0.01, 0.01), reset_s=(0.01, 0.01), list_s=(0.0, 0.0))
NEVER = Behaviour(start_s=(1000.0, 1000.0), stop_s=(0.01, 0.01), reset_s=(0.01, 0.01), list_s=(0.0, 0.0))


@asynccontextmanager
async def running(access: Access, behaviour: Behaviour) -> AsyncIterator[tuple[Http, Daemon]]:
    world = SimulatedWorld(behaviour=behaviour)
    daemon = Daemon(MemoryStore(), SimulatedBackend(world), Rules(settings_for), Tokens(b"k" * 32), WallClock())
    needed: Needed = daemon
    await daemon.start()
    server = await serve(create_app(needed, access))
    token = access.path.with_name("client.token").read_text().strip()
    async with aiohttp.ClientSession() as session:
        yield Http(server, session, {"client": token}), daemon
    await server.close()
    await daemon.stop()


async def vanishing(server: Server, token: str, body: dict[str, object]) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    content = json.dumps(body)
    writer.write(
        f"POST /v1/leases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n{content}".encode()
    )
    return writer


async def granted(http: Http, request_id: str) -> dict[str, object]:
    async with asyncio.timeout(20):
        while True:
            answer = (await http.acquire(request_id, wait_s=20)).json
            if answer["status"] == "granted":
                return answer  # type: ignore[no-any-return]


async def test_a_lease_from_both_ends(access: Access) -> None:
    async with running(access, QUICK) as (http, daemon):
        grant = await granted(http, "r-1")
        path = f"/v1/leases/{grant['lease_id']}"
        assert (await http.post(f"{path}/renew", proof(grant))).json["status"] == "renewed"
        assert (await http.post(f"{path}/release", proof(grant))).json["reason"] == "released"
        again = await granted(http, "r-2")
        assert again["cluster"]["id"] == grant["cluster"]["id"]  # type: ignore[index]
        assert (await http.post(f"/v1/leases/{again['lease_id']}/release", proof(again))).status == 200
        await until(
            lambda: [c.state for c in daemon.state.clusters.values()] == [ClusterState.IDLE], "the cluster is back"
        )


async def idle_again(daemon: Daemon) -> None:
    state = daemon.state
    await until(
        lambda: (
            [c.state for c in state.clusters.values()] == [ClusterState.IDLE] and not state.leases and not state.waiters
        ),
        "the cluster is idle again, and nobody has it",
    )


async def test_a_client_that_vanishes_during_its_start_leaves_an_idle_cluster(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "GRACE_S", 3.0)
    async with running(access, replace(QUICK, start_s=(1.5, 1.5))) as (http, daemon):
        # The phases of the start come first: at each the daemon answers early.
        await http.acquire("r-1", wait_s=0.2)
        writer = await vanishing(http.server, http.tokens["client"], wish("r-1", wait_s=60))
        waiting = http.server.runner.app[API].listening
        await until(lambda: "1 waiting" in repr(waiting), "it is asked")
        writer.transport.abort()
        await idle_again(daemon)


async def test_a_client_that_vanishes_as_it_is_granted_leaves_an_idle_cluster(access: Access) -> None:
    async with running(access, QUICK) as (http, daemon):
        grant = await granted(http, "r-1")
        writer = await vanishing(http.server, http.tokens["client"], wish("r-2", wait_s=60, mode="wait"))
        await until(lambda: daemon.state.waiters, "it is queued")
        seen = []

        def hang_up(decision: Decision) -> None:
            if any(isinstance(effect, Answer) for effect in decision.effects):
                seen.append(decision)
                writer.transport.abort()

        daemon.observe(hang_up)
        await http.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
        await until(lambda: seen, "it is granted")
        await idle_again(daemon)
        (cluster,) = daemon.state.clusters.values()
        assert cluster.uses == 2


async def test_long_polls_end_at_once_when_the_server_stops(access: Access) -> None:
    async with running(access, NEVER) as (http, daemon):
        # The phases of the start come first: at each the daemon answers early.
        await http.acquire(wait_s=0.2)
        asking = asyncio.create_task(http.acquire(wait_s=300))
        waiting = http.server.runner.app[API].listening
        await until(lambda: "1 waiting" in repr(waiting), "it is asked")
        async with asyncio.timeout(20):
            await http.server.close()
            assert (await asking).json["status"] == "queued"
        assert daemon.state.waiters

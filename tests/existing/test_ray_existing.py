"""A real cluster of somebody else's, used by others all the while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pool.client import Client, Lease, LeaseRequest
from pool.core.events import Started
from tests.backends.local.conftest import Bench, drive, make_key, submit, token_for
from tests.homes import listed
from tests.serving import Served, environment

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

OURS = """
import ray
from ray.util.placement_group import placement_group
ray.init(namespace="ours", log_to_driver=False)
A = ray.remote(num_cpus=0)(type("A", (), {"f": lambda self: 1}))
for actor in (A.options(name="ours", lifetime="detached").remote(), A.options(lifetime="detached").remote()):
    ray.get(actor.f.remote())
ray.get(placement_group([{"CPU": 0.5}], name="of-ours", lifetime="detached").ready())
print("did it")
"""
FOREIGN = """
A = ray.remote(num_cpus=0)(type("A", (), {"f": lambda self: 1}))
def make(name):
    ray.get(A.options(name=name, namespace="others", lifetime="detached").remote().f.remote())
make("foreign")
"""
LATER = """
print("begun", flush=True)
input()
make("later")
print("made", flush=True)
input()
"""


class Theirs:
    """The cluster, as those who run it see it."""

    def __init__(self, bench: Bench, started: Started) -> None:
        self.bench, self.started = bench, started
        self.files = bench.files(started.cluster_id)
        self.token = token_for(started.cluster_id)

    async def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.get(self.started.dashboard_url + path) as answer,
        ):
            return await answer.json()

    async def alive(self) -> list[str]:
        rows = await self.get("/api/v0/actors?detail=1&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE")
        return sorted(row["name"] for row in rows["data"]["result"]["result"] if not row["name"].startswith("_ray"))

    async def groups(self) -> list[str]:
        rows = await self.get("/api/v0/placement_groups?detail=1")
        return [row["name"] for row in rows["data"]["result"]["result"] if row["state"] != "REMOVED"]

    async def status(self, submission_id: str) -> str:
        return str((await self.get(f"/api/jobs/{submission_id}"))["status"])


@pytest.fixture
async def theirs() -> AsyncIterator[Theirs]:
    bench = Bench(Path(tempfile.mkdtemp(prefix="wpt-", dir="/tmp")))
    backend = await bench.open()
    try:
        yield Theirs(bench, await bench.start(backend, make_key(3)))
    finally:
        await bench.close()
        shutil.rmtree(bench.state_dir, ignore_errors=True)


def config(theirs: Theirs, *, token: Path) -> str:
    return f"""
listen: 127.0.0.1:0
backend:
  type: existing
  probe_interval: 1s
  lost_after: 5s
  clusters:
  - name: theirs
    tenant: p/d
    dashboard: {theirs.started.dashboard_url}
    address: {theirs.started.address}
    token_file: {token}
"""


async def states(served: Served) -> list[str]:
    return [cluster["state"] for cluster in await asyncio.to_thread(listed, served, "clusters")]


async def until_states(served: Served, *wanted: str) -> None:
    async with asyncio.timeout(60):
        while await states(served) != list(wanted):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.2)


def run(lease: Lease, code: str) -> str:
    env = {**environment(), **lease.environment()}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


async def test_it_is_leased_again_and_again_and_what_others_do_there_is_not_touched(
    theirs: Theirs, tmp_path: Path
) -> None:
    await drive(theirs.started, theirs.files, FOREIGN)
    foreign_job = await submit(theirs.started, "sleep 1000")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(theirs.files / "token")}
    begin = f"import ray\nray.init(address={theirs.started.address!r}, log_to_driver=False)\n"
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", begin + FOREIGN.replace('make("foreign")', "") + LATER),
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert await other.stdout.readline() == b"begun\n"

    token = tmp_path / "token"
    token.write_text(theirs.token + "\n")
    served = await asyncio.to_thread(Served(tmp_path, config=config(theirs, token=token)).__enter__)
    stack = contextlib.ExitStack()
    try:
        await until_states(served, "idle")
        (cluster,) = await asyncio.to_thread(listed, served, "clusters")
        assert cluster["image"].startswith("ray:")
        client = stack.enter_context(Client(served.url, token_file=served.state_dir / "operator.token"))

        def ask(holder: str) -> LeaseRequest:
            return LeaseRequest(image="any:1", tenant="p/d", holder=holder, shape={"head": {"cpu": 1}})

        # One lease, in which both do something.
        lease = await asyncio.to_thread(stack.enter_context, client.lease(ask("first")))
        assert await asyncio.to_thread(run, lease, OURS) == "did it"
        our_job = await submit(theirs.started, "sleep 1000")
        other.stdin.write(b"\n")
        assert await other.stdout.readline() == b"made\n"
        assert set(await theirs.alive()) == {"", "foreign", "later", "ours"}
        await asyncio.to_thread(lease.release)
        await until_states(served, "idle")
        assert await theirs.alive() == ["foreign", "later"], served.said()
        assert await theirs.groups() == []
        assert (await theirs.status(our_job), await theirs.status(foreign_job)) == ("STOPPED", "RUNNING")
        assert other.returncode is None

        # The daemon dies under the second one, on the same cluster.
        lease = await asyncio.to_thread(stack.enter_context, client.lease(ask("second")))
        assert lease.cluster.id == cluster["id"]
        served.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(served.process.wait)
        port = served.url.rpartition(":")[2]
        (served.state_dir / "daemon.json").unlink()
        again = config(theirs, token=token).replace(":0\n", f":{port}\n", 1)
        served = await asyncio.to_thread(Served(tmp_path, config=again).__enter__)
        assert await states(served) == ["leased"]
        assert await asyncio.to_thread(run, lease, OURS) == "did it"
        await asyncio.to_thread(lease.release)
        await until_states(served, "idle")
        assert await theirs.alive() == ["foreign", "later"]
        assert theirs.token not in served.said()
        shown = await asyncio.to_thread(served.run, "config", "show", "--config", str(served.config))
        assert theirs.token not in shown.stdout

        # It goes on when the daemon forgets it.
        served.config.write_text(again.partition("  clusters:")[0])
        served.process.send_signal(signal.SIGHUP)
        await until_states(served)
        assert await theirs.alive() == ["foreign", "later"]
        served.config.write_text(again)
        served.process.send_signal(signal.SIGHUP)
        await until_states(served, "idle")

        # And when it is really gone, that is told.
        await theirs.bench.backends[0].stop(theirs.started.cluster_id)
        async with asyncio.timeout(60):
            while "does not answer" not in json.dumps(  # noqa: ASYNC110 - it happens in another process
                await asyncio.to_thread(listed, served, "pools")
            ):
                await asyncio.sleep(0.5)
    finally:
        other.kill()
        await other.wait()
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(served.__exit__)

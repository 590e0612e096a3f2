"""What the tests of the local backend share: keys, cluster records, and backends that leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from pool.backends.local.backend import LocalBackend
from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import owned
from pool.core.events import Lost, Started
from pool.core.key import ClusterKey, Footprint, key_from
from pool.core.model import Cluster, ClusterState
from pool.core.reasons import Reason

SMALL_STORE = 100_000_000


def make_key(cpu: float = 1, **shape: Any) -> ClusterKey:
    return key_from({"image": "any", "tenant": "p/d", "shape": {"head": {"cpu": cpu}} | shape})


def make_cluster(key: ClusterKey, seq: int = 1, boot_id: str = "") -> Cluster:
    return Cluster(
        id=f"c-{key.digest}-{seq}",
        pool=key.digest,
        tenant=key.tenant,
        seq=seq,
        footprint=Footprint(clusters=1),
        state=ClusterState.STARTING,
        cause=Reason.MISS,
        created_at=0.0,
        changed_at=0.0,
        boot_id=boot_id,
    )


def token_for(cluster_id: str) -> str:
    return f"token-of-{cluster_id}"


def wait_for(condition: Callable[[], Any], bound_s: float = 60.0) -> None:
    """Wait until a condition holds, for a bounded time, without an event loop."""
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


async def until(condition: Callable[[], Any], bound_s: float = 60.0) -> None:
    """Wait until a condition holds, for a bounded time."""
    async with asyncio.timeout(bound_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.05)


@dataclass
class Bench:
    """A state directory, and the backends that a test opens on it."""

    state_dir: Path
    store_id: str = field(default_factory=lambda: f"s-{uuid4().hex[:12]}")
    backends: list[LocalBackend] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)

    async def open(self, store_id: str = "", **options: Any) -> LocalBackend:
        backend = LocalBackend(self.state_dir, options=LocalOptions(object_store_bytes=SMALL_STORE, **options))
        await backend.open(store_id or self.store_id, token_for, self.lost.append)
        self.backends.append(backend)
        return backend

    async def start(self, backend: LocalBackend, key: ClusterKey, seq: int = 1) -> Started:
        return await backend.start(make_cluster(key, seq), key, self.phases.append)

    def files(self, cluster_id: str, store_id: str = "") -> Path:
        return self.state_dir / "clusters" / (store_id or self.store_id) / cluster_id

    def processes(self, store_id: str = "") -> dict[str, Any]:
        return owned(store_id or self.store_id)

    async def close(self) -> None:
        try:
            backend = await self.open()
            await asyncio.gather(*(backend.stop(seen.cluster_id) for seen in (await backend.list()).seen))
        finally:
            for backend in self.backends:
                await backend.close()


@pytest.fixture
def state_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="wpt-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def bench(state_dir: Path) -> AsyncIterator[Bench]:
    made = Bench(state_dir)
    yield made
    await made.close()


async def drive(started: Started, files: Path, code: str, **options: Any) -> str:
    """Run a driver of its own process on a cluster, as a task does, and return what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(files / "token")}
    preamble = (
        f"import os, ray, subprocess, time\nray.init(address={started.address!r}, log_to_driver=False, **{options})\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", preamble + code, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().strip()


async def submit(started: Started, entrypoint: str) -> str:
    headers = {"Authorization": f"Bearer {token_for(started.cluster_id)}"}
    url = f"{started.dashboard_url}/api/jobs/"
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(url, json={"entrypoint": entrypoint}) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["submission_id"])


def exists(path: str | Path) -> bool:
    return Path(path).exists()

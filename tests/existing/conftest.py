"""A daemon over clusters of somebody else's."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pool.core.decisions import Granted, Queued, Rejected
from pool.core.events import Acquire, Release, Renew
from pool.core.key import ClusterKey, key_from
from pool.core.model import Cluster, Mode
from pool.main import Options, Service, configuration

from .fake import FakeCluster

BASE = "log: {level: debug}\nreconcile_interval: 1s\ndefaults: {backoff: 100ms, backoff_max: 200ms}\n"
_NUMBERS = itertools.count(1)


def a_key(cpu: float = 1, image: str = "any/image:1", tenant: str = "p/d", **shape: Any) -> ClusterKey:
    return key_from({"image": image, "tenant": tenant, "shape": {"head": {"cpu": cpu}, **shape}})


@dataclass
class Here:
    """A daemon in this process, and the file that it is configured by."""

    home: Path
    service: Service | None = None
    services: list[Service] = field(default_factory=list)

    def write(self, *entries: str, more: str = "probe_interval: 500ms, lost_after: 1s") -> None:
        listed = "".join(f"\n  - {entry}" for entry in entries) or " []"
        first, _, second = more.partition(", ")
        text = f"{BASE}backend:\n  type: existing\n  {first}\n  {second}\n  clusters:{listed}\n"
        (self.home / "warmpool.yaml").write_text(text)

    @property
    def options(self) -> Options:
        return Options(config=self.home / "warmpool.yaml", state_dir=self.home / "state")

    async def start(self) -> None:
        (self.home / "state").mkdir(exist_ok=True)
        self.service = Service(configuration(self.options), self.options)
        self.services.append(self.service)
        await self.service.daemon.start()

    async def restart(self) -> None:
        await self.close()
        await self.start()

    async def close(self) -> None:
        assert self.service is not None
        await self.service.daemon.stop()

    async def reload(self) -> None:
        assert self.service is not None
        await self.service.reload()

    @property
    def daemon(self) -> Any:
        assert self.service is not None
        return self.service.daemon

    def clusters(self) -> list[Cluster]:
        return list(self.daemon.state.clusters.values())

    def states(self) -> list[str]:
        return sorted(cluster.state.value for cluster in self.clusters())

    async def until(self, holds: Callable[[], object], bound_s: float = 15.0) -> None:
        end = time.monotonic() + bound_s
        while not holds():
            assert time.monotonic() < end, f"waited in vain: {self.clusters()}, {self.daemon.state!r}"
            await asyncio.sleep(0.02)

    async def until_states(self, *states: str) -> None:
        await self.until(lambda: self.states() == sorted(states))

    async def ask(
        self, key: ClusterKey, *, wait_s: float = 0.0, group: str = "", **fields: Any
    ) -> Granted | Queued | Rejected:
        now, number = self.daemon.clock.now(), next(_NUMBERS)
        self.daemon.check(key)
        event = Acquire(
            lease_id=f"l-{number}",
            caller="test",
            request_id=f"r-{number}",
            key=key,
            holder=f"holder-{number}",
            group=group,
            mode=Mode.WAIT_OR_CREATE,
            deadline=now + 600,
            seen_until=now + 600,
            **fields,
        )
        reply = await self.daemon.acquire(event, wait_s)
        assert isinstance(reply, Granted | Queued | Rejected)
        return reply

    async def lease(self, key: ClusterKey, **fields: Any) -> Granted:
        reply = await self.ask(key, wait_s=15.0, **fields)
        assert isinstance(reply, Granted), reply
        await self.daemon.submit(Renew(reply.lease.id, reply.lease.epoch))
        return reply

    async def release(self, granted: Granted) -> None:
        await self.daemon.submit(Release(granted.lease.id, granted.lease.epoch))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    made = Here(tmp_path)
    yield made
    for service in made.services:
        await service.daemon.stop()


@pytest.fixture
async def theirs() -> AsyncIterator[FakeCluster]:
    async with FakeCluster() as cluster:
        yield cluster


def entry(cluster: FakeCluster, name: str = "theirs", **fields: Any) -> str:
    """Return an entry of the configuration."""
    given = {"tenant": "p/d", "dashboard": cluster.url, "address": "10.0.0.1:6379", "token": cluster.token, **fields}
    said = ", ".join(
        f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in given.items()
    )
    return f"{{name: {name}, {said}}}"

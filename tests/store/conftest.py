"""Stores of every kind, and records to put into them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from pool.core.decisions import Change
from pool.core.key import key_from
from pool.core.model import (
    Cluster,
    ClusterState,
    Lease,
    LeaseState,
    Mode,
    Outcome,
    Pool,
    Waiter,
)
from pool.core.reasons import Reason
from pool.store.base import Store
from pool.store.memory import MemoryState, MemoryStore
from pool.store.sql import SqlStore

KEY = key_from({"image": "registry/image:1", "tenant": "project/domain", "shape": {"head": {"cpu": 2}}})


class Make:
    """Records with fresh ids; fields by name go over the defaults."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def pool(self, **fields: object) -> Pool:
        return Pool(KEY.digest, KEY, "default", created_at=1.0)._replace(**fields)

    def cluster(self, **fields: object) -> Cluster:
        n = next(self._numbers)
        cluster = Cluster(
            id=f"c-{KEY.digest}-{n}",
            pool=KEY.digest,
            tenant=KEY.tenant,
            seq=n,
            footprint=KEY.footprint,
            state=ClusterState.IDLE,
            cause=Reason.MISS,
            created_at=float(n),
            changed_at=float(n),
        )
        return cluster._replace(**fields)

    def lease(self, **fields: object) -> Lease:
        n = next(self._numbers)
        lease = Lease(
            id=f"l-{n:06d}",
            cluster=f"c-{KEY.digest}-{n}",
            pool=KEY.digest,
            tenant=KEY.tenant,
            caller="cli",
            request_id=f"request-{n}",
            holder="holder",
            group="group",
            priority=0,
            mode=Mode.WAIT_OR_CREATE,
            epoch=1,
            state=LeaseState.ACTIVE,
            outcome=Outcome.HIT,
            miss=None,
            asked_at=float(n),
            granted_at=float(n),
            ttl_s=30.0,
            expires_at=n + 30.0,
        )
        return lease._replace(**fields)

    def ended(self, at: float, **fields: object) -> Lease:
        return self.lease(state=LeaseState.ENDED, ended_at=at, end_reason=Reason.RELEASED, **fields)

    def waiter(self, **fields: object) -> Waiter:
        n = next(self._numbers)
        waiter = Waiter(
            id=f"w-{n:06d}",
            pool=KEY.digest,
            tenant=KEY.tenant,
            caller="cli",
            request_id=f"request-{n}",
            holder="holder",
            group="group",
            priority=0,
            mode=Mode.WAIT,
            asked_at=float(n),
            rank=float(n),
            deadline=100.0,
            seen_until=10.0,
            ttl_s=30.0,
            hold_s=0.0,
            miss=Reason.ALL_LEASED,
        )
        return waiter._replace(**fields)


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def new() -> Callable[..., list[Change]]:
    """Changes that make records new."""
    return lambda *records: [Change(None, record) for record in records]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "warmpool.sqlite"


OpenStore = Callable[..., Store]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def handle(request: pytest.FixtureRequest, file: Path) -> AsyncIterator[OpenStore]:
    """Makes further handles on the same durable state, each as a restarted daemon would have; all are closed."""
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            state = MemoryState()

            def make_store(*, restored: bool = False) -> Store:
                return MemoryStore(state, restored=restored)
        else:
            url = f"sqlite:///{file}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")

            def make_store(*, restored: bool = False) -> Store:
                store = SqlStore(url, restored=restored)
                stack.push_async_callback(store.close)
                return store

        yield make_store

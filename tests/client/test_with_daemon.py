"""The client against the real daemon, in a process of its own, with clusters that only exist in its memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from pool.access import Access
from pool.api.app import create_app, serve
from pool.backends.simulated import INSTANT, SimulatedBackend, SimulatedWorld
from pool.client import AsyncClient, Client, LeaseLost, LeaseRequest, Progress, WarmMiss, configured, renewal, watching
from pool.clock import WallClock
from pool.config import Config, build_rules
from pool.core.reasons import Reason
from pool.daemon import Daemon
from pool.store.sql import SqlStore
from pool.tokens import Tokens
from tests.client.conftest import hang_up

SERVE = "import sys, pathlib; from pool.main import Options, serve; serve(Options(config=pathlib.Path(sys.argv[1])))"
CONFIG = """
listen: 127.0.0.1:{port}
state_dir: {state}
backend: {{type: simulated, start: 0.2s, stop: 0s, reset: 0s}}
defaults: {{ceiling: {{clusters: 1}}}}
"""


class RealDaemon:
    """A daemon that can be killed and started again at the same address."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.token_file = home / "state" / "operator.token"

    def start(self) -> None:
        config = self.home / "warmpool.yaml"
        config.write_text(CONFIG.format(port=self.port, state=self.home / "state"))
        announcement = self.home / "state" / "daemon.json"
        announcement.unlink(missing_ok=True)
        with (self.home / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-c", SERVE, str(config)], stdout=log, stderr=log)
        until = time.monotonic() + 60
        while not announcement.exists():
            assert self.process.poll() is None, (self.home / "daemon.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        self.url = json.loads(announcement.read_text())["url"].rstrip("/")
        self.port = int(self.url.rsplit(":", 1)[1])

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def get(self, path: str) -> dict:
        headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}
        return httpx.get(self.url + path, headers=headers, trust_env=False).json()

    def post(self, path: str, body: dict | None = None) -> dict:
        headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}
        answer = httpx.post(self.url + path, json=body or {}, headers=headers, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json()

    def await_waiters(self, tenant: str, count: int) -> list[dict]:
        until = time.monotonic() + 30
        while len(items := self.get(f"/v1/waiters?tenant={tenant}")["items"]) != count:
            assert time.monotonic() < until, items
            time.sleep(0.02)
        return items


@contextlib.contextmanager
def running(home: Path) -> Iterator[RealDaemon]:
    real = RealDaemon(home)
    try:
        real.start()
        yield real
    finally:
        real.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """Shared by the tests that leave it running: each is a tenant of its own."""
    with running(tmp_path_factory.mktemp("daemon")) as real:
        yield real


@pytest.fixture
def client(daemon):
    with Client(daemon.url, token_file=daemon.token_file) as client:
        yield client


@pytest.fixture
def wanted(request):
    return LeaseRequest("local", f"p/{request.node.name}", "me", timeout_s=60.0)


def test_a_cold_start_is_followed_by_a_hit(daemon, client, wanted):
    seen: list[Progress] = []
    with client.lease(wanted, progress=seen.append) as first:
        assert first.outcome == "cold"
        assert first.reason == "no_cluster"
    assert seen[-1].phase == "granted"
    assert len(seen) >= 2
    with client.lease(wanted) as second:
        assert second.cluster.id == first.cluster.id
        assert second.epoch > first.epoch
        until = time.monotonic() + 30
        while daemon.get(f"/v1/leases/{second.id}")["state"] != "active":
            assert time.monotonic() < until, "the grant was never claimed"
            time.sleep(0.02)
    assert daemon.get(f"/v1/leases/{second.id}")["end_reason"] == "released"


def test_a_lease_whose_cluster_died_with_a_killed_daemon_is_told_so_by_the_next_one(tmp_path, wanted, renew_now):
    # Simulated clusters live in their daemon: here the daemon's return is what tells that the cluster is lost.
    with (
        running(tmp_path) as daemon,
        Client(daemon.url, token_file=daemon.token_file) as client,
        client.lease(wanted, ttl_s=120) as lease,
    ):
        daemon.end(signal.SIGKILL)
        daemon.start()
        renew_now(client)
        assert lease.wait_lost(60)
        assert lease.state == "lost"
        with pytest.raises(LeaseLost) as caught:
            lease.check()
        assert caught.value.reason is Reason.CLUSTER_LOST


@pytest.fixture
def world_at_large(tmp_path):
    """Serves a daemon in this process, whose clusters outlive it as real ones do."""
    world = SimulatedWorld(behaviour=INSTANT)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    access = Access.load_or_create(tmp_path / "tokens.yaml")
    stops: list[Callable[[], Coroutine[None, None, None]]] = []

    async def start(port: int) -> str:
        daemon = Daemon(
            SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}"),
            SimulatedBackend(world),
            build_rules(Config().completed(), {}),
            Tokens.load_or_create(tmp_path / "tokens.key"),
            WallClock(),
        )
        server = await serve(create_app(daemon, access, None), "127.0.0.1", port)
        await daemon.start()

        async def stop() -> None:
            await server.close()
            await hang_up()
            await daemon.stop()

        stops.append(stop)
        return server.url.rstrip("/")

    async def stop() -> None:
        if stops:
            await stops.pop()()

    def do(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    yield SimpleNamespace(start=lambda port=0: do(start(port)), stop=lambda: do(stop()), home=tmp_path)
    do(stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_lease_survives_its_daemons_restart(world_at_large, wanted, renew_now):
    url = world_at_large.start()
    token_file = world_at_large.home / "operator.token"
    with Client(url, token_file=token_file) as client, client.lease(wanted, ttl_s=60) as lease:
        world_at_large.stop()
        renew_now(client)
        (entry,) = client._renewer._leases.values()
        while entry.retry is None:  # until a renewal has failed
            time.sleep(0.02)
        world_at_large.start(int(url.rsplit(":", 1)[1]))
        while entry.retry is not None:
            lease.check()
            time.sleep(0.02)
    with Client(url, token_file=token_file) as client, client.lease(wanted) as again:
        assert again.outcome == "hit"
        assert again.cluster.id == lease.cluster.id


def test_a_revoked_lease_is_lost(daemon, client, wanted):
    with client.lease(wanted, ttl_s=1.5) as lease:
        daemon.post(f"/v1/leases/{lease.id}/revoke", {"explanation": "For the test."})
        assert lease.wait_lost(30)
        assert lease.state == "lost"
        with pytest.raises(LeaseLost, match="For the test") as caught:
            lease.check()
        assert caught.value.reason is Reason.REVOKED


def test_what_befalls_a_lease_is_told_long_before_its_next_renewal(daemon, wanted, monkeypatch):
    monkeypatch.setattr(watching, "_AFTER_S", 0.5)
    # Not what earlier tests' leases were watched by: that waits as long as was said as it began.
    monkeypatch.setattr(renewal, "_renewers", {})
    with Client(daemon.url, token_file=daemon.token_file) as client, client.lease(wanted, ttl_s=600) as lease:
        time.sleep(1.5)  # by then it was renewed, and comes to that again in minutes
        daemon.post(f"/v1/clusters/{lease.cluster.id}/drain", {})
        until = time.monotonic() + 20
        while lease.hints != ("drain",):
            assert time.monotonic() < until
            time.sleep(0.02)
        daemon.post(f"/v1/leases/{lease.id}/revoke", {"explanation": "For the test."})
        assert lease.wait_lost(20)


def test_a_cancelled_wait_leaves_the_queue(daemon, client, wanted):
    async def main() -> None:
        async with AsyncClient(daemon.url, token_file=daemon.token_file) as other:
            task = asyncio.create_task(other.acquire(wanted))
            await asyncio.to_thread(daemon.await_waiters, wanted.tenant, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with client.lease(wanted):
        asyncio.run(main())
        daemon.await_waiters(wanted.tenant, 0)


def test_ctrl_c_while_queued_leaves_the_queue(daemon, client, wanted):
    def press() -> None:
        daemon.await_waiters(wanted.tenant, 1)
        time.sleep(0.2)  # a signal just before a blocking call is noticed only after it
        os.kill(os.getpid(), signal.SIGINT)

    def queue() -> None:
        with Client(daemon.url, token_file=daemon.token_file) as other, other.lease(wanted):
            pytest.fail("two leases on one cluster")

    with client.lease(wanted):
        pressing = threading.Thread(target=press)
        pressing.start()
        with pytest.raises(KeyboardInterrupt):
            queue()
        pressing.join()
        daemon.await_waiters(wanted.tenant, 0)


def test_a_waiter_gets_the_cluster_when_its_holder_releases(daemon, client, wanted):
    granted: list[str] = []

    def queue() -> None:
        with Client(daemon.url, token_file=daemon.token_file) as other, other.lease(wanted) as lease:
            granted.append(lease.outcome)

    with client.lease(wanted):
        thread = threading.Thread(target=queue)
        thread.start()
        daemon.await_waiters(wanted.tenant, 1)
        assert granted == []
    thread.join(30)
    assert granted in (["waited"], ["cold"])


def test_a_warm_miss_is_told_at_once(daemon, client, wanted):
    with pytest.raises(WarmMiss), client.lease(wanted, mode="warm_only"):
        pass


def test_the_environment_finds_the_daemon(daemon, monkeypatch, wanted):
    import pool

    monkeypatch.setenv("WARMPOOL_URL", daemon.url)
    monkeypatch.setenv("WARMPOOL_TOKEN_FILE", str(daemon.token_file))
    assert configured()
    with pool.lease(wanted) as lease:
        assert lease.environment()["RAY_AUTH_MODE"] == "token"

"""A daemon's HTTP side, scripted: a real server on a port of its own, in a thread."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from pool.client import AsyncClient, Client, LeaseRequest, watching

TOKEN = "the-client-token"
LEASE_TOKEN = "the-lease-secret"
CLUSTER_TOKEN = "the-cluster-secret"
CLUSTER_ADDRESS = "127.0.0.1:6399"
Json = dict[str, Any]
Scripted = Json | tuple[int, Json] | Callable[[Json], Any]


def granted(lease_id: str = "l-1", **changes: Any) -> Json:
    return {
        "status": "granted",
        "lease_id": lease_id,
        "token": LEASE_TOKEN,
        "epoch": 3,
        "outcome": "hit",
        "reason": None,
        "waited_s": 0.0,
        "ttl_s": 30.0,
        "remaining_s": 30.0,
        "cluster": {"id": "c-abc-1", "address": CLUSTER_ADDRESS, "token": CLUSTER_TOKEN, "ray_version": "2.60.0"},
        "pool": "abc",
        "group": "g",
        "resident": ["features"],
        "group_was_here": True,
    } | changes


def queued(lease_id: str = "l-1", **changes: Any) -> Json:
    return {
        "status": "queued",
        "lease_id": lease_id,
        "position": 2,
        "reason": "all_leased",
        "explanation": "Every warm cluster is leased.",
        "expected_s": 12.0,
        "phase": "queued",
        "waited_s": 0.1,
        "remaining_s": 600.0,
    } | changes


def problem(status: int, reason: str, **changes: Any) -> tuple[int, Json]:
    body = {"type": f"urn:warmpool:reason:{reason}", "title": "No", "status": status, "reason": reason}
    return status, body | {"detail": f"It is {reason}.", "remedy": "Do the other thing."} | changes


async def drain() -> None:
    """End what still runs in this loop, so that it can be closed with nothing left open."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await hang_up()


async def hang_up() -> None:
    """End all connections of this loop, after a server of it went down.

    Somebody may have connected meanwhile, and nobody else knows of that connection. Where asyncio was just about to
    accept it, not even the loop does: what it has made by then is left to the garbage (Python 3.11), and whoever
    connected waits until that is collected.
    """
    for transport in list(asyncio.get_running_loop()._transports.values()):
        transport.abort()
    for _ in range(3):  # transports close in the turns after they were told to
        await asyncio.sleep(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class FakeDaemon:
    """Answers acquires from a script, and renews until it is told otherwise.

    Attributes:
        acquires: answers to successive acquires; the last one is repeated. A callable is awaited with the body.
        renewal: the answer for each lease of a renewal; a callable is given the item.
        calls: (path, body) of every request, in order, but for those that wait for news.
        news: what such a call is answered with; a callable is awaited with the body. None: it is not known here.
        watches: the bodies of such calls.
    """

    granted = staticmethod(granted)
    queued = staticmethod(queued)
    problem = staticmethod(problem)
    token = TOKEN
    secrets = (TOKEN, LEASE_TOKEN, CLUSTER_TOKEN)

    def __init__(self) -> None:
        self.acquires: list[Scripted] = [granted()]
        self.renewal: Scripted = {"status": "renewed", "remaining_s": 30.0, "hints": []}
        self.release: Scripted = {"status": "ended", "lease_id": "l-1", "reason": "released"}
        self.calls: list[tuple[str, Json]] = []
        self.news: Scripted | None = None
        self.watches: list[Json] = []
        self.tokens: set[str] = {TOKEN}
        self.port = 0
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def close(self) -> None:
        self.stop()
        asyncio.run_coroutine_threadsafe(drain(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            await hang_up()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read() or b"{}")
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return self._response(problem(401, "unauthenticated"))
        if request.path == "/v1/watch":
            with self._changed:
                self.watches.append(body)
                self._changed.notify_all()
            return await self._scripted(problem(404, "unknown_path") if self.news is None else self.news, body)
        with self._changed:
            self.calls.append((request.path, body))
            nth = sum(path == "/v1/leases" for path, _ in self.calls)
            self._changed.notify_all()
        if request.path == "/v1/leases":
            return await self._scripted(self.acquires[min(nth, len(self.acquires)) - 1], body)
        if request.path == "/v1/renew":
            results = []
            for item in body["leases"]:
                assert item["token"] == LEASE_TOKEN
                answer = self.renewal(item) if callable(self.renewal) else self.renewal
                if isinstance(answer, tuple):
                    return self._response(answer)
                results.append({"lease_id": item["lease_id"]} | answer)
            return self._response({"results": results})
        return await self._scripted(self.release, body)

    async def _scripted(self, answer: Scripted, body: Json) -> web.Response:
        if callable(answer):
            answer = answer(body)
            if asyncio.iscoroutine(answer):
                answer = await answer
        return self._response(answer)

    def _response(self, answer: Any) -> web.Response:
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        headers = {"Retry-After": str(body.pop("retry_after"))} if "retry_after" in body else {}
        return web.json_response(body, status=status, headers=headers)

    # --- what tests ask ---

    def paths(self) -> list[str]:
        with self._changed:
            return [path for path, _ in self.calls]

    def bodies(self, path: str) -> list[Json]:
        with self._changed:
            return [body for called, body in self.calls if called == path]

    def await_calls(self, path: str, count: int, within_s: float = 10.0) -> list[Json]:
        """Return the bodies of the calls to `path` once there are `count`."""
        until = time.monotonic() + within_s
        with self._changed:
            while len(found := [body for called, body in self.calls if called == path]) < count:
                if not self._changed.wait(until - time.monotonic()):
                    raise AssertionError(f"{len(found)} of {count} calls to {path}: {[p for p, _ in self.calls]}")
            return found


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    daemon = FakeDaemon()
    daemon.start()
    yield daemon
    daemon.close()


@pytest.fixture
def renew_now() -> Callable[[Client], None]:
    """Make every lease of a client due for renewal, whatever its ttl."""

    def due(client: Client) -> None:
        renewer = client._renewer
        with renewer._wake:
            for entry in renewer._leases.values():
                entry.at = 0.0
            renewer._wake.notify()

    return due


@pytest.fixture
def client(fake: FakeDaemon) -> Iterator[Client]:
    with Client(fake.url, TOKEN) as client:
        yield client


@pytest.fixture
async def aclient(fake: FakeDaemon) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fake.url, TOKEN) as client:
        yield client


@pytest.fixture
def wanted() -> LeaseRequest:
    return LeaseRequest("local", "p/d", "me", timeout_s=10.0)


@pytest.fixture
def environment(fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {"WARMPOOL_URL": fake.url, "WARMPOOL_TOKEN": TOKEN}
    monkeypatch.delenv("WARMPOOL_TOKEN_FILE", raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture(autouse=True)
def renewals_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no lease watched, unless a test says otherwise: it would connect while its daemon is stopped."""
    monkeypatch.setattr(watching, "_AFTER_S", 30.0)


@pytest.fixture(autouse=True)
def python_answers_ctrl_c() -> Iterator[None]:
    # Importing flytekit takes SIGINT for itself, for the rest of the process.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

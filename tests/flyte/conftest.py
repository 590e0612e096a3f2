"""A small daemon that grants what it is told to, and real clusters for the tests that need Ray."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pool.flyte import acquire, holding
from tests.heads import head


def pytest_configure(config: pytest.Config) -> None:
    # flytekit leaves the directory of each task's checkpoint to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:Implicitly cleaning up:ResourceWarning")
    # flytekit's own entrypoint asks for it.
    config.addinivalue_line("filterwarnings", "ignore:`disable_deck` is deprecated")
    # Flyte 2 leaves the template of its reports to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed file .*flyte/report/_template.html:ResourceWarning")
    # Flyte 2's own models, made at its first run.
    config.addinivalue_line("filterwarnings", "ignore:Support for class-based `config` is deprecated")


Json = dict[str, Any]


@dataclass
class FakeDaemon:
    """Grants clusters in turn, at once, and remembers what it was asked.

    Attributes:
        clusters: access of the clusters that it grants.
        asked: bodies of the acquires.
        leases: lease id by request id.
        released: ids of the leases that were released, in order.
        events: ("grant" | "release", lease id), in order.
        lost: reason by lease id, for leases that it ended itself.
        refusal: reason with which it refuses each acquire.
        granted: fields of its grants that differ.
        gave_back: counts up with each release.
    """

    clusters: list[Json]
    asked: list[Json] = field(default_factory=list)
    leases: dict[str, str] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    granted: Json = field(default_factory=dict)
    ttl_s: float = 30.0
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    lock: threading.Lock = field(default_factory=threading.Lock)
    gave_back: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def held(self) -> list[str]:
        return [lease for lease in self.leases.values() if lease not in self.released]

    def answer(self, path: str, body: Json) -> tuple[int, Json]:
        with self.lock:
            if path == "/v1/leases":
                return self._acquire(body)
            if path == "/v1/renew":
                return 200, {"results": [self._renew(item["lease_id"]) for item in body["leases"]]}
            if path == "/v1/watch":
                # As an older daemon: renewals tell.
                return 404, _problem("unknown_path")
            lease, verb = path.removeprefix("/v1/leases/").split("/")
            assert verb in {"release", "cancel"}, path
            if verb == "release":
                self.released.append(lease)
                self.events.append(("release", lease))
                self.gave_back.release()
            return 200, {"status": "ended", "lease_id": lease, "reason": "released"}

    def _acquire(self, body: Json) -> tuple[int, Json]:
        request = body["request_id"]
        self.asked.append(body)
        if self.refusal:
            return 409, _problem(self.refusal)
        lease = self.leases.get(request)
        if lease in self.released:
            return 409, _problem("request_ended")
        if lease is None:
            lease = self.leases[request] = f"l-{len(self.leases) + 1}"
            self.events.append(("grant", lease))
        cluster = self.clusters[(int(lease[2:]) - 1) % len(self.clusters)]
        return 200, {
            "status": "granted", "lease_id": lease, "token": "t", "epoch": 1, "outcome": "hit", "reason": None,
            "waited_s": 0.001, "ttl_s": self.ttl_s, "remaining_s": self.ttl_s, "cluster": cluster, "pool": "p",
            "group": body["group"], **self.granted,
        }  # fmt: skip

    def _renew(self, lease: str) -> Json:
        if lease in self.lost:
            return {"status": "ended", "lease_id": lease, "reason": self.lost[lease]}
        return {"status": "renewed", "lease_id": lease, "remaining_s": self.ttl_s}


def _problem(reason: str) -> Json:
    return {"type": f"urn:warmpool:reason:{reason}", "title": reason, "status": 409, "reason": reason}


def _handler(daemon: FakeDaemon) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
            assert self.headers["Authorization"] == f"Bearer {daemon.token}"
            status, answer = daemon.answer(self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            kind = "application/problem+json" if status >= 400 else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@contextmanager
def _serving(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(daemon))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("WARMPOOL_URL", url)
    monkeypatch.setenv("WARMPOOL_TOKEN", daemon.token)
    monkeypatch.delenv("WARMPOOL_TOKEN_FILE", raising=False)
    try:
        yield daemon
    finally:
        acquire._client(url, daemon.token, "").close()
        acquire._client.cache_clear()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def task_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Json]]:
    """Return the lines that the tasks of this test wrote."""
    path = tmp_path / "tasks.jsonl"
    monkeypatch.setenv("WARMPOOL_TASK_LOG", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon whose clusters do not exist."""
    clusters = [{"id": f"c-{n}", "address": f"10.0.0.{n}:6379", "token": f"secret-{n}"} for n in (1, 2)]
    with _serving(FakeDaemon(clusters), monkeypatch) as served:
        yield served


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record connections instead of making them: ``+address``, ``-address``."""
    log: list[str] = []

    @contextmanager
    def connected(access: Any, runtime_env: Any, *, local: bool) -> Iterator[None]:
        assert not log or log[-1].startswith("-"), "two connections at once"
        log.append(f"+{access.id}")
        try:
            yield
        finally:
            log.append(f"-{access.id}")

    monkeypatch.setattr(holding, "connected", connected)
    return log


# --- real clusters -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real_clusters() -> Iterator[list[Json]]:
    """Two clusters with different tokens."""
    with ExitStack() as stack:
        starting = [stack.enter_context(head(name)) for name in "ab"]
        yield [await_ready() for await_ready in starting]


@pytest.fixture
def real_daemon(real_clusters: list[Json], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon that grants the two real clusters in turn."""
    with _serving(FakeDaemon(list(real_clusters)), monkeypatch) as served:
        yield served

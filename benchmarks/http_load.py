"""A load generator that costs little: raw HTTP/1.1 over asyncio, so that the server is what is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """Connect."""
        _, protocol = await asyncio.get_running_loop().create_connection(cls, host, port)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        """Collect one answer (both servers send Content-Length)."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        length = int(lower[at:].split(b"\r\n", 1)[0])
        if len(body) >= length and self._answer is not None:
            self._buffer = body[length:]
            self._answer.set_result((int(head[9:12]), body[:length]))

    async def post(self, path: str, token: str, body: bytes) -> dict[str, Any]:
        """Send one request and return the parsed answer.

        Raises:
            RuntimeError: on any status but 200.
        """
        self._answer = asyncio.get_running_loop().create_future()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        assert self._transport is not None
        self._transport.write(head.encode() + body)
        status, answer = await self._answer
        if status != 200:
            raise RuntimeError(f"{path}: {status} {answer[:300]!r}")
        return json.loads(answer)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class Cycle:
    """Acquire, then release: two requests. Latencies in seconds."""

    def __init__(self, connection: Connection, token: str, make: Callable[[], bytes]) -> None:
        self._connection = connection
        self._token = token
        self._make = make
        self.acquire_s: list[float] = []
        self.release_s: list[float] = []
        self.hits = 0

    async def run(self, since: float | None = None) -> None:
        """Run one cycle; latency of the acquire counts from `since` (when it was due), if given."""
        body = self._make()
        began = time.perf_counter()
        while "token" not in (grant := await self._connection.post("/v1/leases", self._token, body)):
            # Queued: the same request again waits on.
            pass
        granted = time.perf_counter()
        self.acquire_s.append(granted - (began if since is None else since))
        self.hits += grant.get("outcome") == "hit"
        proof = json.dumps({"token": grant["token"], "epoch": grant["epoch"]}).encode()
        await self._connection.post(f"/v1/leases/{grant['lease_id']}/release", self._token, proof)
        self.release_s.append(time.perf_counter() - granted)


async def closed_loop(cycles: list[Cycle], seconds: float) -> float:
    """Run every cycle again and again for a while and return requests per second."""
    end = time.perf_counter() + seconds

    async def repeat(cycle: Cycle) -> int:
        done = 0
        while time.perf_counter() < end:
            await cycle.run()
            done += 1
        return done

    began = time.perf_counter()
    done = await asyncio.gather(*(repeat(cycle) for cycle in cycles))
    return 2 * sum(done) / (time.perf_counter() - began)


async def open_loop(cycles: list[Cycle], cycles_per_s: float, seconds: float) -> None:
    """Begin cycles at a fixed rate whatever the server does; a late one counts from when it was due."""
    free: asyncio.Queue[Cycle] = asyncio.Queue()
    for cycle in cycles:
        free.put_nowait(cycle)
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        cycle = await free.get()
        try:
            await cycle.run(due)
        finally:
            free.put_nowait(cycle)

    began = time.perf_counter()
    for n in range(int(cycles_per_s * seconds)):
        due = began + n / cycles_per_s
        wait_s = due - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        tasks.add(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)

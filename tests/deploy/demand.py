"""Demand on a served daemon that brings forth whatever can happen to a lease."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import httpx

from tests.serving import Served

CONFIG = """
listen: 127.0.0.1:0
backend: {type: simulated, start: 100ms, stop: 50ms, reset: 30ms, start_fails: 0.4, reset_fails: 0.3}
reconcile_interval: 1s
defaults: {quarantine: 3s, breaker_failures: 2, breaker_open: 3s, backoff: 100ms, backoff_max: 200ms, idle_ttl: 2s}
pools:
- {name: small, match: {image: small}, ceiling: {clusters: 2}, max_waiting: 6, max_uses: 3}
- {name: floor, match: {image: floor}, min_idle: 1}
"""

_NUMBERS = itertools.count(1)


class Demand:
    """Holders that come, wait, work, vanish and make mistakes. Ends with the `async with` block."""

    def __init__(self, served: Served) -> None:
        token = (served.state_dir / "client.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60, trust_env=False)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Demand:
        await self._http.__aenter__()
        # A burst makes some wait, and some find the queue full; later ones find what the burst has left.
        work = [self._often(image, work_s) for image in ("small", "floor", "other") for work_s in (0.05,) * 5]
        work += [self._vanish(), self._give_up()]
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()
        errors = [e for e in ended if isinstance(e, Exception) and not isinstance(e, httpx.TransportError)]
        assert not errors, errors

    async def acquire(self, image: str, timeout_s: float = 5.0, **fields: Any) -> dict[str, Any] | None:
        """Return a granted lease, or None if there was none in that time."""
        n = next(_NUMBERS)
        body = {
            "request_id": f"r-{n}", "key": {"image": image, "tenant": "p/d"}, "holder": f"h-{n}",
            "timeout_s": timeout_s, "wait_s": timeout_s + 5, **fields,
        }  # fmt: skip
        while True:
            answer = await self._http.post("/v1/leases", json=body)
            if answer.status_code != 200:
                return None
            if (granted := answer.json())["status"] == "granted":
                return granted

    async def _prove(self, verb: str, lease: dict[str, Any], off: int = 0) -> httpx.Response:
        proof = {"token": lease["token"], "epoch": lease["epoch"] + off}
        return await self._http.post(f"/v1/leases/{lease['lease_id']}/{verb}", json=proof)

    async def _often(self, image: str, work_s: float) -> None:
        while True:
            if (lease := await self.acquire(image)) is None:
                await asyncio.sleep(0.1)
                continue
            await self._prove("renew", lease)
            assert (await self._prove("renew", lease, off=1)).status_code == 409
            await asyncio.sleep(work_s)
            await self._prove("release", lease)
            await asyncio.sleep(work_s)

    async def _vanish(self) -> None:
        while True:
            if (lease := await self.acquire("other", ttl_s=1)) is not None:
                await self._prove("renew", lease)
            await asyncio.sleep(0.5)

    async def _give_up(self) -> None:
        while True:
            await self.acquire("small", timeout_s=0.02)
            await asyncio.sleep(0.2)

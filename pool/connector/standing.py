"""What the pool knows of the connector's leases: how they stand, and how they ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError

from pool.client import NotAllowed, Unreachable
from pool.client.endpoint import Endpoint
from pool.wire.lists import LeaseList, PoolList, WaiterList
from pool.wire.views import LeaseView, WaiterView

TIMEOUT_S = 10.0
_LISTS: dict[str, TypeAdapter[Any]] = {
    "leases": TypeAdapter(LeaseList),
    "waiters": TypeAdapter(WaiterList),
    "pools": TypeAdapter(PoolList),
}


class Standing:
    """Looks into the daemon's lists."""

    def __init__(self, http: httpx.AsyncClient, endpoint: Endpoint) -> None:
        self._http = http
        self._endpoint = endpoint

    async def lease(self, request_id: str, holder: str) -> LeaseView | WaiterView | None:
        """Return the lease that a holder asked for with a request id, also one that waits or ended; None for none.

        Raises:
            Unreachable: if the daemon does not answer.
            NotAllowed: if it refuses the token.
        """
        for what, query in (("leases", {}), ("waiters", {}), ("leases", {"state": "ended"})):
            async for one in self._all(what, {"holder": holder, **query}):
                if one.request_id == request_id:
                    found: LeaseView | WaiterView = one
                    return found
        return None

    async def leases(self, prefix: str) -> list[LeaseView]:
        """Return the living leases whose request ids begin with `prefix`.

        Raises:
            Unreachable: if the daemon does not answer.
            NotAllowed: if it refuses the token.
        """
        return [one async for one in self._all("leases", {}) if one.request_id.startswith(prefix)]

    async def keys(self) -> dict[str, dict[str, Any]]:
        """Return the keys of the pools by digest.

        Raises:
            Unreachable: if the daemon does not answer.
            NotAllowed: if it refuses the token.
        """
        return {one.digest: dict(one.key) async for one in self._all("pools", {})}

    async def cancel(self, lease_id: str) -> None:
        """Take a queued acquire back; nothing happens if it does not wait any more.

        Raises:
            Unreachable: if the daemon does not answer.
            NotAllowed: if it refuses the token.
        """
        await self._ask("POST", f"/v1/leases/{lease_id}/cancel", {})

    async def _all(self, what: str, query: dict[str, str]) -> AsyncIterator[Any]:
        after: dict[str, str] = {}
        while True:
            answer = await self._ask("GET", f"/v1/{what}", {**query, "limit": "1000", **after})
            try:
                part = _LISTS[what].validate_json(answer.content)
            except ValidationError:
                raise Unreachable(f"The daemon at {self._endpoint.url} does not tell of its {what}.") from None
            for item in part.items:
                yield item
            if part.next is None:
                return
            after = {"after": part.next}

    async def _ask(self, method: str, path: str, params: dict[str, str]) -> httpx.Response:
        for _ in range(2):
            try:
                answer = await self._http.request(
                    method,
                    self._endpoint.url + path,
                    params=params,
                    headers=self._endpoint.headers(),
                    content=b"{}" if method == "POST" else None,
                    timeout=TIMEOUT_S,
                )
            except httpx.HTTPError as error:
                raise Unreachable(f"No daemon answers at {self._endpoint.url}: {error}.") from None
            if answer.status_code != 401 or not self._endpoint.reload():
                break
        if answer.status_code in (401, 403):
            raise NotAllowed(_detail(answer) or f"The daemon at {self._endpoint.url} refuses the token.")
        return answer


def _detail(answer: httpx.Response) -> str:
    """Return what a problem document says; empty if it is none."""
    try:
        return str(answer.json()["detail"])
    except (KeyError, TypeError, ValueError):
        return ""

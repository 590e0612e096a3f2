"""The Kubernetes API as far as the daemon needs it: plain JSON over the official client, one error type."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.config.incluster_config import SERVICE_TOKEN_FILENAME

RAY, CORE = "/apis/ray.io/v1", "/api/v1"
MANAGER = "warmpool"


class ApiError(Exception):
    """The API refused a request (`status` is its HTTP status), or could not be reached (`status` 0)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the API was not there or had no time: the same request may succeed a little later."""
        return self.status in (0, 429, 502, 503, 504)


class Api:
    """A connection to one Kubernetes."""

    def __init__(self, http: Any, request_s: float) -> None:
        self._http = http
        self._request_s = request_s
        self.writes = 0

    @classmethod
    async def connect(cls, kubeconfig: str = "", context: str = "", request_s: float = 15.0) -> Api:
        """Return the API that the arguments name: a file's, the pod's own, or the user's default.

        Args:
            kubeconfig: a file; empty takes ``KUBECONFIG``, else the pod's own account, else the user's file.
            context: of the file; empty for its current one.
            request_s: bounds each request.

        Raises:
            ApiError: if none of them is there.
        """
        settings = client.Configuration()
        # The client's own configuration functions carry no types.
        load: Any = config
        in_pod = await asyncio.to_thread(Path(SERVICE_TOKEN_FILENAME).exists)
        try:
            if not kubeconfig and not os.environ.get("KUBECONFIG") and in_pod:
                load.load_incluster_config(client_configuration=settings)
            else:
                await load.load_kube_config(kubeconfig or None, context=context or None, client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise ApiError(0, f"Kubernetes cannot be reached: {error}") from error
        return cls(client.ApiClient(settings), request_s)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def get(self, path: str, **query: Any) -> Any:
        """Return what `path` holds."""
        return await self._ask("GET", path, query)

    async def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """Create an object and return it as it was stored."""
        self.writes += 1
        return await self._ask("POST", path, {"fieldManager": MANAGER}, body)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Merge `body` into an object; a `metadata.uid` in it must be the object's."""
        self.writes += 1
        kind = {"Content-Type": "application/merge-patch+json"}
        return await self._ask("PATCH", path, {"fieldManager": MANAGER}, body, kind)

    async def apply(self, path: str, body: Mapping[str, Any]) -> Any:
        """Apply `body` to an object as its server knows it, under our field manager, and return it as it was stored.

        A `metadata.uid` in it must be the object's, so that none is made that is gone; a `metadata.resourceVersion` its
        latest. Values are taken over from whoever set them before.
        """
        self.writes += 1
        kind = {"Content-Type": "application/apply-patch+yaml"}
        return await self._ask("PATCH", path, {"fieldManager": MANAGER, "force": "true"}, body, kind)

    async def delete(self, path: str, uid: str = "") -> None:
        """Delete an object, this one and no later one of its name; it may be gone already."""
        self.writes += 1
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self._ask("DELETE", path, {}, body)
        except ApiError as error:
            # Another uid: ours is gone, the one that is there belongs to somebody else.
            if error.status not in (404, 409):
                raise

    async def watch(self, path: str, silence_s: float, **query: Any) -> aiohttp.ClientResponse:
        """Return a watch that the server has accepted; `end` it in the end.

        Raises:
            ApiError: if it is refused. Its `events` raise it too.
        """
        query |= {"watch": "true", "allowWatchBookmarks": "true"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._request_s, sock_read=silence_s)
        try:
            async with asyncio.timeout(self._request_s):
                return await self._send("GET", path, query, timeout=timeout)
        except TimeoutError as error:
            raise ApiError(0, f"the watch of {path} was not answered in time") from error

    async def _ask(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        body: Mapping[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        timeout = aiohttp.ClientTimeout(total=self._request_s)
        response = await self._send(method, path, query, body, headers, timeout)
        try:
            return json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, f"{method} {path}: {str(error) or 'no answer in time'}") from error

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        body: Mapping[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        try:
            serialized = await self._http.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._http.call_api(*serialized, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            if response.status < 300:
                return response
            text = await response.text()
        except client.ApiException as error:
            raise ApiError(error.status or 0, f"{method} {path}: {error.reason}") from error
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise ApiError(0, f"{method} {path}: {str(error) or 'no answer in time'}") from error
        raise ApiError(response.status, _message(text))


async def events(watch: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a watch until the server ends it.

    Raises:
        ApiError: if it breaks off, or says nothing for too long.
    """
    try:
        async for line in watch.content:
            if line.strip():
                yield json.loads(line)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise ApiError(0, f"a watch broke: {str(error) or 'it said nothing'}") from error


def end(watch: aiohttp.ClientResponse) -> None:
    """End a watch and its connection at once.

    Merely closed, the connection would wait for the other side's end of TLS: for half a minute where that is half open,
    with nobody who waits for it.
    """
    if watch.connection is not None and watch.connection.transport is not None:
        watch.connection.transport.abort()
    watch.close()


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300]

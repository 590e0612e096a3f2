"""Steps of a conversation with the daemon, and who performs them: one way for threads, one for asyncio.

A conversation (`pool.client.talk`) is a generator that yields steps and is sent their results, so that what is said
is written once and only the waiting differs.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pool.client.endpoint import Endpoint

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Post:
    """Send `body` to `path` and wait for the answer for `timeout_s` (connecting takes at most `connect_s`)."""

    path: str
    body: bytes = field(repr=False)  # it holds secrets
    timeout_s: float
    connect_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for `for_s`."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `sent_at` and `received_at` are of the monotonic clock."""

    status: int
    body: bytes = field(repr=False)  # it holds secrets
    retry_after_s: float | None
    sent_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back. `connected`: the daemon was reached, so it may have read the request."""

    why: str
    connected: bool


Step = Post | Pause
Result = Answer | NoAnswer | None
Conversation = Generator[Step, Result, T]


class Transport:
    """Performs steps in the calling thread, over one kept-alive connection per thread that talks."""

    def __init__(self, endpoint: Endpoint) -> None:
        # Imported here: it takes a third of a second, and who only looks whether a daemon is configured needs none.
        import httpx

        self._endpoint = endpoint
        self._http = httpx.Client(base_url=endpoint.url, **_options(endpoint))

    def run(self, conversation: Conversation[T]) -> T:
        """Perform a conversation to its end; return its result or raise its error."""
        result: Result = None
        try:
            while True:
                step = conversation.send(result)
                result = self._perform(step)
        except StopIteration as end:
            value: T = end.value
            return value

    def _perform(self, step: Step) -> Result:
        if isinstance(step, Pause):
            time.sleep(step.for_s)
            return None
        result = self._post(step)
        if isinstance(result, Answer) and result.status == 401 and self._endpoint.reload():
            return self._post(step)
        return result

    def _post(self, step: Post) -> Answer | NoAnswer:
        import httpx

        sent_at = time.monotonic()
        try:
            response = self._http.post(
                step.path, content=step.body, headers=self._endpoint.headers(), timeout=_timeout(step)
            )
        except httpx.TransportError as error:
            return _no_answer(error)
        return _answer(response, sent_at)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncTransport:
    """Performs steps in the running event loop, to which it belongs from then on."""

    def __init__(self, endpoint: Endpoint) -> None:
        import httpx

        self._endpoint = endpoint
        self._http = httpx.AsyncClient(base_url=endpoint.url, **_options(endpoint))

    async def run(self, conversation: Conversation[T]) -> T:
        """Perform a conversation to its end; return its result or raise its error."""
        result: Result = None
        try:
            while True:
                step = conversation.send(result)
                result = await self._perform(step)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _perform(self, step: Step) -> Result:
        if isinstance(step, Pause):
            await asyncio.sleep(step.for_s)
            return None
        result = await self._post(step)
        if isinstance(result, Answer) and result.status == 401 and self._endpoint.reload():
            return await self._post(step)
        return result

    async def _post(self, step: Post) -> Answer | NoAnswer:
        import httpx

        sent_at = time.monotonic()
        try:
            response = await self._http.post(
                step.path, content=step.body, headers=self._endpoint.headers(), timeout=_timeout(step)
            )
        except httpx.TransportError as error:
            return _no_answer(error)
        return _answer(response, sent_at)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _options(endpoint: Endpoint) -> dict[str, Any]:
    import httpx

    return {
        # A proxy or a netrc of the environment is meant for the world outside, not for the daemon.
        "trust_env": False,
        # Without TLS the certificates are never used, and reading them takes 0.2 s.
        "verify": endpoint.url.startswith("https:"),
        # Every renewal finds its connection still open (httpx would drop it after 5 s).
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=60.0),
    }


def _timeout(step: Post) -> httpx.Timeout:
    import httpx

    return httpx.Timeout(step.timeout_s, connect=min(step.connect_s, step.timeout_s))


def _answer(response: httpx.Response, sent_at: float) -> Answer:
    return Answer(
        status=response.status_code,
        body=response.content,
        retry_after_s=_retry_after(response.headers.get("Retry-After", "")),
        sent_at=sent_at,
        received_at=time.monotonic(),
    )


def _retry_after(text: str) -> float | None:
    # A date is also allowed there; the daemon never sends one.
    return float(text) if text.isascii() and text.isdecimal() else None


def because(error: Exception) -> str:
    """Return why there was no answer, as a part of a sentence."""
    return re.sub(r"^\[Errno -?\d+\] (.)", lambda found: found[1].lower(), str(error)) or type(error).__name__


def _no_answer(error: httpx.TransportError) -> NoAnswer:
    import httpx

    connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return NoAnswer(because(error), connected)

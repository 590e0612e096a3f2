"""The list-and-watch cache, against a scripted API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from pool.backends.kuberay import cache as caching
from pool.backends.kuberay.cache import Cache
from pool.kube.api import Api


def item(uid: str, version: int) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "name": uid, "resourceVersion": str(version)}}


class Server:
    """An API server of one collection, whose watches do what the test says."""

    def __init__(self) -> None:
        self.items = [item("a", 1)]
        self.version = 1
        self.lists = 0
        self.watched_from: list[str] = []
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.status = 200

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.status != 200:
            return web.json_response({"message": "not now"}, status=self.status)
        if "watch" not in request.query:
            self.lists += 1
            return web.json_response({"items": self.items, "metadata": {"resourceVersion": str(self.version)}})
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await self.events.get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        return response


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, Api]]:
    monkeypatch.setattr(caching, "FIRST_PAUSE_S", 0.01)
    made, app = Server(), web.Application()
    app.router.add_get("/things", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    api = Api(client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{port}")), 2.0)
    yield made, api
    await api.close()
    await runner.cleanup()


class Followed:
    """A cache and what it told."""

    def __init__(self, api: Api, silence_s: float = 5.0) -> None:
        self.told: list[tuple[str, bool]] = []
        self.cache = Cache(api, "/things", lambda one: one, self._changed, watch_s=1.0, silence_s=silence_s)

    def _changed(self, one: dict[str, Any], deleted: bool) -> None:
        self.told.append((one["metadata"]["uid"], deleted))

    async def __aenter__(self) -> Followed:
        self.cache.start()
        assert await self.cache.listed(5.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cache.close()

    async def tells(self, *wanted: tuple[str, bool]) -> None:
        await until(lambda: set(wanted) <= set(self.told))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in a server
            await asyncio.sleep(0.01)


async def seen(server: Server, watches: int) -> None:
    await until(lambda: len(server.watched_from) >= watches)


async def test_what_is_listed_and_what_the_watch_tells_is_kept(server: tuple[Server, Api]) -> None:
    made, api = server
    async with Followed(api) as followed:
        await made.events.put({"type": "ADDED", "object": item("b", 2)})
        await made.events.put({"type": "DELETED", "object": item("a", 3)})
        await followed.tells(("a", False), ("b", False), ("a", True))
        assert set(followed.cache.items) == {"b"}
        assert followed.cache.fresh


async def test_a_watch_that_ends_goes_on_from_the_last_bookmark_without_a_list(server: tuple[Server, Api]) -> None:
    made, api = server
    async with Followed(api):
        await made.events.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}})
        await made.events.put(None)
        await seen(made, 2)
        assert (made.watched_from, made.lists) == (["1", "77"], 1)


async def test_a_version_that_is_too_old_is_listed_anew_and_what_went_meanwhile_is_told(
    server: tuple[Server, Api],
) -> None:
    made, api = server
    async with Followed(api) as followed:
        await seen(made, 1)
        made.items, made.version = [item("c", 9)], 9
        await made.events.put({"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}})
        await followed.tells(("a", True), ("c", False))
        await seen(made, 2)
        assert (made.watched_from, made.lists) == (["1", "9"], 2)


async def test_a_half_open_connection_is_given_up_and_taken_up_again(server: tuple[Server, Api]) -> None:
    made, api = server
    async with Followed(api, silence_s=-0.8) as followed:  # the watch's 1.0 s, and so 0.2 s of silence
        await seen(made, 2)
        assert made.lists == 1
        assert set(followed.cache.items) == {"a"}


async def test_while_the_server_is_away_nothing_is_forgotten_and_nothing_is_fresh(server: tuple[Server, Api]) -> None:
    made, api = server
    async with Followed(api) as followed:
        await seen(made, 1)
        made.status = 503
        await made.events.put(None)
        await until(lambda: not followed.cache.fresh)
        assert set(followed.cache.items) == {"a"}
        made.status = 200
        await seen(made, 2)
        await until(lambda: followed.cache.fresh)
        assert ("a", True) not in followed.told


async def test_a_server_that_is_away_at_first_keeps_nobody_waiting_and_is_taken_up_when_it_comes(
    server: tuple[Server, Api],
) -> None:
    made, api = server
    made.status = 503
    followed = Followed(api)
    followed.cache.start()
    async with asyncio.timeout(5.0):
        assert not await followed.cache.listed(60.0)
    made.status = 200
    await until(lambda: followed.cache.fresh)
    await followed.cache.close()

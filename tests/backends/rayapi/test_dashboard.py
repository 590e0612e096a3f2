"""A cluster that accepts a connection and says nothing is told from one that refuses."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from kubernetes.aio import client

from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.kube.api import Api, ApiError


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_no_answer_in_time_is_said_of_a_head_and_of_kubernetes() -> None:
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, aiohttp.ClientSession() as http:
        with pytest.raises(DashboardError, match=r"^GET /api/version: no answer in time$"):
            await Dashboard(http, url, "token", 0.1).get("/api/version")
        api = Api(client.ApiClient(client.Configuration(host=url)), 0.1)
        with pytest.raises(ApiError, match=r"^GET /version: no answer in time$"):
            await api.get("/version")
        await api.close()

"""A real Prometheus reads the metrics, and its own linter finds nothing."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from aiohttp import web
from prometheus_client import generate_latest

from pool.core.events import Release
from pool.metrics import Metrics
from tests.by_hand import Core

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="needs prometheus and promtool: sudo apt-get install prometheus",
    ),
]


def metrics_of_a_busy_hour() -> Metrics:
    core = Core()
    metrics = Metrics(lambda: core.state, clock_now=lambda: core.now)
    metrics.announce(["small", "default"])
    core.observers.append(metrics.observe)
    core.acquire("l-1")
    core.after(8)
    core.started()
    core(Release("l-1", 1))
    core.reset()
    core.after(30)
    core.acquire("l-2")
    metrics.observe_commit(2, 0.001)
    return metrics


async def test_promtool_finds_nothing_to_say() -> None:
    promtool = await asyncio.create_subprocess_exec(
        "promtool", "check", "metrics",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await promtool.communicate(generate_latest(metrics_of_a_busy_hour().registry))
    assert promtool.returncode == 0, said.decode()
    assert said.decode().strip() == ""


@asynccontextmanager
async def endpoint(metrics: Metrics) -> AsyncIterator[str]:
    async def show(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    app = web.Application()
    app.router.add_get("/metrics", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def prometheus(target: str, home: Path) -> AsyncIterator[httpx.AsyncClient]:
    scrape = {"job_name": "warmpool", "static_configs": [{"targets": [target]}]}
    config = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": [scrape]}
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (home / "log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            "prometheus", f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data",
            f"--web.listen-address={address}", stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            yield client
    finally:
        server.terminate()
        await server.wait()


async def ask(client: httpx.AsyncClient, query: str, log: Path) -> float:
    """Ask Prometheus until it knows an answer."""
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    answer = await client.get("/api/v1/query", params={"query": query})
                    if answer.status_code == 200 and (found := answer.json()["data"]["result"]):
                        return float(found[0]["value"][1])
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
    except TimeoutError:
        said = await asyncio.to_thread(log.read_text)
        raise AssertionError(f"no answer to {query}; the log ends with {said[-2000:]}") from None


async def test_a_real_prometheus_scrapes_the_metrics_and_can_be_asked(tmp_path: Path) -> None:
    async with endpoint(metrics_of_a_busy_hour()) as target, prometheus(target, tmp_path) as client:
        log = tmp_path / "log"
        assert await ask(client, 'sum(warmpool_grants_total{outcome="cold"})', log) == 1
        assert await ask(client, 'warmpool_grants_total{pool="small",outcome="hit",reason="none"}', log) == 1
        assert await ask(client, 'warmpool_wait_seconds_sum{pool="small",outcome="cold"}', log) == 8
        assert await ask(client, 'warmpool_clusters{pool="small",state="leased"}', log) == 1
        assert await ask(client, 'warmpool_cluster_state_seconds_total{pool="small",state="idle"}', log) == 30
        assert await ask(client, 'warmpool_grants_total{pool="default",outcome="hit"}', log) == 0
        assert await ask(client, 'up{job="warmpool"}', log) == 1
        ratio = 'sum(warmpool_grants_total{outcome="hit"}) / sum(warmpool_grants_total)'
        assert await ask(client, ratio, log) == 0.5

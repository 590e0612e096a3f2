"""A real Prometheus reads the metrics, and its own linter finds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from prometheus_client import generate_latest

from pool.core.events import Release
from pool.metrics import Metrics
from tests.by_hand import Core
from tests.prometheus import NEEDS_PROMETHEUS, prometheus

pytestmark = NEEDS_PROMETHEUS


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


async def test_a_real_prometheus_scrapes_the_metrics_and_can_be_asked(tmp_path: Path) -> None:
    async with (
        endpoint(metrics_of_a_busy_hour()) as target,
        prometheus(tmp_path, {"static_configs": [{"targets": [target]}]}) as server,
    ):
        assert await server.value('sum(warmpool_grants_total{outcome="cold"})') == 1
        assert await server.value('warmpool_grants_total{pool="small",outcome="hit",reason="none"}') == 1
        assert await server.value('warmpool_wait_seconds_sum{pool="small",outcome="cold"}') == 8
        assert await server.value('warmpool_clusters{pool="small",state="leased"}') == 1
        assert await server.value('warmpool_cluster_state_seconds_total{pool="small",state="idle"}') == 30
        assert await server.value('warmpool_grants_total{pool="default",outcome="hit"}') == 0
        assert await server.value('up{job="warmpool"}') == 1
        ratio = 'sum(warmpool_grants_total{outcome="hit"}) / sum(warmpool_grants_total)'
        assert await server.value(ratio) == 0.5

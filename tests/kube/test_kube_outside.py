"""A laptop that leases through a port-forward of the daemon, and follows what it is told to reach the cluster."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from pool.client import AsyncClient
from pool.client.outside import port_forward
from tests.kube.kit import IMAGE, SMALL
from tests.kube.release import NEEDS, Release

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300), NEEDS]

DRIVER = """
import ray, sys
ray.init(sys.argv[1], logging_level="warning")
print("got", ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


@asynccontextmanager
async def forwarded(command: str, count: int = 1) -> AsyncIterator[list[str]]:
    """Run a port-forward with free ports of this machine; yield their addresses in the order of the command."""
    # The command as it is told takes the same port here: two tests at once could not.
    words = [f":{word}" if word.isdecimal() else word for word in command.split()]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    found: list[str] = []
    try:
        async with asyncio.timeout(30):
            while len(found) < count:
                line = (await process.stdout.readline()).decode()
                assert line, "the port-forward ended"
                found += re.findall(r"Forwarding from (127\.0\.0\.1:\d+)", line)
        yield found
    finally:
        process.terminate()
        await process.wait()


async def test_from_outside_a_lease_and_its_dashboard_are_reached_as_the_client_tells(
    release: Release, tmp_path: Path
) -> None:
    await release.install()
    daemon = (await release.daemon())["metadata"]["name"]
    # The token of clients on a laptop, which an operator hands out.
    process = await asyncio.create_subprocess_exec(
        "kubectl", "exec", "-n", release.namespace, daemon, "--", "cat", "/var/lib/warmpool/client.token",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    token = (await process.communicate())[0].decode().strip()
    async with forwarded(f"kubectl port-forward -n {release.namespace} service/pool-warmpool 8787") as (here,):
        client = AsyncClient(f"http://{here}", token)
        async with client, client.lease(image=IMAGE, tenant="tests/kube", holder="me", shape={"head": SMALL}) as lease:
            access = lease.cluster
            assert access.dashboard_url.endswith(f"-head-svc.{release.namespace}.svc:8265")
            command = port_forward(access.client_address, access.dashboard_url)
            async with forwarded(command, 2) as (ray_client, dashboard), aiohttp.ClientSession() as http:
                async with http.get(f"http://{dashboard}/api/version") as refused:
                    assert refused.status == 401
                proof = {"Authorization": f"Bearer {access.token}"}
                async with http.get(f"http://{dashboard}/api/version", headers=proof) as answer:
                    assert (await answer.json())["ray_version"] == access.ray_version
                driver = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", DRIVER, f"ray://{ray_client}", env=lease.environment(), cwd=tmp_path,
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                )  # fmt: skip
                said = (await driver.communicate())[0].decode()
                assert "got 42" in said, said

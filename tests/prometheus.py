"""A real Prometheus server, for tests."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import yaml

NEEDS_PROMETHEUS = [
    pytest.mark.prometheus,
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="needs prometheus and promtool: sudo apt-get install prometheus",
    ),
]
T = TypeVar("T")


class Prometheus:
    """A server that runs.

    Args:
        client: speaks to it.
        log: what it says.
    """

    def __init__(self, client: httpx.AsyncClient, log: Path) -> None:
        self._client = client
        self._log = log

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer.

        Raises:
            AssertionError: with what the server says of the question.
        """
        answer = await self._client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def until(self, look: Callable[[], Awaitable[T | None]], what: str, within_s: float = 60.0) -> T:
        """Return what `look` finds; fail with the log if it never finds anything."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    with suppress(httpx.TransportError, AssertionError):  # it is still starting
                        if found := await look():
                            return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            said = await asyncio.to_thread(self._log.read_text)
            raise AssertionError(f"waited for {what}; the log ends with {said[-2000:]}") from None

    async def values(self, query: str) -> list[float]:
        """Return the values of a query now."""
        found = (await self.ask("query", query=query))["result"]
        return [float(one["value"][1]) for one in found]

    async def value(self, query: str) -> float:
        """Ask until there is an answer, and return its first value."""
        return (await self.until(lambda: self.values(query), f"an answer to {query}"))[0]


@asynccontextmanager
async def prometheus(
    home: Path, scrape: dict[str, Any], rules: tuple[Path, ...] = (), interval: str = "200ms"
) -> AsyncIterator[Prometheus]:
    """Run a server in `home` that scrapes one job, `warmpool`, and evaluates rules."""
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "warmpool", **scrape}],
        "rule_files": [str(file) for file in rules],
    }
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (home / "prometheus.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            "prometheus", f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data",
            f"--web.listen-address={address}", stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            yield Prometheus(client, home / "prometheus.log")
    finally:
        server.terminate()
        await server.wait()

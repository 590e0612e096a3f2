"""Something between a daemon and the Kubernetes API that can be taken away, or fall silent."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class Proxy:
    """Passes connections on to the API server that a kubeconfig names, until told otherwise."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
        where = urlsplit(self._config["clusters"][0]["cluster"]["server"])
        self._host, self._port = str(where.hostname), where.port or 443
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._own_port = 0
        self._speaking = asyncio.Event()
        self._speaking.set()

    async def open(self) -> None:
        """Let connections through (again)."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]

    def fall_silent(self) -> None:
        """Pass nothing on any more that comes over the connections there are, and close none; new ones speak."""
        self._speaking.clear()
        self._speaking = asyncio.Event()
        self._speaking.set()

    async def away(self) -> None:
        """Break every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def kubeconfig(self, file: Path) -> Path:
        """Write a kubeconfig that leads through this proxy."""
        cluster = self._config["clusters"][0]["cluster"]
        cluster = {**cluster, "server": f"https://127.0.0.1:{self._own_port}", "tls-server-name": self._host}
        clusters = [{**self._config["clusters"][0], "cluster": cluster}]
        file.write_text(yaml.safe_dump({**self._config, "clusters": clusters}))
        file.chmod(0o600)
        return file

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_pass(source, sink, self._speaking))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter, speaking: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            await speaking.wait()
            sink.write(data)
            await sink.drain()
        await speaking.wait()
        sink.close()

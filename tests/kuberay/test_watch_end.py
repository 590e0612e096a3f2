"""How a watch over TLS ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.aio import client

from pool.kube.api import Api, end, events
from tests.certificates import certificates

ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n"


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def answered_once(listening: socket.socket, context: ssl.SSLContext, last: asyncio.Future[bytes]) -> None:
    """Answer one watch with one event, and tell what comes last over the connection, undecrypted."""
    connection, _ = listening.accept()
    with context.wrap_socket(connection, server_side=True) as served:
        served.settimeout(10)
        while not served.recv(65_536).endswith(b"\r\n\r\n"):
            pass
        served.sendall(ANSWER)
        with socket.socket(fileno=socket.dup(served.fileno())) as plain:
            plain.settimeout(10)
            try:
                found = plain.recv(1, socket.MSG_PEEK)
            except ConnectionResetError:
                found = b""
    last.get_loop().call_soon_threadsafe(last.set_result, found)


async def test_a_watch_that_ends_waits_for_no_end_of_tls_of_the_other_side(
    tmp_path: Path, listening: socket.socket
) -> None:
    certificates(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    last = asyncio.get_running_loop().create_future()
    server = threading.Thread(target=answered_once, args=(listening, context, last))
    server.start()
    settings = client.Configuration(host=f"https://localhost:{listening.getsockname()[1]}")
    settings.ssl_ca_cert = str(tmp_path / "ca.crt")
    api = Api(client.ApiClient(settings), 10.0)
    watch = await api.watch("/things", 10.0)
    assert await anext(events(watch)) == {}
    end(watch)
    # A close would send its own end of TLS, and wait for an answer.
    assert await asyncio.wait_for(last, 10) == b""
    await api.close()
    await asyncio.to_thread(server.join)

"""The connector as a process: what it listens on, who may reach it, how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx

from pool.client import AsyncClient
from pool.client.endpoint import Endpoint
from pool.connector.errors import NotServed
from pool.connector.history import History
from pool.connector.runs import Runs
from pool.connector.service import Answering, register
from pool.connector.standing import Standing
from pool.connector.status import Tools
from pool.connector.telling import Telling

log = logging.getLogger("warmpool.connector")

LAST_ANSWERS_S = 1.0
"""How long calls under way may take at the end."""


@dataclass(frozen=True)
class Options:
    """How the connector is run.

    Attributes:
        url, token, token_file: of the daemon; one of the last two is empty.
        listen: ``host:port``.
        tls_cert, tls_key: of this server.
        client_ca: who signs the certificates of those that may call.
        trust_network: others than this machine may call without a certificate: a NetworkPolicy says which.
        env_dir: a directory of which each file is a variable for every task: its name, and its content.
        hold_s: how long the first answer about an attempt that has a cluster may wait for its end.
        wait_s: how long an attempt waits for its cluster at most.
        warm: whether tasks run in warm interpreters where they can.
        preload: modules that these import besides.
        learn: whether they import, when they are idle, what tasks of their image do.
        link: template of the dashboard's URL as people reach it.
        metrics: ``host:port`` for Prometheus; empty for none.
    """

    url: str
    token: str = field(default="", repr=False)
    token_file: str = ""
    listen: str = "127.0.0.1:8000"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    trust_network: bool = False
    env_dir: Path | None = None
    hold_s: float = 3.0
    wait_s: float = 3600.0
    warm: bool = True
    preload: tuple[str, ...] = ()
    learn: bool = True
    link: str = ""
    metrics: str = ""


def serve(options: Options, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. Leases and jobs outlive it: the next process goes on with them.

    Args:
        options: how.
        say: called with where it listens.

    Raises:
        NotServed: if it may not or cannot listen as it was told to.
        NotConfigured: if there is no daemon to ask.
    """
    check(options)
    credentials = credentials_of(options)
    environment = Environment(options.env_dir)
    environment()
    asyncio.run(_serve(options, credentials, environment, say))


async def _serve(
    options: Options,
    credentials: grpc.ServerCredentials | None,
    environment: Environment,
    say: Callable[[str], None],
) -> None:
    telling = Telling(options.metrics)
    client = AsyncClient(options.url, options.token, options.token_file)
    async with httpx.AsyncClient(trust_env=False) as http, client:
        standing = Standing(http, Endpoint(options.url, options.token, options.token_file))
        history = History() if options.learn else None
        tools = Tools(
            client, standing, http, environment, options.wait_s, options.warm, options.preload, history, telling.told
        )
        runs = Runs(tools)
        telling.watch(runs)
        server = grpc.aio.server()
        register(server, Answering(runs, options.hold_s, options.link))
        try:
            port = (
                server.add_insecure_port(options.listen)
                if credentials is None
                else server.add_secure_port(options.listen, credentials)
            )
        except RuntimeError:
            # What gRPC says of it is how to debug gRPC.
            raise NotServed(
                f"The connector cannot listen on {options.listen}: the port is taken, or the address is none of this "
                "machine's.",
                remedy="Choose another --listen, or stop who has it.",
            ) from None
        await server.start()
        runs.start()
        host = options.listen.rpartition(":")[0]
        say(f"warmpool connector: serving task type ray on {host}:{port}")
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await ended.wait()
        log.info("ending; leases and jobs go on, and the next process takes them over")
        await server.stop(LAST_ANSWERS_S)
        await runs.leave()
        telling.close()


class Environment:
    """The connector's own variables for every task, read anew for each: a mounted Secret may change."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def __call__(self) -> dict[str, str]:
        """Return them.

        Raises:
            NotServed: if the directory cannot be read.
        """
        if self._directory is None:
            return {}
        try:
            # A mounted Secret has its files behind links, and directories whose names begin with two dots.
            files = [path for path in sorted(self._directory.iterdir()) if path.is_file() and path.name[0] != "."]
            return {path.name: path.read_text(encoding="utf-8").rstrip("\n") for path in files}
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise NotServed(f"--env-dir {self._directory}: cannot be read: {why}.") from None


def check(options: Options) -> None:
    """Check what would only be seen once a task is there.

    Raises:
        NotServed: if an address, a module or the link is none.
    """
    for module in options.preload:
        if not all(map(str.isidentifier, module.split("."))):
            raise NotServed(f"--preload {module}: is no module.", remedy="Give the option once for each, as pandas.")
    for name, value in (("--listen", options.listen), ("--metrics", options.metrics)):
        if value and not value.startswith("unix:") and not re.fullmatch(r"\S+:\d{1,5}", value):
            raise NotServed(f"{name} {value}: is no address.", remedy="Write host:port, such as 127.0.0.1:8000.")
    try:
        options.link.format(url="", cluster="", job="")
    except (KeyError, IndexError, ValueError):
        raise NotServed(
            f"--link {options.link}: has something else in braces than {{url}}, {{cluster}} and {{job}}.",
            remedy="Write one such as https://ray.example.org/{cluster}.",
        ) from None


def credentials_of(options: Options) -> grpc.ServerCredentials | None:
    """Return with what the server proves itself and has its callers prove themselves; None for neither.

    Raises:
        NotServed: if strangers could reach it.
    """
    files = (options.tls_cert, options.tls_key, options.client_ca)
    if any(files):
        if not all(files):
            raise NotServed("--tls-cert, --tls-key and --client-ca are given together: callers prove themselves too.")
        try:
            cert, key, ca = (file.read_bytes() for file in files if file is not None)
        except OSError as error:
            raise NotServed(f"{error.filename}: cannot be read: {error.strerror}.") from None
        return grpc.ssl_server_credentials([(key, cert)], root_certificates=ca, require_client_auth=True)
    if not options.trust_network and not _is_loopback(options.listen):
        raise NotServed(
            f"Who reaches {options.listen} could run any command as any project.",
            remedy="Give --tls-cert, --tls-key and --client-ca, listen on 127.0.0.1, or say --trust-network where a "
            "NetworkPolicy lets in the Flyte backend alone.",
        )
    return None


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return listen.startswith("unix:") and os.sep in listen

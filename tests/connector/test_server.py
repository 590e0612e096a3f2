"""Who may reach the connector, and what it tells of itself. Nothing here needs a cluster."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc
from flyteidl2.connector import connector_pb2, service_pb2_grpc

from pool.client import AsyncClient
from pool.client.endpoint import Endpoint
from pool.connector.errors import NotServed
from pool.connector.runs import Runs
from pool.connector.server import Environment, Options, check, credentials_of, serve
from pool.connector.standing import Standing
from pool.connector.status import Tools
from tests.certificates import certificates
from tests.connector.requests import recorded1
from tests.serving import environment

NO_PROXY = [("grpc.enable_http_proxy", 0)]


@contextmanager
def running(home: Path, *arguments: str) -> Iterator[str]:
    """Run a connector whose daemon is away; yield its address."""
    token = home / "token"
    token.write_text("t" * 43)
    command = [sys.executable, "-m", "pool.cli", "--url", "http://127.0.0.1:9", "--token-file", str(token), "connector"]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "10.0.0.1:8000", "example.org:8000"])
def test_it_listens_elsewhere_only_with_certificates_or_on_the_operators_word(listen: str) -> None:
    options = Options("http://127.0.0.1:1", "t", listen=listen)
    with pytest.raises(NotServed, match="could run any command as any project"):
        credentials_of(options)
    assert credentials_of(Options("http://127.0.0.1:1", "t", listen=listen, trust_network=True)) is None


@pytest.mark.parametrize("listen", ["127.0.0.1:8000", "localhost:0", "[::1]:8000"])
def test_it_listens_on_this_machine_without_more(listen: str) -> None:
    assert credentials_of(Options("http://127.0.0.1:1", "t", listen=listen)) is None


def test_certificates_are_given_together(tmp_path: Path) -> None:
    with pytest.raises(NotServed, match="together"):
        credentials_of(Options("http://127.0.0.1:1", "t", tls_cert=tmp_path / "c", tls_key=tmp_path / "k"))
    files = {name: tmp_path / name for name in ("tls_cert", "tls_key", "client_ca")}
    with pytest.raises(NotServed, match="cannot be read"):
        credentials_of(Options("http://127.0.0.1:1", "t", **files))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"listen": "8000"}, "--listen 8000: is no address"),
        ({"metrics": "8001"}, "--metrics 8001: is no address"),
        ({"link": "https://ray/{clustre}"}, "something else in braces"),
        ({"link": "https://ray/{"}, "something else in braces"),
        ({"preload": ("pandas,polars",)}, "--preload pandas,polars: is no module. Give the option once for each"),
    ],
)
def test_what_a_person_mistypes_is_told_at_the_start(given: dict[str, Any], said: str) -> None:
    with pytest.raises(NotServed, match=said):
        check(Options("http://127.0.0.1:1", "t", **given))
    check(Options("http://127.0.0.1:1", "t", link="https://ray/{cluster}/{job}", metrics="[::1]:0", preload=("a.b",)))


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NotServed, match="the port is taken") as refused:
            serve(Options("http://127.0.0.1:1", "t" * 43, listen=listen), print)
    assert "GRPC_VERBOSITY" not in str(refused.value)


async def test_a_token_that_the_daemon_refuses_is_told_as_that_and_once(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) == 2:
            twice.set()
        return httpx.Response(401, json={"reason": "unauthenticated", "detail": "The bearer token is nobody's."})

    asked: list[httpx.Request] = []
    twice = asyncio.Event()
    url, token = "http://127.0.0.1:1", "t" * 43
    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http, AsyncClient(url, token) as client:
        runs = Runs(Tools(client, Standing(http, Endpoint(url, token)), http, dict))
        runs.start()
        await twice.wait()
        await runs.leave()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, said
    assert "The bearer token is nobody's. Give a token whose role" in said[0]


def test_with_tls_only_a_client_with_a_certificate_of_the_authority_is_answered(tmp_path: Path) -> None:
    certificates(tmp_path, "connector")
    read = lambda name: (tmp_path / name).read_bytes()  # noqa: E731
    arguments = [f"--{option}={tmp_path / file}" for option, file in
                 (("tls-cert", "server.crt"), ("tls-key", "server.key"), ("client-ca", "ca.crt"))]  # fmt: skip

    def names(address: str, *pair: str) -> list[str]:
        files = [read(name) for name in pair] or [None, None]
        credentials = grpc.ssl_channel_credentials(read("ca.crt"), *files)
        options = [*NO_PROXY, ("grpc.ssl_target_name_override", "connector")]
        with grpc.secure_channel(address, credentials, options) as channel:
            stub = agent_pb2_grpc.AgentMetadataServiceStub(channel)
            return [agent.name for agent in stub.ListAgents(agent_pb2.ListAgentsRequest(), timeout=10).agents]

    with running(tmp_path, *arguments) as address:
        assert names(address, "client.key", "client.crt") == ["warmpool"]
        for pair in ((), ("stranger.key", "stranger.crt")):
            with pytest.raises(grpc.RpcError) as refused:
                names(address, *pair)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(address, NO_PROXY) as channel, pytest.raises(grpc.RpcError):
            agent_pb2_grpc.AgentMetadataServiceStub(channel).ListAgents(agent_pb2.ListAgentsRequest(), timeout=5)


def test_both_backends_learn_which_task_type_it_takes(tmp_path: Path) -> None:
    with running(tmp_path) as address, grpc.insecure_channel(address, NO_PROXY) as channel:
        one = agent_pb2_grpc.AgentMetadataServiceStub(channel)
        [agent] = one.ListAgents(agent_pb2.ListAgentsRequest(), timeout=10).agents
        assert (list(agent.supported_task_types), agent.is_sync) == (["ray"], False)
        assert one.GetAgent(agent_pb2.GetAgentRequest(name="warmpool"), timeout=10).agent == agent
        two = service_pb2_grpc.ConnectorMetadataServiceStub(channel)
        [connector] = two.ListConnectors(connector_pb2.ListConnectorsRequest(), timeout=10).connectors
        assert [category.name for category in connector.supported_task_categories] == ["ray"]
        with pytest.raises(grpc.RpcError) as refused:
            one.GetAgent(agent_pb2.GetAgentRequest(name="mystery"), timeout=10)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_task_waits_while_the_daemon_is_away_and_a_refused_one_fails_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as address, grpc.insecure_channel(address, NO_PROXY) as channel:
        tasks = agent_pb2_grpc.AsyncAgentServiceStub(channel)
        request = recorded1()
        meta = tasks.CreateTask(request, timeout=5).resource_meta
        asked = agent_pb2.GetTaskRequest(task_type="ray", resource_meta=meta)
        found = tasks.GetTask(asked, timeout=9).resource
        assert found.phase == 7  # WAITING_FOR_RESOURCES
        request.template.security_context.secrets.add(key="k")
        meta = tasks.CreateTask(request, timeout=5).resource_meta
        asked = agent_pb2.GetTaskRequest(task_type="ray", resource_meta=meta)
        found = tasks.GetTask(asked, timeout=5).resource
        assert found.phase == 5  # FAILED
        assert "names no Kubernetes Secret" in found.message
        with pytest.raises(grpc.RpcError) as refused:
            tasks.GetTask(agent_pb2.GetTaskRequest(task_type="ray", resource_meta=b"strange"), timeout=5)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_prometheus_is_told_of_open_attempts(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(tmp_path, "--metrics", f"127.0.0.1:{port}") as address:
        with grpc.insecure_channel(address, NO_PROXY) as channel:
            agent_pb2_grpc.AsyncAgentServiceStub(channel).CreateTask(recorded1(), timeout=5)
        end = time.monotonic() + 20
        while "warmpool_connector_attempts_open 1.0" not in (text := scraped(port)):
            assert time.monotonic() < end, text
    assert "flytesnacks" not in text


def scraped(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text


def test_variables_are_the_files_of_a_directory_as_kubernetes_mounts_a_secret(tmp_path: Path) -> None:
    data = tmp_path / "..2026_01_01"
    data.mkdir()
    (data / "AWS_SECRET_ACCESS_KEY").write_text("s3cret\n")
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "AWS_SECRET_ACCESS_KEY").symlink_to(tmp_path / "..data" / "AWS_SECRET_ACCESS_KEY")
    assert Environment(tmp_path)() == {"AWS_SECRET_ACCESS_KEY": "s3cret"}
    with pytest.raises(NotServed, match="cannot be read"):
        Environment(tmp_path / "none")()
    assert Environment(None)() == {}

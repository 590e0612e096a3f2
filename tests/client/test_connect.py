from __future__ import annotations

import os
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pool.client import LeaseEnded
from pool.client.connect import connected, user_paths
from pool.inside import owner
from pool.wire.leases import ClusterAccess

ACCESS = ClusterAccess(id="c-1", address="127.0.0.1:6379", client_address="ray://10.0.0.1:10001", token="secret")


@pytest.fixture
def inits(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments that Ray was started with, with the environment of that moment."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **arguments: calls.append(arguments | {"env": dict(os.environ)}))
    return calls


def test_the_token_is_in_the_environment_only_while_connected(
    inits: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "mine:1")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/mine")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    before = dict(os.environ)
    with connected(ACCESS, None, local=True):
        assert os.environ["RAY_AUTH_TOKEN"] == "secret"
    assert dict(os.environ) == before
    env = inits[0]["env"]
    assert (env["RAY_ADDRESS"], env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN"]) == ("127.0.0.1:6379", "token", "secret")
    assert "RAY_AUTH_TOKEN_PATH" not in env


def test_a_connection_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: Any) -> None:
        raise ConnectionError("no such cluster")

    monkeypatch.setattr(ray, "init", fail)
    before = dict(os.environ)
    with pytest.raises(ConnectionError, match="no such cluster"), connected(ACCESS, None, local=True):
        pass
    assert dict(os.environ) == before


SERVERS = (
    "Initialization failure from server:\nRuntimeError: Starting Ray client server failed. See ray_client_server_1"
)
CENSUS = "Initialization failure from server:\npsutil.NoSuchProcess: process no longer exists (pid=1)"
ENDED = (
    "Request can't be sent because the Ray client has already been disconnected due to an error. Last exception: "
    "<_MultiThreadedRendezvous of RPC that terminated with:\n\tstatus = StatusCode.NOT_FOUND\n"
    '\tdetails = "Attempted to reconnect a session that has already been cleaned up"\n>'
)
RUNTIME_ENV = "Initialization failure from server:\nRuntimeError: Failed to create runtime_env for Ray client server"


@pytest.mark.parametrize(
    ("failures", "tries", "error"),
    [
        ([SERVERS, SERVERS], 3, None),
        (["ray client connection timeout"], 2, None),
        ([CENSUS, ENDED], 3, None),
        ([SERVERS] * 3, 3, "Starting Ray client server failed"),
        ([RUNTIME_ENV], 1, "Failed to create runtime_env"),
    ],
)
def test_a_connection_that_the_head_did_not_serve_is_tried_again_a_few_times(
    failures: list[str],
    tries: int,
    error: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told, calls = iter(failures), []

    def init(**arguments: Any) -> None:
        calls.append(arguments)
        for text in told:
            raise ConnectionAbortedError(text)

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConnectionError, match=error) if error else nullcontext(), connected(ACCESS, None, local=False):
        pass
    assert len(calls) == tries
    assert caplog.text.count("connecting to c-1 again") == tries - 1


def test_a_cluster_that_cannot_be_shut_down_from_does_not_hide_the_bodys_error(
    inits: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("gone")

    monkeypatch.setattr(ray, "shutdown", fail)
    with pytest.raises(KeyError, match="of the body"), connected(ACCESS, None, local=True):
        raise KeyError("of the body")


def test_a_process_that_is_connected_already_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(ConnectionError, match=r"Call ray\.shutdown\(\)"), connected(ACCESS, None, local=True):
        pass


def test_locally_the_import_path_is_handed_over_and_nothing_is_uploaded(
    inits: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with connected(ACCESS, {"env_vars": {"A": "1"}}, local=True):
        pass
    assert str(tmp_path) in inits[0]["job_config"]._py_driver_sys_path
    assert inits[0]["runtime_env"] == {"env_vars": {"A": "1"}}


def test_remotely_the_working_directory_goes_along_unless_the_config_names_one(inits: list[dict[str, Any]]) -> None:
    for env in (None, {"working_dir": "s3://code"}):
        with connected(ACCESS, env, local=False):
            pass
    own, given = (call["runtime_env"] for call in inits)
    assert own["working_dir"] == str(Path.cwd())
    assert "fast*.tar.gz" in own["excludes"]
    assert given["working_dir"] == "s3://code"


def test_from_another_host_a_driver_connects_through_ray_client(inits: list[dict[str, Any]]) -> None:
    with connected(ACCESS.model_copy(update={"address": "10.0.0.1:6379"}), None, local=False):
        pass
    with connected(ACCESS, None, local=False):
        pass
    assert [call["address"] for call in inits] == ["ray://10.0.0.1:10001", "127.0.0.1:6379"]


def test_packages_and_python_itself_are_no_user_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_the_user.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("of_the_user")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    paths = user_paths()
    assert str(tmp_path.resolve()) in paths
    assert not [path for path in paths if "site-packages" in path or path.endswith("python3.11")]


def connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Ray say that it is connected, on node n1, once it was asked to connect."""
    asked = iter([False])
    monkeypatch.setattr(ray, "is_initialized", lambda: next(asked, True))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "n1"))


def test_the_way_to_the_nodes_resident_data_is_opened_beside_the_body(
    inits: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    body, said = threading.Event(), []

    def get_actor(name: str, namespace: str) -> SimpleNamespace:
        # The body is not kept waiting for it.
        assert body.wait(60)
        said.append((name, namespace))
        return SimpleNamespace(used=SimpleNamespace(remote=said.append))

    connects(monkeypatch)
    monkeypatch.setattr(ray, "get_actor", get_actor)
    monkeypatch.setattr(ray, "shutdown", lambda: said.append("shutdown"))
    with connected(ACCESS, None, local=True):
        body.set()
    assert said == [("resident-n1", owner.NAMESPACE), [], "shutdown"]


def test_a_cluster_without_resident_data_is_asked_for_nothing_more(
    inits: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def get_actor(name: str, namespace: str) -> None:
        raise ValueError(f"no actor {name}")

    connects(monkeypatch)
    monkeypatch.setattr(ray, "get_actor", get_actor)
    with connected(ACCESS, None, local=True):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_lease_connects_its_process_and_takes_the_token_out_again_when_it_is_released(
    inits: list[dict[str, Any]], fake: Any, client: Any, wanted: Any
) -> None:
    before = dict(os.environ)
    with client.lease(wanted) as lease:
        lease.connect({"env_vars": {"A": "1"}})
        assert os.environ["RAY_AUTH_TOKEN"] == lease.cluster.token
    assert dict(os.environ) == before
    (init,) = inits
    assert (init["address"], init["runtime_env"]) == (lease.cluster.address, {"env_vars": {"A": "1"}})
    assert "job_config" in init, "the head is on this machine: tasks find modules where they lie"
    with pytest.raises(LeaseEnded):
        lease.connect()


async def test_so_does_a_lease_of_the_async_client(
    inits: list[dict[str, Any]], fake: Any, aclient: Any, wanted: Any
) -> None:
    before = dict(os.environ)
    async with aclient.lease(wanted) as lease:
        lease.connect()
        assert os.environ["RAY_ADDRESS"] == lease.cluster.address
    assert dict(os.environ) == before


def test_a_lease_whose_cluster_cannot_be_reached_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, fake: Any, client: Any, wanted: Any
) -> None:
    def fail(**arguments: Any) -> None:
        raise ConnectionError("no such cluster")

    monkeypatch.setattr(ray, "init", fail)
    before = dict(os.environ)
    with client.lease(wanted) as lease:
        with pytest.raises(ConnectionError, match="no such cluster"):
            lease.connect()
        assert dict(os.environ) == before

"""Connectors in processes of their own, before a daemon as it is served."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc
from flyteidl2.connector import connector_pb2, service_pb2_grpc

from tests.homes import Home, a_home
from tests.serving import Served, environment

WAIT_S = 240.0


class Connector:
    """``warmpool connector`` before a daemon. Ends with the `with` block.

    Attributes:
        address: where it listens.
        tasks: Flyte 1's client of it.
        tasks2: Flyte 2's.
    """

    def __init__(self, served: Served, home: Path, *arguments: str) -> None:
        home.mkdir(exist_ok=True)
        self.log = home / f"connector-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "pool.cli", "--state-dir", str(served.state_dir), "connector"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", "127.0.0.1:0", *arguments],
                stdout=subprocess.PIPE, stderr=log, env=environment(), text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert "serving task type ray" in said, said + self.log.read_text()
        self.address = said.split()[-1]
        self._channel = grpc.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)])
        self.tasks = agent_pb2_grpc.AsyncAgentServiceStub(self._channel)
        self.tasks2 = service_pb2_grpc.AsyncConnectorServiceStub(self._channel)

    def __enter__(self) -> Connector:
        return self

    def __exit__(self, *_: object) -> None:
        self.end("terminate")

    def end(self, how: str) -> None:
        """``terminate`` or ``kill`` it."""
        self._channel.close()
        getattr(self.process, how)()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    # --- as Flyte's backend calls it ---

    def create(self, request: Any) -> bytes:
        tasks = self.tasks2 if isinstance(request, connector_pb2.CreateTaskRequest) else self.tasks
        return bytes(tasks.CreateTask(request, timeout=10).resource_meta)

    def get2(self, meta: bytes) -> Any:
        category = connector_pb2.TaskCategory(name="ray")
        asked = connector_pb2.GetTaskRequest(task_category=category, resource_meta=meta)
        return self.tasks2.GetTask(asked, timeout=10).resource

    def get(self, meta: bytes) -> Any:
        category = agent_pb2.TaskCategory(name="ray")
        asked = agent_pb2.GetTaskRequest(task_type="ray", task_category=category, resource_meta=meta)
        return self.tasks.GetTask(asked, timeout=10).resource

    def delete(self, meta: bytes) -> None:
        asked = agent_pb2.DeleteTaskRequest(task_type="ray", resource_meta=meta)
        self.tasks.DeleteTask(asked, timeout=10)

    def until(self, meta: bytes, *phases: str, bound_s: float = WAIT_S) -> Any:
        """Ask until the attempt is in one of the phases."""
        end = time.monotonic() + bound_s
        while True:
            found = self.get(meta)
            phase = phase_of(found)
            if phase in phases:
                return found
            over = phase in ("SUCCEEDED", "FAILED", "RETRYABLE_FAILED", "ABORTED")
            if over or time.monotonic() > end:
                raise AssertionError((phase, found.message, self.log.read_text()[-3000:]))
            time.sleep(0.1)


def phase_of(resource: Any) -> str:
    """Return the name of a phase."""
    from flyteidl.core import execution_pb2

    return str(execution_pb2.TaskExecution.Phase.Name(resource.phase))


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with a_home() as home:
        yield home


@pytest.fixture(scope="module")
def served(home: Home) -> Iterator[Served]:
    with home.serve() as served:
        yield served


@pytest.fixture
def connector(served: Served, tmp_path: Path) -> Iterator[Connector]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(Connector(served, tmp_path))

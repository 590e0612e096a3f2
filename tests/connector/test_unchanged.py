"""A task as an author wrote it for Flyte's own Ray plugin, registered by flytekit, and sent as a backend sends it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from flyteidl.core import literals_pb2
from flytekit.models.literals import LiteralMap

from tests.connector.conftest import Connector
from tests.connector.requests import bundle
from tests.connector.sending import sent

pytestmark = [pytest.mark.ray, pytest.mark.flyte, pytest.mark.xdist_group("connector")]

AUTHORS = """
import os
import ray
from flytekit import Resources, current_context, task
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig

config = RayJobConfig(
    head_node_config=HeadNodeConfig(requests=Resources(cpu="1", mem="4Gi"), limits=Resources(cpu="1", mem="4Gi")),
    worker_node_config=[WorkerNodeConfig("w", 0, requests=Resources(cpu="1", mem="4Gi"))],
)

@ray.remote
def squared(x: int) -> int:
    return x * x

@task(task_config=config, environment={"UNIT": "m2"}, container_image="task:1")
def areas(sides: list[int]) -> tuple[list[int], str]:
    found = ray.get([squared.remote(x) for x in sides])
    who = current_context().execution_id
    return found, f"{os.environ['UNIT']} of {who.project}/{who.domain}/{who.name}"
"""


def test_an_unchanged_task_runs_through_the_connector(
    connector: Connector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "authors_own.py").write_text(AUTHORS)
    bundle(tmp_path / "code.tar.gz", authors_own=AUTHORS)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        task = importlib.import_module("authors_own").areas
        request = sent(task, tmp_path, {"sides": (list[int], [1, 2, 3])})
    finally:
        sys.modules.pop("authors_own", None)
    connector.until(connector.create(request), "SUCCEEDED", bound_s=200)
    outputs = tmp_path / "outputs"
    assert not (outputs / "error.pb").exists(), (outputs / "error.pb").read_bytes()
    found = LiteralMap.from_flyte_idl(literals_pb2.LiteralMap.FromString((outputs / "outputs.pb").read_bytes()))
    squares, text = (found.literals[name] for name in ("o0", "o1"))
    assert [one.scalar.primitive.integer for one in squares.collection.literals] == [1, 4, 9]
    assert text.scalar.primitive.string_value == "m2 of maps/development/run-7"

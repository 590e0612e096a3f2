"""A task as an author wrote it for Flyte's own Ray plugin, registered by flytekit, and sent as a backend sends it."""

from __future__ import annotations

import importlib
import re
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2
from flytekit.configuration import FastSerializationSettings, ImageConfig, SerializationSettings
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekit.tools.translator import get_serializable

from tests.connector.conftest import Connector
from tests.connector.requests import bundle

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


def sent(task: Any, store: Path, inputs: dict[str, tuple[Any, Any]]) -> Any:
    """Return what a backend sends for a registered task, with its placeholders filled in."""
    settings = SerializationSettings(
        image_config=ImageConfig.auto(img_name="task:1"), project="maps", domain="development", version="v1",
        fast_serialization_settings=FastSerializationSettings(enabled=True, destination_dir="."),
    )  # fmt: skip
    template = get_serializable(OrderedDict(), settings, task).template.to_flyte_idl()
    values = {
        "remote_package_path": store / "code.tar.gz",
        "dest_dir": ".",
        "input": store / "inputs.pb",
        "outputPrefix": store / "outputs",
        "rawOutputDataPrefix": store / "raw",
        "checkpointOutputPrefix": store / "raw" / "_flytecheckpoints",
        "prevCheckpointPrefix": '""',
    }
    args = [re.sub(r"\{\{\s*\.(\w+)\s*\}\}", lambda m: str(values[m[1]]), arg) for arg in template.container.args]
    template.container.args[:] = args
    types = {name: variable.type for name, variable in task.interface.inputs.items()}
    context = FlyteContextManager.current_context()
    literals = {
        name: TypeEngine.to_literal(context, value, python_type, types[name]).to_flyte_idl()
        for name, (python_type, value) in inputs.items()
    }
    request = agent_pb2.CreateTaskRequest(template=template, output_prefix=str(store / "outputs"))
    for name, literal in literals.items():
        request.inputs.literals[name].CopyFrom(literal)
    (store / "inputs.pb").write_bytes(request.inputs.SerializeToString())
    execution = request.task_execution_metadata.task_execution_id.node_execution_id
    execution.node_id = "n0"
    execution.execution_id.project, execution.execution_id.domain = "maps", "development"
    execution.execution_id.name = "run-7"
    return request


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

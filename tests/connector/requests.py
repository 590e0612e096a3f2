"""What real backends of Flyte 1 and 2 sent for a Ray task, with their storage replaced by a directory of the test."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2
from flyteidl2.connector import connector_pb2
from flyteidl2.task import common_pb2

RECORDED = Path(__file__).parent / "recorded"

STEP1 = """
import ray
from flytekit import current_context, task
from flytekitplugins.ray import RayJobConfig, WorkerNodeConfig
import beside_it

@ray.remote
def plus(x: int) -> int:
    return beside_it.more(x)

@task(task_config=RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)]))
def step(x: int) -> int:
    return ray.get(plus.remote(x))
"""
STEP2 = """
import flyte
import ray
from flyteplugins.ray import RayJobConfig, WorkerNodeConfig
import beside_it

rayenv = flyte.TaskEnvironment("rayenv", plugin_config=RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)]))

@ray.remote
def plus(x: int) -> int:
    return beside_it.more(x)

@rayenv.task
def step(x: int) -> int:
    return ray.get(plus.remote(x))
"""
BESIDE = "def more(x):\n    return x + 41\n"


def recorded1() -> Any:
    """Return the `CreateTaskRequest` of Flyte 1, as it was."""
    return agent_pb2.CreateTaskRequest.FromString((RECORDED / "flyte1.bin").read_bytes())


def recorded2() -> Any:
    """Return the `CreateTaskRequest` of Flyte 2, as it was."""
    return connector_pb2.CreateTaskRequest.FromString((RECORDED / "flyte2.bin").read_bytes())


def bundle(path: Path, **files: str) -> Path:
    """Pack Python files as Flyte packs an author's code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{name}.py")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def without_workers(request: Any) -> None:
    """Have the cluster be its head alone: a busy machine takes minutes to start two nodes."""
    for group in request.template.custom["rayCluster"]["workerGroupSpec"]:
        for count in ("replicas", "minReplicas", "maxReplicas"):
            group[count] = 0


def request1(store: Path, attempt: str = "0", step: str = STEP1) -> Any:
    """Return the request of Flyte 1 with its storage in a directory, where its inputs and its code are."""
    request = recorded1()
    without_workers(request)
    prefix, code = store / "metadata" / attempt, store / "code.tar.gz"
    inputs = store / "inputs.pb"
    inputs.parent.mkdir(parents=True, exist_ok=True)
    inputs.write_bytes(request.inputs.SerializeToString())
    bundle(code, chain=step, beside_it=BESIDE)
    args = list(request.template.container.args)
    values = {
        "--additional-distribution": code,
        "--inputs": inputs,
        "--output-prefix": prefix,
        "--raw-output-data-prefix": store / "raw" / attempt,
        "--checkpoint-path": store / "raw" / attempt / "_flytecheckpoints",
    }
    for name, value in values.items():
        args[args.index(name) + 1] = str(value)
    request.template.container.args[:] = args
    request.output_prefix = str(prefix)
    return request


def outputs1(request: Any) -> dict[str, Any]:
    """Return the outputs that the backend would find, or fail with the error that it would."""
    prefix = Path(request.output_prefix)
    assert not (prefix / "error.pb").exists(), (prefix / "error.pb").read_bytes()
    found = literals_pb2.LiteralMap.FromString((prefix / "outputs.pb").read_bytes())
    return {name: literal.scalar.primitive.integer for name, literal in found.literals.items()}


def request2(store: Path, attempt: str = "1") -> Any:
    """Return the request of Flyte 2 with its storage in a directory, where its inputs and its code are."""
    request = recorded2()
    without_workers(request)
    prefix, code = store / "qr" / attempt, store / "code.tar.gz"
    inputs = store / "inputs.pb"
    inputs.parent.mkdir(parents=True, exist_ok=True)
    inputs.write_bytes(request.inputs.SerializeToString())
    bundle(code, chain2=STEP2, beside_it=BESIDE)
    args = list(request.template.container.args)
    values = {
        "--inputs": inputs,
        "--outputs-path": prefix,
        "--raw-data-path": prefix,
        "--checkpoint-path": prefix / "_flytecheckpoints",
        "--tgz": code,
    }
    for name, value in values.items():
        args[args.index(name) + 1] = str(value)
    request.template.container.args[:] = args
    request.output_prefix = str(prefix)
    request.task_execution_metadata.environment_variables["_U_RUN_BASE"] = str(store)
    return request


def outputs2(request: Any) -> dict[str, Any]:
    """Return the outputs that the backend would find, or fail with the error that it would."""
    prefix = Path(request.output_prefix)
    assert not (prefix / "error.pb").exists(), (prefix / "error.pb").read_bytes()
    found = common_pb2.Outputs.FromString((prefix / "outputs.pb").read_bytes())
    return {one.name: one.value.scalar.primitive.integer for one in found.literals}

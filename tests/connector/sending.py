"""What a backend sends for a task that flytekit registered."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

from flyteidl.admin import agent_pb2
from flytekit.configuration import FastSerializationSettings, ImageConfig, SerializationSettings
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.tools.translator import get_serializable


def sent(task: Any, store: Path, inputs: dict[str, tuple[Any, Any]], attempt: str = "") -> Any:
    """Return what a backend sends for a registered task, with its placeholders filled in.

    Args:
        task: flytekit's, of a module that stays importable meanwhile.
        store: the directory in place of a bucket, with the task's code in ``code.tar.gz``.
        inputs: by name, each with its Python type.
        attempt: where its outputs go, in the store.
    """
    outputs = store / "outputs" / attempt
    settings = SerializationSettings(
        image_config=ImageConfig.auto(img_name="task:1"), project="maps", domain="development", version="v1",
        fast_serialization_settings=FastSerializationSettings(enabled=True, destination_dir="."),
    )  # fmt: skip
    template = get_serializable(OrderedDict(), settings, task).template.to_flyte_idl()
    values = {
        "remote_package_path": store / "code.tar.gz",
        "dest_dir": ".",
        "input": store / "inputs.pb",
        "outputPrefix": outputs,
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
    request = agent_pb2.CreateTaskRequest(template=template, output_prefix=str(outputs))
    for name, literal in literals.items():
        request.inputs.literals[name].CopyFrom(literal)
    (store / "inputs.pb").write_bytes(request.inputs.SerializeToString())
    execution = request.task_execution_metadata.task_execution_id.node_execution_id
    execution.node_id = "n0"
    execution.execution_id.project, execution.execution_id.domain = "maps", "development"
    execution.execution_id.name = "run-7"
    return request

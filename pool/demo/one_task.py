"""One task of the example workflow, alone in a process: ``python -m pool.demo.one_task NAME DIRECTORY``.

Inputs and outputs go through files, in Flyte's own form, as between the containers of a real workflow.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flyteidl.core.literals_pb2 import LiteralMap as LiteralMapProto
from flytekit.core.context_manager import ExecutionState, FlyteContextManager
from flytekit.core.data_persistence import FileAccessProvider
from flytekit.core.utils import load_proto_from_file, write_proto_to_file
from flytekit.models.literals import LiteralMap

from pool.demo import workflow


def run(name: str, place: Path) -> None:
    """Run task `name` of the workflow on the inputs in ``place/NAME.in.pb``; write ``place/NAME.out.pb``."""
    inputs = LiteralMap.from_flyte_idl(load_proto_from_file(LiteralMapProto, str(place / f"{name}.in.pb")))
    context = FlyteContextManager.current_context()
    files = FileAccessProvider(local_sandbox_dir=str(place / "sandbox"), raw_output_prefix=str(place / "data"))
    state = context.new_execution_state().with_params(mode=ExecutionState.Mode.LOCAL_TASK_EXECUTION)
    with FlyteContextManager.with_context(context.with_file_access(files).with_execution_state(state)) as local:
        outputs = getattr(workflow, name).dispatch_execute(local, inputs)
    write_proto_to_file(outputs.to_flyte_idl(), str(place / f"{name}.out.pb"))


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
    # The outputs are written, so Flyte goes on: a cluster of its own is deleted beside the next task, not before it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)

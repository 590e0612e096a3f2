"""What a pooled task's container starts: it asks for the task's lease, and then becomes what Flyte would have started.

flytekit takes a second or more to import, and the head about as long to serve a connection of Ray Client. So
``warmpool-task pyflyte-execute ...`` takes the lease and connects while flytekit and the task's module are imported;
`pool.flyte.holding` hands both to the task when it comes. What goes wrong here is left to the task to find out.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pool.client import configured
from pool.client.terminate import exit_on_sigterm
from pool.core.errors import PoolError
from pool.flyte.acquire import Asked, first_wish
from pool.flyte.holding import Wish, turns
from pool.flyte.identity import remote_identity

COMMAND = "warmpool-task"
VARIABLE = "WARMPOOL_TASK"
"""Holds what is known of the task when it is registered."""

_COMMANDS = {"pyflyte-execute": ("flytekit.bin.entrypoint", "execute_task_cmd")}
_PLACE = "--raw-output-data-prefix"
# What `ray.init` imports as it connects. Two threads that import what imports each other may meet a half of it.
_BEFORE = ("ray", "ray.client_builder", "ray.util.client.worker", "ray._private.runtime_env.packaging")


def registered(task: str, asked: Asked, group: str) -> str:
    """Return what the container of `task` is told, as text."""
    return json.dumps({"task": task, "group": group, "asked": asdict(asked)})


def wish(environ: Mapping[str, str], arguments: Sequence[str]) -> Wish | None:
    """Return what the task of this container will ask for; None if that cannot be told before it is loaded.

    Args:
        environ: of the container.
        arguments: of the command that runs the task.
    """
    try:
        told = json.loads(environ[VARIABLE])
        identity = remote_identity(
            project=environ["FLYTE_INTERNAL_EXECUTION_PROJECT"],
            domain=environ["FLYTE_INTERNAL_EXECUTION_DOMAIN"],
            execution=environ["FLYTE_INTERNAL_EXECUTION_ID"],
            task=told["task"],
            attempt=environ.get("FLYTE_ATTEMPT_NUMBER", "0"),
            place=arguments[arguments.index(_PLACE) + 1],
        ).with_group(told["group"])
        return first_wish(told["task"], Asked(**told["asked"]), identity)
    except (KeyError, IndexError, TypeError, ValueError, PoolError):
        return None


def main() -> None:
    """Run the command in the arguments, with the lease of its task on the way."""
    sys.argv = sys.argv[1:]
    if not sys.argv or sys.argv[0] not in _COMMANDS:
        raise SystemExit(f"{COMMAND} runs one of: {', '.join(_COMMANDS)}. It is what a pooled task's container starts.")
    module, function = _COMMANDS[sys.argv[0]]
    # The lease is taken on another thread, where the client cannot see to this.
    with exit_on_sigterm():
        try:
            wanted = wish(os.environ, sys.argv) if configured() else None
            if wanted is not None:
                turns.begin(wanted)
                for name in _BEFORE:
                    importlib.import_module(name)
            getattr(importlib.import_module(module), function)()
        finally:
            turns.drop()

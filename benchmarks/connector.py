"""What a Flyte Ray task costs on a warm cluster through the connector, from `CreateTask` to its outputs.

The recorded request of a Flyte 1 backend is played again and again, through Flyte's own client stub, as the backend
does: it asks 50 ms after the task was created, and then every 5 s. The task adds a number in a remote function; its
storage is a directory. `p50_s` is with the warm interpreter, `ray_job_p50_s` with a Ray job for each task; the first
task of each, which starts the interpreter, is told in the detail alone.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flyteidl.admin import agent_pb2

from benchmarks.report import finish
from tests.connector.conftest import Connector, phase_of
from tests.connector.requests import outputs1, request1
from tests.homes import a_home

ROUNDS = 5
RESYNC_S = 5.0
BOUND_S = 180.0


def polled(connector: Connector, meta: bytes, began: float) -> tuple[Any, int, float]:
    """Ask for a task as a backend does, until it succeeded.

    Args:
        connector: whom to ask.
        meta: what it answered when the task was created.
        began: when that was (monotonic).

    Returns:
        The last answer, how many there were, and for how long the first one was held, seconds.

    Raises:
        RuntimeError: if the task failed, or took too long.
    """
    asked = agent_pb2.GetTaskRequest(
        task_type="ray", task_category=agent_pb2.TaskCategory(name="ray"), resource_meta=meta
    )
    polls, held_s = 0, 0.0
    while True:
        asked_at = time.monotonic()
        found = connector.tasks.GetTask(asked, timeout=60).resource
        polls += 1
        held_s = held_s or time.monotonic() - asked_at
        if phase_of(found) == "SUCCEEDED":
            return found, polls, held_s
        if time.monotonic() - began > BOUND_S or "FAILED" in phase_of(found):
            raise RuntimeError(found.message)
        time.sleep(RESYNC_S)


def task(connector: Connector, store: Path, number: int) -> dict[str, Any]:
    """Run one task, and return its seconds until its outputs were written, and until the backend knew."""
    request = request1(store, str(number))
    outputs = Path(request.output_prefix) / "outputs.pb"
    began, wall = time.monotonic(), time.time()
    meta = connector.create(request)
    time.sleep(0.05)
    found, _, _ = polled(connector, meta, began)
    known_s = time.monotonic() - began
    outputs1(request)
    about = found.custom_info
    return {
        "outputs_s": round(outputs.stat().st_mtime - wall, 3),
        "known_s": round(known_s, 3),
        "how": about["how"],
        "outcome": about["outcome"],
    }


def main() -> None:
    """Measure both ways on one cluster."""
    detail: dict[str, Any] = {}
    with a_home() as home, home.serve() as served, tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name, arguments in (("ray_job", ("--ray-jobs",)), ("warm", ())):
            with Connector(served, root, *arguments) as connector:
                first, *rest = [task(connector, root / name, number) for number in range(ROUNDS + 1)]
                detail[name] = {"first": first, "tasks": rest}
                print(name, first, *rest, sep="\n", file=sys.stderr)
    figures = {
        "p50_s": statistics.median(one["outputs_s"] for one in detail["warm"]["tasks"]),
        "ray_job_p50_s": statistics.median(one["outputs_s"] for one in detail["ray_job"]["tasks"]),
        "known_p50_s": statistics.median(one["known_s"] for one in detail["warm"]["tasks"]),
        "ray_job_known_p50_s": statistics.median(one["known_s"] for one in detail["ray_job"]["tasks"]),
    }
    finish("connector", "make bench-connector", figures, detail)


if __name__ == "__main__":
    main()

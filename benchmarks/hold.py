"""What it is worth that the connector holds its first answer about a task: polls, time until it is known, workers.

A player of a Flyte backend asks 50 ms after the task was created, and then 5 s after each answer, the least that a
backend allows. Tasks sleep for `BODIES_S`, on one warm local cluster, in its warm interpreter; the answer is held for
`HOLDS_S` at most. Of each:

    ``polls``     how often the backend asked
    ``outputs_s`` from `CreateTask` until the outputs were written
    ``known_s``   until the backend knew: then the next node can begin
    ``held_s``    for so long the first answer kept one of the backend's workers

By Little's law `held_s` times the tasks that begin per second is how many workers held answers keep on average.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.connector import polled
from benchmarks.report import finish
from tests.connector.conftest import Connector
from tests.connector.requests import outputs1, request1
from tests.homes import a_home

HOLDS_S = (0.0, 1.0, 3.0, 5.0, 10.0)
BODIES_S = (0, 1, 2, 4, 8)
SLEEPS = """
import time
from flytekit import task
from flytekitplugins.ray import RayJobConfig, WorkerNodeConfig

@task(task_config=RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)]))
def step(x: int) -> int:
    time.sleep({body_s})
    return x
"""


def played(connector: Connector, store: Path, number: int, body_s: int) -> dict[str, Any]:
    """Run one task as a backend does, and return what it took."""
    request = request1(store, str(number), SLEEPS.format(body_s=body_s))
    outputs = Path(request.output_prefix) / "outputs.pb"
    began, wall = time.monotonic(), time.time()
    meta = connector.create(request)
    time.sleep(0.05)
    found, polls, held_s = polled(connector, meta, began)
    known_s = time.monotonic() - began
    outputs1(request)
    if found.custom_info["how"] != "warm_interpreter":
        raise RuntimeError(found.message)
    return {
        "body_s": body_s,
        "polls": polls,
        "outputs_s": round(outputs.stat().st_mtime - wall, 2),
        "known_s": round(known_s, 2),
        "held_s": round(held_s, 2),
    }


def main() -> None:
    """Measure every hold with every task."""
    rows: list[dict[str, Any]] = []
    with a_home() as home, home.serve() as served, tempfile.TemporaryDirectory() as scratch:
        for hold_s in HOLDS_S:
            # With what was learned tasks would differ by what ran before them.
            with Connector(served, Path(scratch), f"--hold-s={hold_s}", "--no-learn") as connector:
                store = Path(scratch) / f"{hold_s}"
                if not rows:
                    # The first one starts a cluster and an interpreter.
                    played(connector, store, -1, 0)
                for number, body_s in enumerate(BODIES_S):
                    rows.append({"hold_s": hold_s, **played(connector, store, number, body_s)})
                    print(rows[-1], file=sys.stderr)
    figures = {}
    for hold_s in HOLDS_S:
        here = [row for row in rows if row["hold_s"] == hold_s]
        unseen_s = [row["known_s"] - row["outputs_s"] for row in here]
        figures[f"hold_{hold_s:g}_unseen_mean_s"] = round(sum(unseen_s) / len(unseen_s), 2)
        figures[f"hold_{hold_s:g}_held_mean_s"] = round(sum(row["held_s"] for row in here) / len(here), 2)
    finish("hold", "make bench-hold", figures, {"tasks": rows})


if __name__ == "__main__":
    main()

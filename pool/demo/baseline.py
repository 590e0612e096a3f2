"""The example workflow with a fresh Ray cluster per task, a process each: ``python -m pool.demo.baseline``.

This is what Flyte's Ray plugin gives on a cluster. On one machine, in one process, the plugin would share one Ray
between the tasks; so each task has a process of its own here. The tasks are those of `pool.demo.workflow`: without a
daemon, `Pooled` runs the plugin's own code.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from flyteidl.core.literals_pb2 import LiteralMap as LiteralMapProto
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.core.utils import load_proto_from_file, write_proto_to_file
from flytekit.models.literals import Literal, LiteralMap

from pool.demo.place import temp_root

CHAIN: dict[str, dict[str, str]] = {
    "load": {},
    "features": {"images": "load.o0"},
    "train": {"table": "features.o0", "folds": "folds", "seed": "seed"},
    "evaluate": {"table": "features.o0", "scores": "train.o0", "seed": "seed"},
    "report": {"scores": "train.o0", "predictions": "evaluate.o0", "seed": "seed"},
}
"""The tasks in order; per input where it comes from: an output of another task, or an input of the workflow."""

_GRACE_S = 5.0
_LONGEST_ROOT = 23


class TaskFailed(Exception):
    """A task of the baseline failed; the text is the end of what it wrote."""


def run(folds: int = 3, seed: int = 7) -> str:
    """Run the workflow; return its report.

    Each task appends its line to the file that ``WARMPOOL_TASK_LOG`` names. No process and no directory is left.

    Args:
        folds: of the cross validation.
        seed: of splits, models and samples.

    Raises:
        TaskFailed: if a task failed.
    """
    known = {"folds": _literal(folds), "seed": _literal(seed)}
    with _place() as place:
        for name, sources in CHAIN.items():
            inputs = LiteralMap({variable: known[source] for variable, source in sources.items()})
            write_proto_to_file(inputs.to_flyte_idl(), str(place / f"{name}.in.pb"))
            _run_alone(name, place)
            outputs = load_proto_from_file(LiteralMapProto, str(place / f"{name}.out.pb"))
            for variable, literal in LiteralMap.from_flyte_idl(outputs).literals.items():
                known[f"{name}.{variable}"] = literal
        return Path(known["report.o0"].scalar.blob.uri.removeprefix("file://")).read_text()


def _literal(value: int) -> Literal:
    context = FlyteContextManager.current_context()
    literal: Literal = TypeEngine.to_literal(context, value, int, TypeEngine.to_literal_type(int))
    return literal


@contextmanager
def _place() -> Iterator[Path]:
    """Make a directory for everything that the run leaves, and delete it afterwards."""
    place = Path(tempfile.mkdtemp(prefix="b-", dir=temp_root(_LONGEST_ROOT)))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run_alone(name: str, place: Path) -> None:
    """Run one task in a process and on a Ray of its own."""
    ours = ("WARMPOOL_URL", "WARMPOOL_TOKEN", "WARMPOOL_TOKEN_FILE")
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key not in ours}
    # A token of its own, or Ray would make one in the user's home. Sessions go where they are deleted.
    env |= {"RAY_TMPDIR": str(place), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    log = place / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pool.demo.one_task", name, str(place)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        _end_what_is_left(process.pid)
        # The next task would look for the cluster that Ray noted there, and wait for its answer.
        shutil.rmtree(place / "ray", ignore_errors=True)
    if code:
        raise TaskFailed(f"Task {name} failed:\n{log.read_text(errors='replace')[-4000:]}")


def _end_what_is_left(session: int) -> None:
    """Kill the processes of a session, as workers that changed their title cannot be told by their environment."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session:
                process.kill()
                left.append(process)
    for process in left:
        _wait_until_dead(process)


def _wait_until_dead(process: psutil.Process) -> None:
    # Whoever adopts orphans here may reap them late: `psutil.wait_procs` would wait for that, and the run with it.
    deadline = time.monotonic() + _GRACE_S
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.005)


def main() -> None:
    """Run the baseline and print its report."""
    # So that what is in `finally` is done when it is asked to end.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        print(run())
    except TaskFailed as failed:
        sys.exit(str(failed))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

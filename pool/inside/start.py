"""Starts the command of a Flyte task on the head, with what it was sent in a file instead of on a command line.

Its text is run by ``python -c`` as the entrypoint of a submitted job: it may import the standard library only.
The job's working directory holds the file `GIVEN`, a JSON object, which is deleted once it is read:

    ``id``           of the task: one that has begun in the cluster's warm interpreter is not begun again
    ``command``      what a shell is to run
    ``environment``  variables to set
    ``unpacks``      whether the command unpacks code into its working directory: it gets an empty one, and what
                     the image has in its own stays importable. Any other runs where the image's working directory is

Ray gives a job's working directory to its workers too, and takes one only; flytekit gives them its own. So this one is
taken out of the job's runtime_env again before the command starts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from pool.inside.place import logs, of_the_raylet

GIVEN = "warmpool.json"
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def main() -> int:
    """Run the command to its end, and return its exit code."""
    here = Path.cwd()
    file = here / GIVEN
    given = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    # Both have their logs in one directory, that of Ray's.
    if (logs() / f"{given['id']}.log").exists():
        print("The task has begun in the cluster's warm interpreter, and does not begin again.", flush=True)
        return 1
    environment = environment_of(dict(os.environ), str(here), given["environment"])
    image_directory, _ = of_the_raylet()
    work = here / "work"
    if given["unpacks"]:
        work.mkdir()
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), image_directory]))
    try:
        return run(given["command"], environment, str(work) if given["unpacks"] else image_directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def environment_of(own: dict[str, str], here: str, given: dict[str, str]) -> dict[str, str]:
    """Return the environment of the command: what the job has without its working directory, and what was sent."""
    path = [part for part in own.get("PYTHONPATH", "").split(os.pathsep) if part and part != here]
    environment = own | {"PYTHONPATH": os.pathsep.join(path)}
    if JOB_CONFIG in environment:
        config: dict[str, Any] = json.loads(environment[JOB_CONFIG])
        (config.get("runtime_env") or {}).pop("working_dir", None)
        environment[JOB_CONFIG] = json.dumps(config)
    return environment | given


def run(command: str, environment: dict[str, str], directory: str) -> int:
    """Run a command in a shell, as KubeRay's submitter does; its exit code is that of a shell."""
    # Ray signals the whole family: whoever is told to end ends, and this process tidies up after it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = subprocess.Popen(["/bin/sh", "-c", command], env=environment, cwd=directory)
    while True:
        try:
            code = child.wait()
            return code if code >= 0 else 128 - code
        except InterruptedError:
            continue


if __name__ == "__main__":
    sys.exit(main())

"""The programs that run the example workflow, and its tasks in order."""

from __future__ import annotations

import shutil
from pathlib import Path

from pool.demo.place import PYTHON

TASKS = ("load", "features", "train", "evaluate", "report")

_HERE = Path(__file__).parent


def pyflyte() -> str:
    """Return the path of Flyte's own command line: that of this Python's environment, if it has one."""
    beside = Path(PYTHON).parent / "pyflyte"
    return str(beside) if beside.exists() else shutil.which("pyflyte") or "pyflyte"


def leased() -> list[str]:
    """Return the command that runs the workflow on the pool."""
    return [pyflyte(), "run", str(_HERE / "workflow.py"), "pipeline"]


def fresh() -> list[str]:
    """Return the command that runs it with a process and a Ray of its own per task."""
    return [PYTHON, "-m", "pool.demo.baseline"]

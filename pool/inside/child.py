"""A task's child of the warm interpreter: what of it can run so, and how it becomes the task's command.

Its text is sent into clusters with that of `pool.inside.runner`: it imports the standard library, and flytekit and Ray
where those are loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pool.inside.imports import NAMES_TOLD, Imports, installed, top_level
from pool.inside.kept import Kept
from pool.inside.tables import Tables

MOST_WAITING = 4
"""So many workers wait on a node for the next task's first calls; Ray starts more where it needs them."""
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# What a shell would do more with than part words; the rest of a command line is the same for one and for the other.
_SHELLS_OWN = re.compile(r"[$`|;&<>*?()\\\n\[]|(?:^|\s)[~#]")
# An interpreter, or a library, reads these as it starts: it is too late for that in a child.
_READ_AT_START = re.compile(r"^(PYTHON(?!PATH$|UNBUFFERED$)|LD_|OMP_|MKL_|OPENBLAS_|RAY_|FLYTE_SDK_|GRPC_)")


def base_environment() -> dict[str, str]:
    """Return this process's environment without what is of its own job: a task's driver is a job of its own."""
    here = str(Path.cwd())
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != here]
    kept = {name: value for name, value in os.environ.items() if name != JOB_CONFIG}
    return kept | {"PYTHONPATH": os.pathsep.join(path)}


def why_not(command: str, given: dict[str, str], environment: dict[str, str]) -> tuple[str, str]:
    """Return code and words of why a command cannot run in a child of this interpreter; empty if it can."""
    if _SHELLS_OWN.search(command):
        return "needs_shell", "its command line needs a shell"
    for name, value in given.items():
        if _READ_AT_START.match(name) and os.environ.get(name) != value:
            return "needs_variable", f"its variable {name} is read when an interpreter starts"
    try:
        words = shlex.split(command)
    except ValueError as error:
        return "needs_shell", f"its command line cannot be parted into words: {error}"
    if not script_of(words, environment):
        return "foreign_command", f"its command {words[0] if words else ''!r} is no script of this interpreter"
    return "", ""


def script_of(words: list[str], environment: dict[str, str]) -> str:
    """Return the path of the Python script that a command names; empty if it is none of this interpreter."""
    path = shutil.which(words[0], path=environment.get("PATH")) if words else None
    if path is None:
        return ""
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        first = file.readline(512)
        if first.startswith(b"#!"):
            interpreter = Path(first[2:].decode(errors="replace").split()[0])
            own = Path(sys.executable)
            if interpreter.parent == own.parent and interpreter.resolve() == own.resolve():
                return path
    return ""


def become(
    command: str,
    environment: dict[str, str],
    directory: str,
    besides: str,
    imports: Imports,
    tell: Callable[[dict[str, list[str]]], object],
) -> None:
    """Run a command as this process, and end.

    Args:
        command: its words.
        environment: its variables.
        directory: where.
        besides: a directory of modules beside those of ``PYTHONPATH``.
        imports: what the interpreter imported for its tasks.
        tell: called at the end with ``imported``, what of the image the command imported, and ``found``, what it had
            from the interpreter.
    """
    code: Any = 1
    try:
        reads = {module: variables for one in imports.loaded.values() for module, variables in one.items()}
        kept = Kept(imports.came, reads)
        had = top_level()
        before = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
        own = [part for part in sys.path if part and part not in before]
        given = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
        words = shlex.split(command)
        script = script_of(words, environment)
        sys.path[:] = [str(Path(script).parent), *given, *([besides] if besides else []), *own]
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        print(f"Running in a warm interpreter: {command}", flush=True)
        fresh_chance()
        fresh_flytekit()
        code = run_script(script, words)
        # What imports others comes before them: it stands behind them there.
        new = [name for name, module in reversed(list(sys.modules.items())) if "." not in name and name not in had
               and name not in kept.found and installed(module)]  # fmt: skip
        tell({"imported": new[:NAMES_TOLD], "found": kept.found[:NAMES_TOLD]})
        workers_for_the_next()
    finally:
        end(code)


def run_script(script: str, words: list[str]) -> int:
    """Run a script as the main program, and return its exit code."""
    import runpy
    import traceback

    sys.argv = [script, *words[1:]]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as asked:
        if asked.code is None or isinstance(asked.code, int):
            return asked.code or 0
        print(asked.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def workers_for_the_next() -> None:
    """Have workers wait for the next task of the same code.

    Ray ends a job's workers with it, and lets none that it has begun for another runtime environment serve it. Flyte's
    Ray plugin gives each task one (its code is the `working_dir`), so that without these its first call waits for two
    starts of an interpreter.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized() or ray.util.client.ray.is_connected():
        return
    # What is missing is a second of the next task's.
    with contextlib.suppress(Exception):
        context = ray.get_runtime_context()
        Tables(context.gcs_address).prestart(context.get_runtime_env_string(), MOST_WAITING)


def end(code: Any) -> None:
    """End as an interpreter does: threads are waited for, what is to be done at the exit is done."""
    import atexit

    for last in (getattr(threading, "_shutdown", None), getattr(atexit, "_run_exitfuncs", None)):
        if last is not None:
            with contextlib.suppress(BaseException):
                last()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


def fresh_chance() -> None:
    """Have every child draw other random numbers."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def fresh_flytekit() -> None:
    """Have flytekit read its variables anew, and start the command that follows a download of code in this process."""
    entrypoint = sys.modules.get("flytekit.bin.entrypoint")
    if entrypoint is None:
        return
    persistence, contexts = (sys.modules[f"flytekit.core.{name}"] for name in ("data_persistence", "context_manager"))
    own = tempfile.mkdtemp(prefix="flyte-")
    access = persistence.FileAccessProvider(local_sandbox_dir=f"{own}/sandbox", raw_output_prefix=f"{own}/raw")
    for module in (persistence, contexts):
        module.__dict__["default_local_file_access_provider"] = access
    contexts.FlyteContextManager.initialize()
    if hasattr(entrypoint, "_run_subprocess"):

        def in_here(words: list[str], environment: dict[str, str]) -> int:
            script = script_of(list(words), environment)
            if not script:
                import subprocess

                return subprocess.run(words, env=environment, check=False).returncode
            os.environ.update(environment)
            for part in environment.get("PYTHONPATH", "").split(os.pathsep):
                if part and part not in sys.path:
                    sys.path.append(part)
            importlib.invalidate_caches()
            return run_script(script, list(words))

        entrypoint.__dict__["_run_subprocess"] = in_here

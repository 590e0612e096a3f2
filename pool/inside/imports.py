"""Modules of the image that tasks import: the warm interpreter imports them too, once it is idle, for the next task.

A task tells at its end which modules it imported that are installed in the image; one that is killed, or becomes
another program, tells nothing. Each is tried in a child first: what starts a thread or opens a socket is left to the
tasks, since a child of the interpreter would lack the one and share the other. So is what takes too much.

A task finds them as if they were not imported (`pool.inside.kept`).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import site
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

MOST_MODULES = 20
MOST_BYTES = 256 << 20
"""What all of them may add to the interpreter. Its children share that."""
LONGEST_S = 10.0
"""So long one may take: meanwhile a task that comes waits."""
LEAST_S = 0.02
"""What is imported sooner than that is not worth a place."""
IDLE_S = 2.0
"""So long nothing was asked: by then a reset after the last task is over, which ends what the interpreter started."""
TRIES = 3
NAMES_TOLD = 100
NAMES_KNOWN = 200
VARIABLES_KNOWN = 1000
TOLD_BYTES = 1 << 16


class Trial(NamedTuple):
    """A child that tries a module: where it writes what came of it, and until when."""

    name: str
    pid: int
    told: int
    until: float


class Imports:
    """Which modules tasks import, and which of those the interpreter has.

    Attributes:
        loaded: by name, the variables that were read as each was imported, by the module that read them.
        why_not: by name, why others are left to the tasks.
        came: what is installed and came with those that are loaded, by top-level name: which file each was.
    """

    def __init__(self, *, on: bool) -> None:
        self.loaded: dict[str, dict[str, list[str]]] = {}
        self.why_not: dict[str, str] = {}
        self.came: dict[str, tuple[int, ...]] = {}
        self._on = on
        self._tasks: Counter[str] = Counter()
        self._brought: set[str] = set()
        self._tries: Counter[str] = Counter()
        self._bytes = 0
        self._trial: Trial | None = None

    def heard(self, names: Iterable[Any], tasks: int = 1) -> None:
        """Take up what a task imported, or what tasks elsewhere import (`tasks` 0)."""
        for name in list(names)[:NAMES_TOLD]:
            known = name in self._tasks or len(self._tasks) < NAMES_KNOWN
            if known and isinstance(name, str) and name.isidentifier():
                self._tasks[name] += tasks

    def brought(self, environment: dict[str, str]) -> None:
        """Note which variables a task brings that are others than the interpreter's."""
        for variable, value in environment.items():
            if os.environ.get(variable) != value and len(self._brought) < VARIABLES_KNOWN:
                self._brought.add(variable)

    def conflict(self, environment: dict[str, str]) -> str:
        """Return the variable of a task that would have been read as one of them was imported; empty for none."""
        for reads in self.loaded.values():
            for variables in reads.values():
                for variable in variables:
                    if variable in environment and os.environ.get(variable) != environment[variable]:
                        return variable
        return ""

    def next_s(self, idle_since: float | None) -> float | None:
        """Return when there is something to do (monotonic); None for never.

        Args:
            idle_since: since when nothing runs and nothing is asked; None while something does.
        """
        if self._trial is not None:
            return self._trial.until
        return None if idle_since is None or not self._next() else idle_since + IDLE_S

    def go_on(self, now: float, idle_since: float | None, leave: Callable[[], None]) -> None:
        """Do what is due: try the next module, or import one that was tried.

        Args:
            now: monotonic.
            idle_since: as for `next_s`.
            leave: has a child give up what is the parent's.

        Raises:
            RuntimeError: if one starts a thread that started none when it was tried.
        """
        if self._trial is not None:
            self._look(self._trial, now, idle=idle_since is not None)
        elif idle_since is not None and now >= idle_since + IDLE_S and (name := self._next()):
            self._try(name, now, leave)

    def _next(self) -> str:
        if not self._on or len(self.loaded) >= MOST_MODULES:
            return ""
        names = (name for name, _ in self._tasks.most_common())
        return next((name for name in names if name not in self.why_not and name not in sys.modules), "")

    def _try(self, name: str, now: float, leave: Callable[[], None]) -> None:
        self._tries[name] += 1
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            try:
                leave()
                os.write(writing, json.dumps(tried(name)).encode()[:TOLD_BYTES])
            finally:
                os._exit(0)
        os.close(writing)
        self._trial = Trial(name, pid, reading, now + LONGEST_S)

    def _look(self, trial: Trial, now: float, *, idle: bool) -> None:
        pid, status = os.waitpid(trial.pid, os.WNOHANG)
        late = not pid and now >= trial.until
        if late:
            with contextlib.suppress(OSError):
                os.kill(trial.pid, 9)
            os.waitpid(trial.pid, 0)
        elif not pid:
            return
        self._trial = None
        told = b""
        with contextlib.suppress(OSError):
            told = os.read(trial.told, TOLD_BYTES)
        os.close(trial.told)
        if late:
            self._leave_out(trial.name, f"takes longer than {LONGEST_S:.0f} s")
        elif told:
            found = json.loads(told)
            read = {one for variables in found.get("reads", {}).values() for one in variables} & self._brought
            if "why" in found:
                self._leave_out(trial.name, found["why"])
            elif read:
                self._leave_out(trial.name, f"reads {min(read)} as it is imported, and tasks have their own")
            elif self._bytes + found["grown_bytes"] > MOST_BYTES:
                self._leave_out(trial.name, f"takes {found['grown_bytes'] >> 20} MiB")
            elif idle:
                self._import(trial.name, found)
            # Else it is tried again: what came meanwhile is not to wait for it.
        elif os.waitstatus_to_exitcode(status) >= 0 or self._tries[trial.name] >= TRIES:
            # A reset may have ended it.
            self._leave_out(trial.name, "ends the interpreter")

    def _import(self, name: str, found: dict[str, Any]) -> None:
        before, began = top_level(), time.monotonic()
        try:
            importlib.import_module(name)
        except Exception as error:
            self._leave_out(name, f"cannot be imported: {type(error).__name__}: {error}")
            return
        if threading.active_count() > 1:
            raise RuntimeError(f"Module {name} starts a thread as it is imported.")
        self.loaded[name] = found["reads"]
        self._bytes += found["grown_bytes"]
        self.came |= {one: file_of(sys.modules[one]) for one in top_level() - before if installed(sys.modules[one])}
        took_s = time.monotonic() - began
        print(f"preloaded {name}, which tasks import: {took_s:.2f} s, {found['grown_bytes'] >> 20} MiB", flush=True)

    def _leave_out(self, name: str, why: str) -> None:
        self.why_not[name] = why
        print(f"not preloaded: {name} {why}", flush=True)


def top_level() -> set[str]:
    """Return the top-level names of what is imported."""
    return {name for name in list(sys.modules) if "." not in name}


def installed(module: Any) -> bool:
    """Tell whether a module is installed where this interpreter's are."""
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    return isinstance(origin, str) and origin.startswith(tuple(place + os.sep for place in places))


def file_of(module: Any) -> tuple[int, ...]:
    """Return what tells an installed module's file from one that replaces it; empty if it is gone."""
    with contextlib.suppress(OSError):
        found = Path(module.__spec__.origin).stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return ()


def tried(name: str) -> dict[str, Any]:
    """Import a module in this process, which is for that alone.

    Returns:
        ``why`` it is left to the tasks; or ``grown_bytes`` and ``reads``: which modules read which variables.
    """
    os.nice(19)
    reads = noted_reads()
    sockets_before, bytes_before, began = sockets(), resident_bytes(), time.monotonic()
    try:
        importlib.import_module(name)
    except BaseException as error:
        return {"why": f"cannot be imported by itself: {type(error).__name__}: {error}"[:300]}
    if not installed(sys.modules[name]):
        return {"why": "is not installed"}
    if threading.active_count() > 1 or keeps_threads():
        return {"why": "starts a thread"}
    if sockets() > sockets_before:
        return {"why": "opens a socket"}
    if time.monotonic() - began < LEAST_S:
        return {"why": "takes no time"}
    return {
        "grown_bytes": max(0, resident_bytes() - bytes_before),
        "reads": {module: sorted(variables) for module, variables in reads.items()},
    }


def noted_reads() -> dict[str, set[str]]:
    """Have this process note which variables are read from now on, by the top-level name of who reads."""
    found: dict[str, set[str]] = {}
    kind: Any = type(os.environ)
    read = kind.__getitem__

    def noting(environment: Any, variable: Any) -> Any:
        frame: Any = sys._getframe(1)
        while frame is not None and (reader := reader_of(frame)) in sys.stdlib_module_names:
            frame = frame.f_back
        # What is read to find a module is read by the import system itself, for this program.
        if frame is not None and reader != __name__.partition(".")[0] and isinstance(variable, str):
            found.setdefault(reader, set()).add(variable)
        return read(environment, variable)

    kind.__getitem__ = noting
    return found


def reader_of(frame: Any) -> str:
    """Return the top-level name of the module whose code a frame runs."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def keeps_threads() -> bool:
    """Tell whether this process has threads of its system, and would lose them by a fork.

    A library that is made for it ends its own before a fork, and starts them anew where they are needed: OpenBLAS.
    """
    if system_threads() == 1:
        return False
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    end = time.monotonic() + 0.5
    while system_threads() > 1:
        if time.monotonic() > end:
            return True
        time.sleep(0.01)
    return False


def system_threads() -> int:
    """Return how many threads this process has, whoever started them."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names alone


def sockets() -> int:
    """Return how many sockets this process has open."""
    found = 0
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            found += str(Path("/proc/self/fd", number).readlink()).startswith("socket:")
    return found


def resident_bytes() -> int:
    """Return how much memory this process has: resident, see proc_pid_statm(5)."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""The warm interpreter of a cluster: it has imported what tasks import, and forks a clean child for each.

Its text is run on the head by ``python -c`` as the entrypoint of a submitted job: it may import the standard library
only, besides what it is told to preload. The job's working directory holds the file `GIVEN`, a JSON object, which is
deleted once it is read:

    ``environment``  variables that every task of this interpreter has
    ``preload``      names of modules to import; one that is not there is left out. None of them may start a thread
    ``learns``       whether to import, when it is idle, what its tasks do (`pool.inside.imports`)

It prints `MARK` and a JSON object: ``host``, ``port`` and ``loaded``. There it is asked over TCP, one line of JSON
each way, with the cluster's token: ``run``, ``wait``, ``kill`` and ``log`` a task, by its id; or to ``end``, which it
does some time after the last of its tasks has, unless one more is to run meanwhile. One thread does all that, so that
forking is safe. It never imports what a task brings along: that is the children's.
"""

from __future__ import annotations

import contextlib
import ctypes
import hmac
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pool.inside.child import base_environment, become, why_not
from pool.inside.imports import TOLD_BYTES, Imports
from pool.inside.place import LINE_BYTES, RESIDENCY, host, logs, of_the_raylet, token

GIVEN = "warmpool.json"
MARK = "warmpool-runner "
PREFIX = "warmpool-runner-"
"""Its job's id begins so."""
LOG_BYTES = 1 << 20
GRACE_S = 3.0
"""So long a task that is to end has before it is killed."""
ENDED_KEPT = 1000

LEAVES = "told"
"""In a task's directory: what its processes leave there of resident data, for who holds the lease."""

PR_SET_PDEATHSIG = 1


@dataclass
class Task:
    """A task, where it tells of its imports, what it told, and who waits for its end: a connection, and until when."""

    pid: int
    directory: str
    telling: int
    code: int | None = None
    told: dict[str, list[str]] = field(default_factory=dict)
    kill_at: float | None = None
    waiting: list[tuple[socket.socket, float]] = field(default_factory=list)


class Runner:
    """Serves requests, and watches over the children."""

    def __init__(self, token: str, logs: Path, image_directory: str, host: str, imports: Imports) -> None:
        self._token = token
        self._imports = imports
        self._busy_at = time.monotonic()
        self._ended_at = 0.0
        self._end_after_s: float | None = None
        self._logs = logs
        self._image_directory = image_directory
        self._tasks: dict[str, Task] = {}
        self._buffers: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._server = socket.create_server((host, 0), backlog=64)
        self._server.setblocking(False)
        self._selector.register(self._server, selectors.EVENT_READ)
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self._server.getsockname()[1])

    def serve(self) -> None:
        """Serve until it is to end, and nothing runs any more."""
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while (ends_at := self._ends_at()) is None or time.monotonic() < ends_at:
            for key, _ in self._selector.select(self._next_s()):
                if key.fileobj is self._server:
                    self._accept()
                elif key.fileobj is self._woken:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                else:
                    self._hear(key.fileobj)  # type: ignore[arg-type]
            self._reap()
            self._imports.go_on(time.monotonic(), self._idle_since(), self._leave)

    def _ends_at(self) -> float | None:
        """Return when to end (monotonic): who waited for a task may ask for its end a while later. None for never."""
        if self._end_after_s is None or any(task.code is None for task in self._tasks.values()):
            return None
        return self._ended_at + self._end_after_s if self._tasks else 0.0

    def _idle_since(self) -> float | None:
        """Return since when nothing runs and nothing is asked (monotonic); None while something does."""
        busy = self._buffers or any(task.code is None for task in self._tasks.values())
        return None if busy else self._busy_at

    def _next_s(self) -> float | None:
        times = [until for task in self._tasks.values() for _, until in task.waiting]
        times += [task.kill_at for task in self._tasks.values() if task.kill_at is not None]
        times += [at for at in (self._imports.next_s(self._idle_since()), self._ends_at()) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    # --- connections ---

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._server.accept()
            connection.setblocking(False)
            self._buffers[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        said = self._buffers[connection] + data
        if not data or len(said) > LINE_BYTES:
            self._close(connection)
            return
        self._buffers[connection] = said
        if said.endswith(b"\n"):
            self._answer(connection, said)

    def _answer(self, connection: socket.socket, said: bytes) -> None:
        self._busy_at = time.monotonic()
        try:
            asked = json.loads(said)
            if not hmac.compare_digest(str(asked["token"]), self._token):
                raise PermissionError("The token is not the cluster's.")
            answer = self._do(connection, asked)
        except Exception as error:
            answer = {"state": "error", "why": f"{type(error).__name__}: {error}"}
        if answer is not None:
            self._say(connection, answer)

    def _say(self, connection: socket.socket, answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(5.0)
            connection.sendall(json.dumps(answer).encode() + b"\n")
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection)
        self._buffers.pop(connection, None)
        for task in self._tasks.values():
            task.waiting = [one for one in task.waiting if one[0] is not connection]
        connection.close()

    # --- what is asked ---

    def _do(self, connection: socket.socket, asked: dict[str, Any]) -> dict[str, Any] | None:
        verb, id_ = asked["do"], str(asked["id"])
        task = self._tasks.get(id_)
        if verb == "end":
            self._end_after_s = float(asked["after_s"])
            return {"state": "ends"}
        if verb == "run" and task is None:
            return self._run(id_, asked)
        if verb == "log":
            return {"state": "log", "log": self._tail(id_)}
        if task is None:
            return {"state": "lost" if self._log(id_).exists() else "unknown"}
        if verb == "kill" and task.code is None:
            task.kill_at = time.monotonic() + GRACE_S
            with contextlib.suppress(OSError):
                os.killpg(task.pid, signal.SIGTERM)
        if verb == "wait" and task.code is None:
            task.waiting.append((connection, time.monotonic() + float(asked["bound_s"])))
            return None
        return self._state(task)

    @staticmethod
    def _state(task: Task) -> dict[str, Any]:
        return {"state": "running"} if task.code is None else {"state": "ended", "code": task.code, **task.told}

    def _log(self, id_: str) -> Path:
        return self._logs / f"{Path(id_).name}.log"

    def _tail(self, id_: str) -> str:
        with contextlib.suppress(OSError), self._log(id_).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
            return file.read().decode(errors="replace")
        return ""

    def _run(self, id_: str, asked: dict[str, Any]) -> dict[str, Any]:
        if (self._logs / f"job-driver-{id_}.log").exists():
            return {"state": "refused", "reason": "begun", "why": "it has begun as a Ray job"}
        environment = base_environment() | asked["environment"]
        reason, why = why_not(asked["command"], asked["environment"], environment)
        if variable := self._imports.conflict(asked["environment"]):
            reason, why = "needs_variable", f"its variable {variable} is read as a preloaded module is imported"
        if why:
            return {"state": "refused", "reason": reason, "why": why}
        # Who has its variables is back: another one makes place now.
        self._end_after_s = None
        self._imports.brought(asked["environment"])
        self._imports.heard(asked.get("modules", ()), 0)
        try:
            # What ran under this id before, in an interpreter that is gone, has left its log.
            log = os.open(self._log(id_), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError:
            return {"state": "lost"}
        directory = tempfile.mkdtemp(prefix="warmpool-task-")
        work, temporary, leaves = (Path(directory, name) for name in ("work", "tmp", LEAVES))
        for made in (work, temporary, leaves):
            made.mkdir()
        where = str(work) if asked["unpacks"] else self._image_directory
        sys.stdout.flush()
        sys.stderr.flush()
        telling, tells = os.pipe()
        os.set_blocking(telling, False)
        pid = os.fork()
        if pid == 0:
            try:
                self._leave(log)
                tempfile.tempdir = str(temporary)
                besides = self._image_directory if asked["unpacks"] else ""
                become(
                    asked["command"], environment | {RESIDENCY: str(leaves)}, where, besides, self._imports,
                    lambda told: os.write(tells, json.dumps(told).encode()),
                )  # fmt: skip
            finally:
                os._exit(70)
        os.close(log)
        os.close(tells)
        with contextlib.suppress(OSError):
            # Also here, since it may be killed before it has come to it.
            os.setpgid(pid, pid)
        self._tasks[id_] = Task(pid, directory, telling)
        return {"state": "running"}

    def _leave(self, log: int | None = None) -> None:
        """Give up what is the parent's, in the child; without a log, what is written is lost."""
        if log is None:
            log = os.open(os.devnull, os.O_WRONLY)
        os.setpgid(0, 0)
        # It ends with the runner, and so with the cluster's Ray.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for one in (self._server, self._woken, self._wake, *self._buffers):
            one.close()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    # --- children ---

    def _reap(self) -> None:
        now = time.monotonic()
        for task in list(self._tasks.values()):
            if task.code is None:
                if task.kill_at is not None and task.kill_at <= now:
                    task.kill_at = None
                    with contextlib.suppress(OSError):
                        os.killpg(task.pid, signal.SIGKILL)
                pid, status = os.waitpid(task.pid, os.WNOHANG)
                if pid:
                    self._ended(task, os.waitstatus_to_exitcode(status))
            due = [one for one, until in task.waiting if until <= now or task.code is not None]
            for connection in due:
                self._say(connection, self._state(task))
        for id_ in [id_ for id_, task in self._tasks.items() if task.code is not None][:-ENDED_KEPT]:
            del self._tasks[id_]

    def _ended(self, task: Task, code: int) -> None:
        task.code, task.kill_at = (code if code >= 0 else 128 - code), None
        self._busy_at = self._ended_at = time.monotonic()
        # It may have written anything there, or nothing.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(os.read(task.telling, TOLD_BYTES))
            task.told = {what: [str(name) for name in told[what]] for what in ("imported", "found")}
            self._imports.heard(task.told["found"] + task.told["imported"])
        os.close(task.telling)
        if residency := left_in_text(Path(task.directory, LEAVES)):
            task.told["residency"] = residency
        # With it goes all that it started and left behind.
        with contextlib.suppress(OSError):
            os.killpg(task.pid, signal.SIGKILL)
        shutil.rmtree(task.directory, ignore_errors=True)


def left_in_text(directory: Path) -> list[str]:
    """Return what a task's processes left there to be told of resident data, each as the text that it is."""
    texts: list[str] = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for file in sorted(directory.glob("*.json")):
            if sum(map(len, texts)) + file.stat().st_size <= TOLD_BYTES:
                texts.append(file.read_text(encoding="utf-8"))
    return texts


def preloaded(names: list[str]) -> list[str]:
    """Import modules, and return the names of those that are there.

    Raises:
        RuntimeError: if one has started a thread: a child would lack it.
    """
    found = []
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            found.append(name)
        if threading.active_count() > 1:
            raise RuntimeError(f"Module {name} starts a thread as it is imported: it cannot be preloaded.")
    return found


def main() -> None:
    """Preload, say where it listens, and serve."""
    file = Path.cwd() / GIVEN
    given = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    os.environ.update(given["environment"])
    loaded = preloaded(given["preload"])
    directory, _ = of_the_raylet()
    where = host()
    runner = Runner(token(), logs(), directory, where, Imports(on=given["learns"]))
    print(MARK + json.dumps({"host": where, "port": runner.port, "loaded": loaded}), flush=True)
    runner.serve()


if __name__ == "__main__":
    main()

"""One small process per cluster that outlives the daemon: it starts the nodes, watches them, and ends them.

It ends the cluster when it is told to (SIGTERM), when the head ends, and when no daemon has claimed the store's
clusters for a set time; then it also deletes what the cluster left on disk. It is started as
``python supervisor.py DIRECTORY`` with the environment of the cluster, and imports the standard library alone.
Started again, it goes on with the nodes that it finds running.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

if __name__ == "__main__":
    # Run as a file: the package is found beside it, whatever the working directory and PYTHONPATH say.
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from pool.backends.local.processes import Process, end, read
from pool.backends.local.trail import Files, Running, Trail

_PR_SET_CHILD_SUBREAPER = 36
CHECK_S = 2.0
"""How often the claim is looked at. Signals (a child ended, please stop) wake the supervisor at once."""


class Supervisor:
    """Starts, watches and ends the nodes of one cluster."""

    def __init__(self, directory: Path) -> None:
        self.files = Files(directory)
        trail = self.files.trail()
        if trail is None:
            raise SystemExit(f"{directory} holds no trail")
        self.trail: Trail = trail
        before = self.files.running()
        self.nodes = before.nodes
        self.ended = before.ended
        self.me = _this_process()
        self.told = False
        self._claimed = (-1.0, time.monotonic())
        self._wake_r, self._wake_w = os.pipe()
        self._children: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        """Start what does not run yet; return when the cluster is ended."""
        adopt_orphans()
        os.set_blocking(self._wake_w, False)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._on_term)
        self._note()
        head, *workers = self.trail.nodes
        if head.name not in self.nodes:
            self._launch(head.name, head.command)
        missing = [worker for worker in workers if worker.name not in self.nodes]
        while not self._over():
            # A node gives up when it does not get going within 30 s, a bound that Ray does not let anybody set: on a
            # busy machine it must not compete with the start of the head.
            if missing and self._head_is_up():
                for worker in missing:
                    self._launch(worker.name, worker.command)
                missing = []
            self._sleep(0.05 if missing else CHECK_S)
            self._reap()
        unclaimed = self._unclaimed()
        self._say("told to stop" if self.told else "unclaimed" if unclaimed else "the head ended")
        sessions = [process.pid for process in self.nodes.values()]
        gone = end(self.trail.store_id, self.trail.cluster_id, self.nodes.values(), self.trail.grace_s, sessions)
        self._reap()
        if unclaimed and gone:
            # Nobody is there who could call stop, or wants to read the logs.
            self.files.delete(self.trail.temp_dir)

    def _launch(self, name: str, command: tuple[str, ...]) -> None:
        with self.files.log(name).open("ab") as log:
            child = subprocess.Popen(
                command,
                cwd=self.files.work,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        entry = read(child.pid)
        assert entry is not None, "a child is in the table until it is waited for"  # noqa: S101
        self._children.append(child)
        self.nodes[name] = entry.process
        self._note()

    def _over(self) -> bool:
        head = self.nodes["head"]
        return self.told or self._unclaimed() or not head.alive()

    def _head_is_up(self) -> bool:
        return (Path(self.trail.temp_dir) / "session_latest" / "sockets" / "raylet").exists()

    def _unclaimed(self) -> bool:
        """Tell whether the claim stayed unchanged for too long, by a clock that stands still with the machine."""
        if not self.files.directory.exists():
            # Somebody deleted the state directory: no daemon will ever find this cluster.
            return True
        try:
            changed = Path(self.trail.claim).stat().st_mtime
        except OSError:
            changed = 0.0
        if changed != self._claimed[0]:
            self._claimed = (changed, time.monotonic())
        return time.monotonic() - self._claimed[1] > self.trail.unclaimed_s

    def _reap(self) -> None:
        """Collect ended children and write down how the nodes ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                for name, process in self.nodes.items():
                    if process.pid == pid:
                        self.ended[name] = _in_words(os.waitstatus_to_exitcode(status))
        lost = [name for name, process in self.nodes.items() if name not in self.ended and not process.alive()]
        self.ended.update(dict.fromkeys(lost, "ended"))
        if self.files.directory.exists():
            self._note()

    def _note(self) -> None:
        self.files.write_running(Running(self.me, self.nodes, self.ended))

    def _sleep(self, bound_s: float) -> None:
        if select.select([self._wake_r], [], [], bound_s)[0]:
            os.read(self._wake_r, 4096)

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self.told = True

    def _say(self, why: str) -> None:
        print(f"stopping {self.trail.cluster_id}: {why}; ended before: {self.ended or 'none'}", flush=True)


def adopt_orphans() -> None:
    """Have whatever below this process loses its parent become its child: so it is known whose it is, whatever it did.

    `PR_SET_CHILD_SUBREAPER` of prctl(2). Where that is not known, such a process is still found by its marks.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _this_process() -> Process:
    entry = read(os.getpid())
    assert entry is not None, "this process runs"  # noqa: S101
    return entry.process


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    return f"was killed by {signal.Signals(-code).name}"


if __name__ == "__main__":
    Supervisor(Path(sys.argv[1])).run()

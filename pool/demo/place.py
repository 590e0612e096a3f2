"""Where the demo lives: one directory, and processes that all carry its path, so that nothing can be left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from pool.backends.local.processes import pauses

MARK = "WARMPOOL_DEMO"

_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_ROOT = 12
_KEPT_OUT = ("RAY_", "WARMPOOL_", "FLYTE_", "PYTHONDONTWRITEBYTECODE", "PYTEST_", "COV_")


class Place:
    """A temporary directory, and the processes that run for it.

    Each process gets the directory's path in its environment (`MARK` and ``TMPDIR``; a cluster's the path of its token,
    which lies below). What loses its parent becomes a child of this process: so also a program that overwrote its
    environment is found.

    Attributes:
        root: the directory.
        state_dir: of the daemon.
    """

    def __init__(self) -> None:
        self.root = temp_root(_LONGEST_ROOT) / f"wd-{secrets.token_hex(3)}"
        self.state_dir = self.root / "s"
        self._started: list[subprocess.Popen[bytes]] = []
        self._before: set[int] = set()

    def __repr__(self) -> str:
        return f"<Place {self.root}>"

    def make(self) -> None:
        """Make the directory, and adopt what will lose its parent."""
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.root.mkdir(mode=0o700)
        for name in ("t", "f", "log"):
            (self.root / name).mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a process of the demo: this one's without other settings of Ray, Flyte and ours."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_OUT)}
        env[MARK] = str(self.root)
        env["TMPDIR"] = str(self.root / "t")
        env["PYTHONUNBUFFERED"] = "1"
        return env | more

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own: a Ctrl-C on the terminal reaches the demo alone.

        Args:
            name: of its log, see `log`.
            command: to run.
            env: from `environment`.
        """
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                env=dict(env),
                cwd=self.root / "f",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def log(self, name: str) -> Path:
        """Where a program writes."""
        return self.root / "log" / f"{name}.log"

    def living(self) -> list[psutil.Process]:
        """Return every process of the demo that still runs."""
        for process in self._started:
            process.poll()
        found = {child.pid: child for child in _children() if child.pid not in self._before}
        found |= {process.pid: process for process in marked(self.root)}
        found.pop(os.getpid(), None)
        return [process for process in found.values() if _runs(process)]

    def end_programs(self, but: int) -> None:
        """Ask every program that was started here to end, except one by its process id."""
        for process in self._started:
            if process.pid != but:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGTERM)

    def end(self, grace_s: float) -> None:
        """End every process of the demo, by force after `grace_s` seconds, and see them gone.

        Raises:
            RuntimeError: if some are still there.
        """
        for process in self.living():
            with contextlib.suppress(psutil.Error):
                process.terminate()
        for _ in pauses(grace_s):
            if not self.living():
                return
        for _ in pauses(10.0):
            left = self.living()
            if not left:
                return
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        raise RuntimeError(f"processes {sorted(process.pid for process in left)} could not be ended")

    def remove(self) -> None:
        """Delete the directory."""
        for _ in pauses(2.0):
            # Again, if something that just ended was still writing.
            shutil.rmtree(self.root, ignore_errors=True)
            if not self.root.exists():
                return
        shutil.rmtree(self.root)


def marked(root: Path) -> Iterator[psutil.Process]:
    """Yield the processes that have a path of `root` in their environment."""
    needle = os.fsencode(root)
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if needle in Path(f"/proc/{process.pid}/environ").read_bytes():
                yield process


def _children() -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process().children(recursive=True)
    return []


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.Error:
        return False


def temp_root(longest: int) -> Path:
    """Return the directory for temporary files; ``/tmp`` if its path has more than `longest` bytes.

    Ray's sockets lie below what is made there, and their paths may have 107 bytes.
    """
    given = Path(tempfile.gettempdir())
    return given if len(os.fsencode(given)) <= longest else Path("/tmp")  # noqa: S108 - names in it are random


PYTHON = sys.executable

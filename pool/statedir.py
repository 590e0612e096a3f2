"""The state directory: whose it is, and the file by which commands find its daemon."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from pool.core.errors import PoolError
from pool.core.reasons import Reason

DAEMON_FILE = "daemon.json"
OPERATOR_TOKEN_FILE = "operator.token"  # noqa: S105 - the name of a file


class StateDirError(PoolError):
    """The state directory cannot be used."""

    reason = Reason.CONFLICT
    remedy = "Choose another directory with --state-dir or WARMPOOL_STATE_DIR."


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that says of itself that it runs.

    Attributes:
        tokens: the directory of its tokens.
    """

    url: str
    pid: int
    tokens: Path


class StateDir:
    """A daemon's directory, held by a lock that the kernel takes back when its process dies.

    Attributes:
        path: absolute; Ray's sockets and the store's URL need it so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = -1

    def take(self, *, shared: bool = False) -> None:
        """Make the directory if need be, and hold it for this process.

        Args:
            shared: with daemons that take it so too: on a store of which one is the writer and the others stand by.

        Raises:
            StateDirError: another daemon has it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.path / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateDirError(f"{self.path} cannot be used: {(error.strerror or 'unknown cause').lower()}.") from None
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(lock, 32).decode("ascii", "replace").strip()
            os.close(lock)
            raise StateDirError(
                f"{self.path} is in use by the daemon with process id {pid or 'unknown'}.",
                remedy="Stop that daemon first, or give this one another --state-dir.",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def announce(self, url: str, tokens: Path) -> None:
        """Write where this daemon listens and where its tokens are, for commands on this machine."""
        draft = self.path / f".{DAEMON_FILE}.{os.getpid()}"
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"url": url, "pid": os.getpid(), "tokens": str(tokens)}, file)
            draft.replace(self.path / DAEMON_FILE)
        except OSError as error:
            draft.unlink(missing_ok=True)
            # Python does not say which file it could not write.
            error.filename = str(self.path / DAEMON_FILE)
            raise

    def leave(self) -> None:
        """Take the announcement away and let go of the directory; doing it again does nothing."""
        if self._lock >= 0:
            announced = running(self.path)
            if announced is not None and announced.pid == os.getpid():
                (self.path / DAEMON_FILE).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


def running(path: Path) -> Running | None:
    """Return the daemon that announced itself in a state directory, None if there is none that lives."""
    try:
        said = json.loads((path / DAEMON_FILE).read_text(encoding="utf-8"))
        found = Running(str(said["url"]), int(said["pid"]), Path(said["tokens"]))
        os.kill(found.pid, 0)
    except PermissionError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found

"""One daemon per SQLite file: a lock that the kernel takes back when its process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pool.core.errors import StoreFailed


class WriterLock:
    """An exclusive lock on ``<database>.lock``, which holds the process id of its owner.

    The file stays when the lock is let go: removing it would let two processes each lock a file of that name.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock.

        Raises:
            StoreFailed: another process has it.
            OSError: the file cannot be made.
        """
        self.path = database.with_name(database.name + ".lock")
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._fd, 32).decode("ascii", "replace").strip()
            self.release()
            if not isinstance(error, BlockingIOError):
                raise
            raise StoreFailed(
                f"The store {database} is in use by the daemon with process id {owner or 'unknown'}.",
                remedy="Stop that daemon first, or give this one another store.",
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of the lock; doing it again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

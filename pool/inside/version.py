"""What an owner of resident data shows of itself to the processes of its node: whether anything has changed.

Sent into the cluster by value, with `pool.inside.owner`: it imports the standard library alone.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from typing import Any

MARK_BYTES = 16
"""At the beginning of what a `Version` shows: which owner's it is."""
AT = MARK_BYTES // 8
"""Where its number is, in words of 8 bytes."""


class Version:
    """A number that rises with every change, in memory that a process of the same node can look at without asking.

    It is a file without a name, which goes with the owner, who alone has it locked: who can lock it knows that the
    owner is gone. Where a system has no such files, there is nothing to look at.
    """

    def __init__(self) -> None:
        self._number = 0
        self._mark = secrets.token_bytes(MARK_BYTES)
        self._fd = -1
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("warmpool-resident", os.MFD_CLOEXEC)
            os.ftruncate(self._fd, mmap.PAGESIZE)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._memory = mmap.mmap(self._fd, mmap.PAGESIZE)
            self._memory[:MARK_BYTES] = self._mark
            # A whole word is written at once.
            self._words = memoryview(self._memory).cast("Q")

    def rise(self) -> None:
        """Change the number: before whoever asked for the change is answered."""
        self._number += 1
        if self._fd >= 0:
            self._words[AT] = self._number

    def told(self) -> dict[str, Any] | None:
        """Return where the number is, which owner's it is, and what it is now; None if it cannot be looked at."""
        if self._fd < 0:
            return None
        return {"path": f"/proc/{os.getpid()}/fd/{self._fd}", "mark": self._mark, "number": self._number}

    def close(self) -> None:
        """Let go of it, as the end of its process does."""
        if self._fd >= 0:
            self._words.release()
            self._memory.close()
            os.close(self._fd)
            self._fd = -1

"""What this process remembers of its node's resident values, so that `get` need not ask their owner each time.

An owner shows a number that rises with every change, in memory of its own (`pool.inside.version`). As long as it is
what it was when the owner answered, the answer holds. A reference that is remembered keeps an object in the store
that its owner may want to be rid of. So a thread looks at the number too, and what was not asked for in a while is
forgotten.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from pool.inside.version import AT, MARK_BYTES

LOOK_EVERY_S = 0.1
"""How often the thread looks: well within the time that an owner waits for what it frees (its `FREED_S`)."""
FOR_S = 2.0
"""What was not asked for in this time is forgotten."""
TELL_EVERY_S = 1.0
"""The owner is told so often that a value is in use: that orders the values for which there is no room."""


@dataclass
class Found:
    """What an owner answered of a value.

    Attributes:
        entry: its description.
        refs: its references.
        used_at: when this process asked for it last, `told_at` when its owner learned that it did (monotonic seconds).
    """

    entry: dict[str, Any]
    refs: list[Any]
    used_at: float
    told_at: float

    def to_tell(self, now: float) -> bool:
        """Tell whether its owner should learn now that it is in use, and take that for done."""
        every_s = min(TELL_EVERY_S, (self.entry["keep_for_s"] or TELL_EVERY_S) / 4)
        if now - self.told_at < every_s:
            return False
        self.told_at = now
        return True


class Remembered:
    """The values of one owner. All methods may be called from any thread.

    Attributes:
        watching: a thread looks whether they are still to be remembered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, Found] = {}
        self._view: _View | None = None
        self._number = 0
        self.watching = False

    @property
    def count(self) -> int:
        """How many values are remembered."""
        return len(self._kept)

    def find(self, name: str, now: float) -> Found | None:
        """Return what is remembered of a value, None if its owner is to be asked."""
        if name not in self._kept:
            return None
        with self._lock:
            self._look()
            found = self._kept.get(name)
            if found is not None:
                found.used_at = now
            return found

    def remember(self, entry: dict[str, Any], refs: list[Any], shown: dict[str, Any], now: float) -> None:
        """Remember what an owner of this node answered.

        Args:
            entry: the value's description.
            refs: its references.
            shown: where its owner shows the number, and what it was.
            now: monotonic seconds.
        """
        with self._lock:
            if self._view is None or self._view.mark != shown["mark"]:
                self._clear()
                self._view = _View.of(shown["path"], shown["mark"])
                if self._view is None:
                    return
            if self._number != shown["number"]:
                self._kept.clear()
                self._number = shown["number"]
            self._kept[entry["name"]] = Found(entry, refs, now, now)
            if not self.watching:
                self.watching = True
                threading.Thread(target=self._watch, name="resident", daemon=True).start()

    def forget(self) -> list[str]:
        """Forget everything, and return the names that were used since their owner was told last."""
        with self._lock:
            untold = [name for name, found in self._kept.items() if found.used_at > found.told_at]
            self._clear()
            return untold

    def _look(self) -> None:
        if self._view is not None and self._view.number() != self._number:
            self._clear()

    def _clear(self) -> None:
        self._kept.clear()
        if self._view is not None:
            self._view.close()
        self._view = None

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            with self._lock:
                self._look()
                since = time.monotonic() - FOR_S
                for name in [name for name, found in self._kept.items() if found.used_at < since]:
                    del self._kept[name]
                if not self._kept:
                    self.watching = False
                    return


class _View:
    """An owner's number, seen from another process of its node."""

    def __init__(self, fd: int, memory: mmap.mmap, mark: bytes) -> None:
        self.mark = mark
        self._fd = fd
        self._memory = memory
        self._words = memoryview(memory).cast("Q")

    @classmethod
    def of(cls, path: str, mark: bytes) -> _View | None:
        """Return the view of an owner's number; None if it is not to be seen from here."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # Another container, or a system that does not show it: its owner is asked each time.
            return None
        try:
            memory = mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            os.close(fd)
            return None
        if memory[:MARK_BYTES] != mark:
            # A process of another container has the same number.
            memory.close()
            os.close(fd)
            return None
        return cls(fd, memory, mark)

    def number(self) -> int | None:
        """Return it; None if the owner is gone, and with it who would change it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._words[AT]
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return None

    def close(self) -> None:
        """Let go of it."""
        self._words.release()
        self._memory.close()
        os.close(self._fd)


remembered = Remembered()
"""What this process's connection remembers."""

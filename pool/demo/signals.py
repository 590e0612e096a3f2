"""Ctrl-C at any moment: a signal is noted, and raised only where nothing is half done."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asked to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"interrupted by {signal.Signals(number).name}")


class Signals:
    """Notes the signals that ask to end, while it is entered. In the main thread alone.

    Attributes:
        count: of signals so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in ENDING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._number = self._number or number

    def check(self) -> None:
        """Raise `Interrupted` if a signal came."""
        if self._number:
            raise Interrupted(self._number)

    def pause(self, wait_s: float = 0.02) -> None:
        """Wait a moment, and raise `Interrupted` if a signal came."""
        self.check()
        time.sleep(wait_s)
        self.check()

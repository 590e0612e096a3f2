"""An event loop in which time is a number: nothing ever waits, and the same program runs the same way every time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any


class Stuck(RuntimeError):
    """Everything waits for something that nobody will do."""


class _NoFiles(selectors.BaseSelector):
    """A selector without files: to wait for a time is to be there."""

    def __init__(self) -> None:
        self.wait: Callable[[float], None] = lambda seconds: None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError("there are no files in simulated time")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise NotImplementedError("there are no files in simulated time")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is ready and nothing is planned")
        if timeout > 0:
            self.wait(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class SimLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time.

    Attributes:
        steps: rounds of the loop so far: a place in a run that a seed finds again.
    """

    def __init__(self) -> None:
        self._virtual = 0.0
        self.steps = 0
        self._traps: dict[int, Callable[[], None]] = {}
        selector = _NoFiles()
        selector.wait = self.jump
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._virtual

    def jump(self, seconds: float) -> None:
        """Let time pass in which nobody could do anything."""
        self._virtual += seconds

    def at_step(self, step: int, act: Callable[[], None]) -> None:
        """Call `act` once the loop has come to that round, in the middle of whatever is going on."""
        self._traps[step] = act

    def forget_traps(self) -> None:
        """Do nothing of what was planned with `at_step`."""
        self._traps.clear()

    def _run_once(self) -> None:
        self.steps += 1
        act = self._traps.pop(self.steps, None)
        if act is not None:
            self.call_soon(act)
        super()._run_once()  # type: ignore[misc]

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

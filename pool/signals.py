"""What the daemon does at a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import NoReturn

import structlog

log = structlog.get_logger("warmpool")


class Signals:
    """SIGTERM and SIGINT end the daemon (a second one at once); SIGHUP reloads.

    Args:
        reload: takes the configuration anew.
    """

    def __init__(self, reload: Callable[[], Coroutine[None, None, None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._reload = reload
        self._reload_asked = False
        self._reloading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_end, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hup)

    def _on_end(self, number: signal.Signals) -> None:
        if self._end.is_set():
            log.warning("a second signal: ending at once; what is committed is safe")
            _exit_now(128 + number)
        log.info(f"{number.name}: ending", signal=number.name)
        self._end.set()

    def _on_hup(self) -> None:
        self._reload_asked = True
        if self._reloading is None or self._reloading.done():
            self._reloading = self._loop.create_task(self._reload_while_asked())

    async def _reload_while_asked(self) -> None:
        """Reload, and once more if that was asked meanwhile: the file may have changed after it was read."""
        while self._reload_asked:
            self._reload_asked = False
            await self._reload()

    def reload_on(self, changes: AsyncIterator[None]) -> None:
        """Reload at each of `changes` too."""

        async def watch() -> None:
            async for _ in changes:
                self._on_hup()

        self._watching = self._loop.create_task(watch())

    async def unless_told_to_end(self, work: Coroutine[None, None, object]) -> bool:
        """Do `work` and return True, or cancel it and return False if a signal to end comes first."""
        task, end = self._loop.create_task(work), self._loop.create_task(self._end.wait())
        try:
            await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return False
            task.result()
            return True
        finally:
            task.cancel()
            end.cancel()
            await asyncio.gather(task, end, return_exceptions=True)

    async def close(self) -> None:
        """Leave the signals alone again."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.remove_signal_handler(number)
        tasks = [task for task in (self._watching, self._reloading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _exit_now(code: int) -> NoReturn:
    sys.stderr.flush()
    os._exit(code)

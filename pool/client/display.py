"""Showing how an acquire goes: a live line on a terminal, a line per change elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from pool.client.request import Progress, seconds


@contextlib.contextmanager
def waiting_display(stream: TextIO | None = None) -> Iterator[Callable[[Progress], None]]:
    """Yield a progress callback that shows the waiting on `stream`.

    On a terminal, with rich installed, one line lives until the grant; otherwise each change gets a line.

    Args:
        stream: standard error if not given.

    Example:
        >>> with waiting_display() as show, pool.lease(image="local", tenant="p/d", holder="me", progress=show):
        ...     ...
    """
    out = stream or sys.stderr
    with contextlib.ExitStack() as stack:
        live = _live_display(out) if out.isatty() else None
        if live is None:
            yield PlainDisplay(out)
            return
        stack.callback(live.stop)
        yield live


class PlainDisplay:
    """Writes a line when phase, position or reason change, and not when only the time passed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: object = None

    def __call__(self, progress: Progress) -> None:
        """Show `progress` if it tells something new."""
        news = (progress.phase, progress.position, progress.reason)
        if news != self._shown:
            self._shown = news
            print(progress, file=self._stream, flush=True)


class LiveDisplay:
    """One line with a spinner and the time waited, until the grant; then the line of the grant stays."""

    def __init__(self, console: Any) -> None:
        """Show on a `rich.console.Console`."""
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.text import Text

        self._console = console
        self._text = Text
        self._began = time.monotonic()
        self._line = ""
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)

    def _render(self) -> Any:
        waited = seconds(time.monotonic() - self._began)
        self._spinner.update(text=self._text(f"{self._line}  {waited}", no_wrap=True, overflow="ellipsis"))
        return self._spinner

    def __call__(self, progress: Progress) -> None:
        """Show `progress`."""
        if progress.phase == "granted":
            self.stop()
            self._console.print(self._text(str(progress)))
            return
        if not self._live.is_started:
            self._began = time.monotonic() - progress.waited_s
            self._live.start()
        self._line = str(progress)

    def stop(self) -> None:
        """Take the live line away."""
        self._live.stop()


def _live_display(stream: TextIO) -> LiveDisplay | None:
    try:
        from rich.console import Console
    except ImportError:
        return None
    return LiveDisplay(Console(file=stream))

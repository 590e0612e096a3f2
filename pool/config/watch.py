"""Noticing that the configuration file was changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

LOOK_EVERY_S = 2.0
SETTLE_S = 0.2
"""How long a new content must stay the same: an editor may empty the file before it writes it."""


class Watch:
    """The content of the configuration file and of those it names, and when it becomes another one.

    Made before the file is loaded: a change that comes between is noticed too.

    Args:
        path: of the file.
        look_every_s: how often it is read.
        settle_s: how long a new content must stay the same before it counts.
    """

    def __init__(self, path: Path, look_every_s: float = LOOK_EVERY_S, settle_s: float = SETTLE_S) -> None:
        self._paths: tuple[Path, ...] = (path,)
        self._look_every_s = look_every_s
        self._settle_s = settle_s
        self._known = _contents(self._paths)

    def beside(self, paths: Iterable[Path]) -> None:
        """Notice changes of these files too, from what they hold now on."""
        self._paths = (self._paths[0], *paths)
        self._known = {**_contents(self._paths), **self._known}

    async def changes(self) -> AsyncIterator[None]:
        """Yield whenever the file's content is another one than before, for as long as it is asked.

        The content is compared, not its time: Kubernetes replaces the directory of a ConfigMap, with the same content
        too. A file that cannot be read has not changed: it may be just about to be replaced.
        """
        while True:
            found = await asyncio.to_thread(_contents, self._paths)
            while self._differs(found):
                await asyncio.sleep(self._settle_s)
                before, found = found, await asyncio.to_thread(_contents, self._paths)
                if found == before:
                    self._known |= found
                    yield
            await asyncio.sleep(self._look_every_s)

    def _differs(self, found: Mapping[Path, bytes]) -> bool:
        return any(self._known.get(path) != content for path, content in found.items())


def _contents(paths: Iterable[Path]) -> dict[Path, bytes]:
    """Return what the files hold, without those that cannot be read."""
    found = ((path, _content(path)) for path in paths)
    return {path: content for path, content in found if content is not None}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None

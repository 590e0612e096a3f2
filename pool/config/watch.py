"""Noticing that the configuration file was changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

LOOK_EVERY_S = 2.0


async def changes(path: Path, look_every_s: float = LOOK_EVERY_S) -> AsyncIterator[None]:
    """Yield whenever the file's content is another one than before, for as long as it is asked.

    The content is compared, not its time: Kubernetes replaces the directory of a ConfigMap, with the same content too.
    A file that cannot be read has not changed: it may be just about to be replaced.
    """
    known = await asyncio.to_thread(_content, path)
    while True:
        await asyncio.sleep(look_every_s)
        found = await asyncio.to_thread(_content, path)
        if found is not None and found != known:
            known = found
            yield


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None

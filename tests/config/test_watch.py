"""Noticing that the configuration file was changed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from pool.config import watch as watching
from pool.config.watch import Watch

BEFORE, AFTER = "pools: []\n", "defaults: {idle_ttl: 7m}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "warmpool.yaml"
    path.write_text(BEFORE)
    return path


async def test_a_change_before_the_first_look_is_noticed(path: Path) -> None:
    watch = Watch(path, look_every_s=0, settle_s=0)
    await asyncio.to_thread(path.write_text, AFTER)
    await anext(watch.changes())


async def test_what_an_editor_empties_before_it_writes_is_one_change(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read as it was, missing, empty, half written, written, and so on; and then as it was once more."""
    old, new = BEFORE.encode(), AFTER.encode()
    looks: list[bytes | None] = [old, old, None, old, b"", new[:9], new, new, new, old, old]
    read: list[bytes | None] = []
    ended = threading.Event()

    def content(_: Path) -> bytes | None:
        if len(read) == len(looks):
            ended.set()
            return old
        read.append(looks[len(read)])
        return read[-1]

    monkeypatch.setattr(watching, "_content", content)
    seen: list[bytes | None] = []

    async def follow() -> None:
        async for _ in Watch(path, look_every_s=0, settle_s=0).changes():
            seen.append(read[-1])

    following = asyncio.create_task(follow())
    assert await asyncio.to_thread(ended.wait, 20)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert seen == [new, old]

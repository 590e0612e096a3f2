"""The state directory says where its daemon is, or that it cannot."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from pool.statedir import DAEMON_FILE, StateDir


def test_an_announcement_that_has_no_room_names_its_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    directory = StateDir(tmp_path)
    directory.take()
    with pytest.raises(OSError, match="No space left") as caught:
        directory.announce("http://127.0.0.1:1", tmp_path)
    directory.leave()
    assert caught.value.filename == str(tmp_path / DAEMON_FILE)
    assert [file.name for file in tmp_path.iterdir()] == ["daemon.lock"]

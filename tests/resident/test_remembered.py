"""What a process remembers of an owner's values: as long as it holds, and no longer than it is used."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from pool.inside.version import Version
from pool.resident import remembered as module
from pool.resident.remembered import Remembered

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has files without a name")


def entry(name: str = "frame", keep_for_s: float | None = None) -> dict[str, Any]:
    return {"name": name, "keep_for_s": keep_for_s}


def told(version: Version) -> dict[str, Any]:
    shown = version.told()
    assert shown is not None
    return shown


def test_what_an_owner_answered_holds_until_it_changes_something() -> None:
    version, known = Version(), Remembered()
    known.remember(entry(), ["ref"], told(version), 0.0)
    found = known.find("frame", 1.0)
    assert found is not None
    assert found.refs == ["ref"]
    assert known.find("other", 1.0) is None
    version.rise()
    assert known.find("frame", 1.0) is None
    # What is answered now is remembered beside nothing that was answered before.
    known.remember(entry("other"), ["ref"], told(version), 2.0)
    assert known.find("frame", 2.0) is None
    assert known.find("other", 2.0) is not None


def test_an_answer_that_is_older_than_a_change_is_not_believed() -> None:
    version, known = Version(), Remembered()
    before = told(version)
    version.rise()
    known.remember(entry(), ["ref"], before, 0.0)
    assert known.find("frame", 0.0) is None


def test_nothing_holds_of_an_owner_that_is_gone() -> None:
    version, known = Version(), Remembered()
    known.remember(entry(), ["ref"], told(version), 0.0)
    version.close()
    assert known.find("frame", 0.0) is None


def test_an_owner_that_is_not_to_be_seen_from_here_is_asked_each_time() -> None:
    version, known = Version(), Remembered()
    elsewhere = told(version) | {"path": "/proc/0/fd/3"}
    known.remember(entry(), ["ref"], elsewhere, 0.0)
    assert known.find("frame", 0.0) is None
    # What is at this place here belongs to somebody else.
    known.remember(entry(), ["ref"], told(version) | {"mark": b"another owner's."}, 0.0)
    assert known.find("frame", 0.0) is None


def test_its_references_go_soon_after_a_change_although_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.001)
    version, known = Version(), Remembered()
    known.remember(entry(), ["ref"], told(version), time.monotonic())
    version.rise()
    gone(known)


def test_what_nobody_asks_for_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(module, "FOR_S", 0.01)
    version, known = Version(), Remembered()
    for _ in range(2):
        known.remember(entry(), ["ref"], told(version), time.monotonic())
        gone(known)


def test_an_owner_learns_now_and_then_that_a_value_is_in_use() -> None:
    version, known = Version(), Remembered()
    known.remember(entry(), ["ref"], told(version), 10.0)
    known.remember(entry("brief", keep_for_s=0.4), ["ref"], told(version), 10.0)
    found, brief = known.find("frame", 10.2), known.find("brief", 10.2)
    assert found is not None
    assert brief is not None
    assert not found.to_tell(10.2)
    # It would be dropped before its second is over.
    assert brief.to_tell(10.2)
    assert found.to_tell(11.0)
    assert not found.to_tell(11.1)
    known.find("frame", 11.5)
    # What was not told yet is told when room is to be made.
    assert known.forget() == ["frame"]
    assert known.find("frame", 11.5) is None


def gone(known: Remembered) -> None:
    """Wait until nothing is kept, and nothing looks."""
    deadline = time.monotonic() + 10.0
    while known.count or known.watching:
        assert time.monotonic() < deadline
        time.sleep(0.001)

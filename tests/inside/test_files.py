"""Which files are taken for a holder's, and that nothing else is touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pool.inside import files
from pool.inside.files import sweep_files, sweep_node_files
from pool.inside.processes import Process


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def later() -> float:
    """Return a time after which the file system's clock has moved on."""
    moved = time.time()
    while time.time() < moved + 0.02:
        time.sleep(0.005)
    return time.time() - 0.01


def test_everything_goes_where_nothing_was_before(tmp_path: Path) -> None:
    write(tmp_path / "a/b/c", "123")
    write(tmp_path / "d")
    (tmp_path / "link").symlink_to("/etc/passwd")
    removed, left = sweep_files(str(tmp_path), 0.0)
    [said] = removed
    assert said.startswith("3 files of ")
    assert said.endswith(f"bytes in {tmp_path}: a/b/c, d, link")
    assert left == []
    assert list(tmp_path.iterdir()) == []
    assert Path("/etc/passwd").exists()
    assert sweep_files(str(tmp_path), 0.0) == ([], [])


def test_what_was_there_before_stays_and_so_do_directories(tmp_path: Path) -> None:
    old, deep = write(tmp_path / "image/code.py"), write(tmp_path / "image/lib/deep.py")
    since_s = later()
    write(tmp_path / "image/new")
    write(tmp_path / "out/new")
    removed, _ = sweep_files(str(tmp_path), since_s)
    assert removed == [f"2 files of 2 bytes in {tmp_path}: image/new, out/new"]
    assert old.exists()
    assert deep.exists()
    assert (tmp_path / "out").is_dir()
    assert sweep_files(str(tmp_path), since_s) == ([], [])


def test_what_is_mounted_and_what_holds_a_mount_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = write(tmp_path / "shared/volume/result")
    write(tmp_path / "own")
    volume = tmp_path / "shared/volume"
    monkeypatch.setattr(files, "mounted", lambda: {str(volume), *map(str, volume.parents)})
    removed, _ = sweep_files(str(tmp_path), 0.0)
    assert removed == [f"1 file of 1 bytes in {tmp_path}: own"]
    assert kept.exists()


def test_mounts_of_this_machine_are_read() -> None:
    assert {"/", "/proc"} <= files.mounted()


def test_what_will_not_go_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a")

    def refuse(path: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "unlink", refuse)
    assert sweep_files(str(tmp_path), 0.0) == (
        [], [f"file {path}, which could not be removed: Operation not permitted"],
    )  # fmt: skip


def test_the_root_of_the_file_system_and_what_is_missing_are_left_alone(tmp_path: Path) -> None:
    assert sweep_files("/", 0.0) == ([], [])
    assert sweep_files(str(tmp_path / "missing"), 0.0) == ([], [])


def test_a_node_is_swept_where_its_raylet_runs_and_below_the_sessions_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, session = tmp_path / "home", tmp_path / "session"
    write(home / "new")
    write(session / "artifacts/run/checkpoint")
    write(session / "logs/raylet.out")
    monkeypatch.chdir(home)
    # Its working directory is this process's; it began so long ago that all of this is newer.
    raylet = Process(os.getpid(), 1, -3600.0, ["/ray/raylet", f"--session_dir={session}"])
    removed, left = sweep_node_files({raylet.pid: raylet}, "head")
    assert removed == [
        f"1 file of 1 bytes in {home}: new on the head",
        f"1 file of 1 bytes in {session}/artifacts: run/checkpoint on the head",
    ]
    assert left == []
    assert (session / "logs/raylet.out").exists()

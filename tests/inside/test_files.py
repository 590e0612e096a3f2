"""Which files are taken for a holder's, and that nothing else is touched."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pool.inside import files
from pool.inside.files import SKEW_S, sweep_files, sweep_node_files
from pool.inside.processes import Process, processes, raylets
from tests.heads import head
from tests.serving import environment


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


class Node:
    """A node whose raylet is this process: where it works, its session, and its socket, bound by `begin`."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.session = directory / "home", directory / "session"
        self.socket = directory / "raylet"
        self.home.mkdir()
        monkeypatch.chdir(self.home)
        monkeypatch.setattr(files, "mount_points", lambda: {"/", "/proc"})

    def begin(self) -> None:
        later()
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(self.socket))

    def sweep(self, first_s: float | None) -> tuple[list[str], list[str]]:
        # By the table it began just now.
        began_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        options = [f"--session_dir={self.session}", f"--raylet_socket_name={self.socket}"]
        return sweep_node_files({1: Process(os.getpid(), 1, began_s, ["/ray/raylet", *options])}, "head", first_s)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_what_the_first_task_of_a_new_node_wrote_goes_and_what_was_there_before_its_raylet_stays(node: Node) -> None:
    old = write(node.home / "image/code.py")
    node.begin()
    write(node.home / "new")
    write(node.session / "artifacts/run/checkpoint")
    log = write(node.session / "logs/raylet.out")
    assert node.sweep(first_s=time.time() - 3600) == (
        [
            f"1 file of 1 bytes in {node.home}: new on the head",
            f"1 file of 1 bytes in {node.session}/artifacts: run/checkpoint on the head",
        ],
        [],
    )
    assert old.exists()
    assert log.exists()


def test_what_a_node_itself_wrote_before_the_clusters_first_job_stays(node: Node) -> None:
    node.begin()
    own = write(node.home / "warmed-by-a-hook-of-the-pod")
    first_s = later() + SKEW_S
    write(node.home / "left")
    removed, _ = node.sweep(first_s)
    assert removed == [f"1 file of 1 bytes in {node.home}: left on the head"]
    assert own.exists()


def test_where_no_job_was_nothing_is_a_holders(node: Node) -> None:
    node.begin()
    own = write(node.home / "own")
    assert node.sweep(first_s=None) == ([], [])
    assert own.exists()


def test_a_node_without_its_raylets_socket_is_not_proven_clean(node: Node) -> None:
    own = write(node.home / "own")
    said = "files that cannot be told from the node's own: its raylet's socket is gone on the head"
    assert node.sweep(first_s=1.0) == ([], [said])
    assert own.exists()


@pytest.mark.parametrize("point", ["", "home"])
def test_a_volume_in_which_tasks_run_is_left_alone(point: str, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.begin()
    others = write(node.home / "of-another-pod")
    points = {"/", str(node.home.parent / point)}
    monkeypatch.setattr(files, "mount_points", lambda: points)
    assert node.sweep(first_s=1.0) == ([], [])
    assert others.exists()


def test_bytecode_of_the_images_modules_stays_and_that_of_a_holders_goes(tmp_path: Path) -> None:
    write(tmp_path / "lib/image.py")
    since_s = later()
    own = write(tmp_path / "lib/__pycache__/image.cpython-311.pyc")
    write(tmp_path / "lib/left.py")
    write(tmp_path / "lib/__pycache__/left.cpython-311.pyc")
    write(tmp_path / "lib/__pycache__/gone.cpython-311.pyc")
    write(tmp_path / "lib/some.pyc")
    [said], _ = sweep_files(str(tmp_path), since_s)
    assert said.startswith("4 files of 4 bytes in ")
    assert own.exists()


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_on_real_ray_the_first_tasks_file_goes_and_a_node_has_written_none_itself(tmp_path: Path) -> None:
    with head("files", tmp_path) as await_ready:
        cluster = await_ready()
        assert list(tmp_path.iterdir()) == []
        own = write(tmp_path / "own")
        later()
        code = (
            "import ray; ray.init(log_to_driver=False); ray.get(ray.remote(lambda: open('left', 'w').close()).remote())"
        )
        env = environment() | {
            "RAY_ADDRESS": cluster["address"], "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster["token"],
        }  # fmt: skip
        began_s = time.time()
        subprocess.run([sys.executable, "-c", code], env=env, check=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["left", "own"]
        [raylet] = [one for one in raylets(processes()) if Path(f"/proc/{one.pid}/cwd").readlink() == tmp_path]
        removed, left = sweep_node_files({raylet.pid: raylet}, "head", began_s + SKEW_S)
        assert removed == [f"1 file of 0 bytes in {tmp_path}: left on the head"]
        assert left == []
        assert own.exists()

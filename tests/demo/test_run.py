"""The demo as a newcomer runs it: the figures it shows are those of a real run, and it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from pool.demo import run as demo
from pool.demo.direct import RunFailed
from pool.demo.figures import Run
from pool.demo.place import Place, marked
from pool.demo.programs import TASKS, fresh
from pool.demo.signals import Signals
from pool.flyte.record import TaskRecord

SETTLE_S = 20.0


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory for all temporary files of a demo, with a name short enough for Ray's sockets."""
    root = Path(f"/tmp/d{secrets.token_hex(2)}")
    root.mkdir()
    try:
        yield root
    finally:
        for process in marked(root):
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(root, ignore_errors=True)


def start(root: Path, *args: str, out: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "TMPDIR": str(root), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "pool.cli", "demo", *args]
    with out.open("wb") as told, out.with_suffix(".err").open("wb") as err:
        return subprocess.Popen(command, env=env, stdout=told, stderr=err)


def left(root: Path) -> list[str]:
    """Return what is left of a demo: processes, and files."""
    processes = []
    for process in marked(root):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                processes.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
    return processes + [str(path) for path in root.iterdir()]


def seen_gone(root: Path) -> list[str]:
    """Return what is left once nothing changes any more: an ended process takes a moment to be gone."""
    until = time.monotonic() + SETTLE_S
    while (found := left(root)) and time.monotonic() < until:
        time.sleep(0.1)
    return found


@pytest.mark.ray
@pytest.mark.flyte
def test_a_run_shows_cold_and_warm_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    svg = tmp_path / "demo.svg"
    out = tmp_path / "out"
    process = start(root, "--no-baseline", "--json", "--svg", str(svg), out=out)
    try:
        code = process.wait(280)
    finally:
        process.kill()
        process.wait()
    told = out.with_suffix(".err").read_text()
    assert code == 0, told
    assert seen_gone(root) == []
    runs = json.loads(out.read_text())["runs"]
    assert [[task["task"].rsplit(".", 1)[-1] for task in runs[name]["tasks"]] for name in ("cold", "warm")] == [
        list(TASKS),
        list(TASKS),
    ]
    first, again = runs["cold"]["tasks"][0], runs["warm"]["tasks"][0]
    assert (first["outcome"], first["reason"]) == ("cold", "no_cluster")
    # What the cold run left in the cluster's memory goes first, if that has not happened yet.
    assert (again["outcome"], again["reason"]) in (("hit", ""), ("waited", "all_resetting"))
    assert {task["cluster"] for run in runs.values() for task in run["tasks"]} == {first["cluster"]}
    for run in runs.values():
        assert run["outside_s"] == pytest.approx(run["wall_s"] - run["bodies_s"], abs=0.01)
    assert "cold: load waits, starting head" in told
    assert "cold pool" in told
    assert "train" in svg.read_text()


@pytest.mark.ray
@pytest.mark.flyte
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("starting the daemon", signal.SIGHUP),
        ("waits, starting head", signal.SIGINT),
        ("load granted", signal.SIGTERM),
    ],
)
def test_a_signal_at_any_moment_leaves_nothing(root: Path, tmp_path: Path, moment: str, number: signal.Signals) -> None:
    out = tmp_path / "out"
    process = start(root, "--no-baseline", out=out)
    try:
        until = time.monotonic() + 180
        while moment not in out.read_text():
            assert process.poll() is None, out.read_text() + out.with_suffix(".err").read_text()
            assert time.monotonic() < until, out.read_text()
            time.sleep(0.02)
        assert left(root) != []
        process.send_signal(number)
        code = process.wait(120)
    finally:
        process.kill()
        process.wait()
    assert code == 128 + number, out.read_text()
    assert seen_gone(root) == []


@pytest.mark.ray
@pytest.mark.flyte
def test_an_interrupted_baseline_leaves_nothing() -> None:
    place = Place()
    place.make()
    try:
        program = place.start("fresh", fresh(), place.environment())
        until = time.monotonic() + 180
        while not any("raylet" in process.name() for process in place.living() if process.is_running()):
            assert program.poll() is None, place.log("fresh").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        place.end_programs(but=0)
        assert program.wait(60) != 0
    finally:
        place.end(grace_s=2.0)
        place.remove()
    assert list(marked(place.root)) == []


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_has", lambda module: module not in ("flytekit", "sklearn"))
    assert demo.main(["--width", "200"]) == 1
    told = capsys.readouterr().out
    assert 'pip install "warmpool[server,flyte]" scikit-learn' in told
    assert len(told.splitlines()) == 1


def test_a_picture_that_cannot_be_written_is_said_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for file in (tmp_path, tmp_path / "file" / "demo.svg"):
        assert demo.main(["--width", "200", "--svg", str(file)]) == 1
        assert capsys.readouterr().out == f"demo: No file {file} can be written: name another one for the picture.\n"
    for file in (tmp_path / "file", tmp_path / "deep" / "demo.svg"):
        demo.check_file(file)


def test_too_little_memory_is_said_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "NEEDED_BYTES", 2**60)
    assert demo.main(["--width", "200"]) == 1
    told = capsys.readouterr().out
    assert "GiB of free memory" in told
    assert len(told.splitlines()) == 1


def test_a_daemon_that_cannot_start_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pool.demo.service.PYTHON", "/bin/false")
    before = set(Path("/tmp").glob("wd-*"))
    assert demo.main(["--width", "200"]) == 1
    told = capsys.readouterr().out
    assert "demo: The daemon could not be started (code 1)" in told
    assert set(Path("/tmp").glob("wd-*")) - before == set()


def test_a_failed_comparison_does_not_take_away_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def staged(options: demo.Options, console: Console, signals: Signals, runs: list[Run]) -> None:
        for name in ("cold", "warm"):
            record = TaskRecord("workflow.train", 1.0, how="leased", outcome="hit", body_s=2.0)
            runs.append(Run(name, 0.0, 10.0, (record,)))
        raise RunFailed("The fresh run ended with code 1: no room", "")

    monkeypatch.setattr(demo, "_staged", staged)
    assert demo.main(["--width", "100"]) == 1
    told = capsys.readouterr().out
    assert "time outside task bodies: 8.0 s cold, 8.0 s warm" in told
    assert told.splitlines()[-1] == "demo: The fresh run ended with code 1: no room"


def test_help_tells_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--help"]) == 0
    told = capsys.readouterr().out
    for option in ("--json", "--no-baseline", "--keep", "--width", "--svg"):
        assert option in told

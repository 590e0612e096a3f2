"""What the figures of a run are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.demo.figures import Run, how, read_records, verdict
from pool.flyte.record import LOG_VARIABLE, TaskRecord


def test_a_line_that_is_still_being_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    assert read_records(log) == []
    monkeypatch.setenv(LOG_VARIABLE, str(log))
    first, second = TaskRecord("a", 1.0, body_s=2.0), TaskRecord("b", 3.0)
    first.write()
    second.write()
    whole = log.read_bytes()
    log.write_bytes(whole[:-5])
    assert read_records(log) == [first]
    log.write_bytes(whole)
    assert read_records(log, skip=1) == [second]


def test_what_a_newer_plugin_writes_besides_is_ignored(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"task": "a", "started": 1.0, "moons": 2}\n')
    assert read_records(log) == [TaskRecord("a", 1.0)]


def test_outside_is_the_whole_command_less_the_bodies() -> None:
    task = TaskRecord("a", 0.0, acquire_s=1.0, connect_s=0.5, body_s=2.0, release_s=0.25)
    run = Run("warm", 0.0, 9.0, (task, task))
    assert run.bodies_s == 4.0
    assert run.outside_s == 5.0
    assert run.cluster_s == 3.5


def test_a_miss_is_told_with_its_reason() -> None:
    assert how(TaskRecord("a", 0.0, outcome="hit")) == "hit"
    assert how(TaskRecord("a", 0.0, outcome="cold", reason="no_cluster")) == "cold: no_cluster"
    assert how(TaskRecord("a", 0.0, how="fresh")) == "own cluster"
    assert how(TaskRecord("a", 0.0, how="shared", outcome="hit")) == "shared"


def test_there_is_no_verdict_before_a_warm_run() -> None:
    assert verdict([Run("cold", 0.0, 9.0, ())]) == ""

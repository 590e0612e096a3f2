"""The start of a task as a Ray job, without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from pool.connector.package import entrypoint
from pool.inside import start


def job(home: Path, command: str, *, unpacks: bool = True, **variables: str) -> tuple[int, str]:
    """Run it as Ray would, and return its code and its log."""
    logs, directory = home / "logs", home / "job"
    logs.mkdir(exist_ok=True)
    directory.mkdir()
    given = {"id": "t-1", "command": command, "environment": {"SECRET": "s3cret"}, "unpacks": unpacks}
    (directory / start.GIVEN).write_text(json.dumps(given))
    log = logs / "job-driver-t-1.log"
    with log.open("wb") as out:
        done = subprocess.run(
            ["/bin/sh", "-c", entrypoint()], cwd=directory, stdout=out, stderr=out, timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(directory)} | variables,
        )  # fmt: skip
    assert not (directory / start.GIVEN).exists()
    assert not (directory / "work").exists()
    return done.returncode, log.read_text()


def test_the_command_has_its_variables_and_an_empty_directory(tmp_path: Path) -> None:
    code, said = job(tmp_path, 'echo "$SECRET" $(pwd) $(ls | wc -l) "$PYTHONPATH"; touch left; exit 3')
    assert code == 3
    # The image's own directory stays importable, the job's does not: it holds nothing of the task.
    assert said.split() == ["s3cret", str(tmp_path / "job" / "work"), "0", str(tmp_path)]


def test_a_command_that_unpacks_nothing_runs_where_the_image_says(tmp_path: Path) -> None:
    assert job(tmp_path, "pwd", unpacks=False) == (0, f"{tmp_path}\n")


def test_flytekit_may_give_the_workers_a_working_directory_of_its_own(tmp_path: Path) -> None:
    config = {"runtime_env": {"working_dir": "gcs://x.zip", "env_vars": {"A": "b"}}, "metadata": {"m": "n"}}
    code, said = job(tmp_path, f'echo "${start.JOB_CONFIG}"', **{start.JOB_CONFIG: json.dumps(config)})
    assert code == 0
    assert json.loads(said) == {"runtime_env": {"env_vars": {"A": "b"}}, "metadata": {"m": "n"}}


def test_a_signal_that_ends_the_command_is_told_as_a_shell_would(tmp_path: Path) -> None:
    code, _ = job(tmp_path, "kill -9 $$")
    assert code == 137


@pytest.mark.parametrize("begun", [True, False])
def test_what_has_begun_in_the_warm_interpreter_does_not_begin_again(tmp_path: Path, begun: bool) -> None:
    (tmp_path / "logs").mkdir()
    if begun:
        (tmp_path / "logs" / "t-1.log").touch()
    code, said = job(tmp_path, "echo began")
    assert (code, "began\n" in said) == ((1, False) if begun else (0, True))

"""A failed start is told in the few lines that matter. The logs are as Ray writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.backends.local import cause
from pool.backends.local.trail import Files, Ports, Trail

TRAIL = Trail("s1", "c1", "d", "/nowhere", Ports(1, 2, 3, 4), (), "claim", 1.0, 1.0)

TRACEBACK = """2026-11-23 22:58:01,326\tINFO usage_lib.py:448 -- Usage stats collection is disabled.
Traceback (most recent call last):
  File "/x/ray/_private/parameter.py", line 409, in _check_usage
    raise ValueError(
ValueError: ray_client_server_port must be an integer between 1024 and 65535.
"""
TIMED_OUT = """    raise Exception(
Exception: The current node timed out during startup. This could happen because some of the raylet failed to startup.
2026-11-23 22:58:01,326\tINFO scripts.py:1043 -- Local node IP: 192.0.2.2
"""
PORT = """Traceback (most recent call last):
ValueError: Failed to bind to 127.0.0.1:8265 because it's already occupied. You can use `ray start ...` to select one.
"""
KILLED = "".join(
    f"2026-11-27 15:23:37,712\tERR scripts.py:{line}\n"
    for line in (
        "1307 -- \x1b[31mSome Ray subprocesses exited unexpectedly:\x1b[39m",
        "87 -- \x1b[31m\x1b[1mraylet\x1b[22m\x1b[26m\x1b[39m\x1b[0m\x1b[2m [exit code=-9]\x1b[22m\x1b[0m",
        "115 -- \x1b[31m----- BEGIN raylet.out tail (exit code(s)=-9 (signal 9)) -----\x1b[39m",
        "122 -- \x1b[31m- bytes unsealed: 0\n- objects in use: 0\n\x1b[39m",
        "128 -- \x1b[31m----- END raylet.out tail (exit code(s)=-9 (signal 9)) -----\x1b[39m",
        "1315 -- \x1b[31mRemaining processes will be killed.\x1b[39m",
    )
)
USAGE = """Usage: python -m ray.scripts.scripts start [OPTIONS]
Try 'python -m ray.scripts.scripts start --help' for help.

Error: Invalid value for '--num-gpus': 'many' is not a valid integer.
"""


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (TRACEBACK, "ValueError: ray_client_server_port must be an integer between 1024 and 65535."),
        (USAGE, "Error: Invalid value for '--num-gpus': 'many' is not a valid integer."),
        ("something\n\x1b[31munforeseen\x1b[0m\n", "something | unforeseen"),
        ("", "it left no log."),
    ],
)
def test_the_line_that_tells_the_cause_is_found(tmp_path: Path, log: str, said: str) -> None:
    files = Files(tmp_path)
    files.log("head").write_text(log)
    assert cause.of(files, TRAIL, "head") == said
    assert not cause.port_was_taken(said)


def test_a_plain_exception_is_a_cause(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.log("head").write_text(TIMED_OUT)
    assert cause.of(files, TRAIL, "head").startswith("Exception: The current node timed out during startup.")


def test_a_port_that_was_taken_is_recognised(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.log("head").write_text(PORT)
    assert cause.port_was_taken(cause.of(files, TRAIL, "head"))


def test_a_node_that_left_no_log_is_no_further_error(tmp_path: Path) -> None:
    assert cause.of(Files(tmp_path), TRAIL, "head") == "it left no log."


def test_a_killed_head_is_not_explained_by_what_it_said_when_it_was_well(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.log("head").write_text("INFO scripts.py:1265 -- --block\n")
    assert cause.of(files, TRAIL, "head", was_ready=True) == "its logs name no error."
    files.log("head").write_text(TIMED_OUT)
    assert cause.of(files, TRAIL, "head", was_ready=True).startswith("Exception: ")


@pytest.mark.parametrize("was_ready", [True, False])
def test_the_process_of_rays_that_was_killed_is_named_instead_of_what_it_said_when_it_was_well(
    tmp_path: Path, was_ready: bool
) -> None:
    files = Files(tmp_path)
    files.log("head").write_text(KILLED)
    assert cause.of(files, TRAIL, "head", was_ready=was_ready) == "raylet was killed by SIGKILL"
    crashed = KILLED.replace("code=-9]", "code=1]").replace("- objects in use: 0", "RuntimeError: no room in /dev/shm")
    files.log("head").write_text(crashed)
    said = cause.of(files, TRAIL, "head", was_ready=was_ready)
    assert said == "raylet exited with code 1 | RuntimeError: no room in /dev/shm"

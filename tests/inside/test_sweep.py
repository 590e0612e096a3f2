"""Which processes of a pod are Ray's own, and which a holder's code left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pool.backends.rayapi.inside import entrypoint, sweep_of
from pool.inside.processes import Process, for_code, grown, leftovers, line, processes, rays

RAYLET = "/site-packages/ray/core/src/ray/raylet/raylet"
# As seen in a head's pod: `ray start` has no parent here, and adopts what loses its own.
POD = [
    Process(1, 0, 1.0, ["python3", "/usr/local/bin/ray", "start", "--head", "--block"]),
    Process(2, 1, 0.9, ["bash", "operators-own.sh"]),
    Process(7, 1, 2.0, ["/site-packages/ray/core/src/ray/gcs/gcs_server"]),
    Process(41, 1, 2.1, ["python3", "-m", "ray.util.client.server", "--address=10.0.0.4:6379"]),
    Process(42, 1, 2.2, ["python3", "/site-packages/ray/dashboard/dashboard.py"]),
    Process(93, 42, 9.0, ["ray-dashboard-JobHead-0"]),
    Process(300, 1, 5.0, [RAYLET]),
    Process(299, 1, 5.5, ["python3", "-u", "/site-packages/ray/_private/log_monitor.py"]),
    Process(340, 300, 6.0, ["ray::DashboardAgent"]),
    Process(341, 340, 90.0, ["python3", "-m", "something.of.the.agents"]),
    Process(342, 300, 6.0, ["python3", "/site-packages/ray/_private/runtime_env/agent/main.py"]),
    Process(400, 300, 50.0, ["ray::IDLE"]),
    Process(401, 300, 50.0, ["python3", "/site-packages/ray/_private/workers/default_worker.py"]),
    # The job that asks, and what watches over it.
    Process(500, 300, 80.0, ["ray::JobSupervisor"]),
    Process(501, 500, 80.5, ["/bin/sh", "-c", "while kill -s 0 500; do sleep 1; done"]),
    Process(502, 500, 80.5, ["/bin/sh", "-c", "python -c ..."]),
    Process(503, 502, 80.6, ["python", "-c", "..."]),
    Process(504, 503, 80.7, ["a child of the sweep"]),
    # kubectl exec
    Process(600, 0, 85.0, ["bash"]),
]


def left(*more: Process) -> list[str]:
    return list(leftovers({process.pid: process for process in [*POD, *more]}, 503).values())


def test_rays_own_the_operators_and_the_sweep_itself_are_no_leftovers() -> None:
    assert left() == []


@pytest.mark.parametrize(
    ("process", "said"),
    [
        (Process(900, 1, 60.0, ["sleep", "1000"]), "process 'sleep 1000' (pid 900)"),
        (Process(900, 400, 60.0, ["sleep", "1000"]), "process 'sleep 1000' (pid 900)"),
        (Process(900, 300, 60.0, ["ray::train"]), "worker ray::train (pid 900)"),
        (Process(900, 300, 60.0, ["ray::A.agent.py"]), "worker ray::A.agent.py (pid 900)"),
        (Process(900, 300, 60.0, ["sleep", "1000"]), "process 'sleep 1000' (pid 900)"),
        (
            Process(900, 41, 60.0, ["python3", "-m", "ray.util.client.server", "--mode=specific-server"]),
            "process 'python3 -m ray.util.client.server --mode=specific-server' (pid 900)",
        ),
    ],
)
def test_what_a_holders_code_started_is_named(process: Process, said: str) -> None:
    assert left(process) == [said]


def test_an_owner_of_resident_data_that_stays_is_no_leftover_and_what_looks_like_one_is() -> None:
    table = {process.pid: process for process in POD}
    for pid in (900, 901):
        table[pid] = Process(pid, 300, 60.0, ["ray::ResidentOwner.adopt"])
    assert list(leftovers(table, 503, [900]).values()) == ["worker ray::ResidentOwner.adopt (pid 901)"]
    table[900] = Process(900, 300, 60.0, ["ray::train"])
    assert len(leftovers(table, 503, [900])) == 2


def test_how_much_a_cluster_has_grown_is_looked_at_in_rays_own_processes_on_the_head() -> None:
    table = {process.pid: process for process in POD}
    table[900] = Process(900, 300, 60.0, ["ray::train"])
    table[901] = Process(901, 300, 60.0, ["ray::ResidentOwner"])
    found = rays(table, 503, [900])
    assert found == {1, 2, 7, 41, 42, 93, 300, 299, 340, 341, 342}
    own = grown([os.getpid()])
    assert own["head_memory_bytes"] > 1_000_000
    assert own["open_files"] >= 3
    assert grown([2**22 + 1]) == {"head_memory_bytes": 0, "open_files": 0}


def test_without_a_raylet_nothing_is_proven() -> None:
    table = {process.pid: process for process in POD if process.pid != 300}
    assert list(leftovers(table, 503).values()) == ["processes that cannot be seen: there is no raylet among those"]


def test_processes_of_this_machine_are_read_and_ended_ones_are_not() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    found = processes()
    ended.wait()
    assert ended.pid not in found
    own = found[os.getpid()]
    assert own.parent == os.getppid()
    assert line(os.getpid(), found)[:2] == [os.getpid(), os.getppid()]


def test_the_program_travels_in_the_entrypoint_and_says_when_it_is_outside_a_cluster() -> None:
    command = entrypoint(sweep_of([], processes=False, prestart=False, spare_resident=False))
    # What Ray's job list shows for each job is kept short.
    assert len(command) < 10_000
    env = {"PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]}
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    assert "KeyError: 'RAY_ADDRESS'" in done.stderr


def test_a_warm_interpreter_stays_and_what_it_forked_goes() -> None:
    job = [
        Process(700, 300, 60.0, ["ray::JobSupervisor.run"]),
        Process(701, 700, 60.1, ["python3", "-c", "the warm interpreter"]),
        Process(702, 700, 60.1, ["/bin/sh", "-c", "while kill -s 0 700; do sleep 1; done; kill -9 -701"]),
        Process(703, 702, 65.0, ["sleep", "1"]),
        Process(704, 701, 65.0, ["python3", "-c", "the warm interpreter"]),
        Process(705, 704, 65.5, ["sleep", "600"]),
    ]
    table = {process.pid: process for process in [*POD, *job]}
    assert {pid for pid, _ in leftovers(table, 503, runners=[700])} == {704, 705}
    assert {pid for pid, _ in leftovers(table, 503)} == {700, 701, 702, 703, 704, 705}


def test_a_worker_for_some_code_is_known_by_where_it_waits_or_by_what_it_is_started_with(tmp_path: Path) -> None:
    unpacked = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    unpacked.mkdir(parents=True)
    wait = "print(flush=True); input()"
    for where, argument, found in ((unpacked, "", True), (tmp_path, f"cd {unpacked}", True), (tmp_path, "", False)):
        with subprocess.Popen(
            [sys.executable, "-c", wait, argument], cwd=where, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.readline()
            assert for_code(process.pid) is found
            process.communicate(b"\n")
    assert not for_code(process.pid)

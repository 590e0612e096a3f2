"""The warm interpreter, as a process of its own, without a cluster."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inside.warm import Warm, until


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    one = Warm(tmp_path)
    yield one
    one.close()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_task_is_a_child_with_an_environment_arguments_and_a_directory_of_its_own(warm: Warm) -> None:
    warm.script("tell", "import os, sys\nprint(sys.argv[1:], os.environ['A'], os.environ['OPERATORS'], os.getcwd())\n"
                        "print('job config', 'RAY_JOB_CONFIG_JSON_ENV_VAR' in os.environ, os.listdir())\n"
                        "open('left', 'w').close()\nsys.exit(3)\n")  # fmt: skip
    assert warm.run("t-1", 'tell one "" "two words"', A="b") == {"state": "running"}
    assert warm.ended("t-1") == 3
    told = warm.log("t-1")
    assert f"['one', '', 'two words'] b value {warm.home}/tmp/warmpool-task-" in told
    assert "job config False []" in told
    assert not Path(told.split(" value ")[1].split("\n")[0]).exists()
    # And it is in a file of Ray's logs, which the dashboard shows.
    assert (warm.logs / "t-1.log").read_text() == told


def test_nothing_runs_twice_and_what_ended_is_still_known(warm: Warm) -> None:
    mark = warm.home / "mark"
    warm.script("once", f"with open({str(mark)!r}, 'a') as f: f.write('x')\n")
    warm.run("t-1", "once")
    assert warm.ended("t-1") == 0
    assert warm.run("t-1", "once") == {"state": "ended", "code": 0, "imported": [], "found": []}
    assert mark.read_text() == "x"
    assert warm.ask("wait", "t-2", bound_s=0) == {"state": "unknown"}
    # One that an earlier interpreter began is not begun again.
    (warm.logs / "t-3.log").touch()
    assert warm.run("t-3", "once") == {"state": "lost"}
    # Nor is one that runs as a Ray job.
    (warm.logs / "job-driver-t-4.log").touch()
    assert warm.run("t-4", "once")["reason"] == "begun"


def test_with_a_task_goes_all_that_it_started(warm: Warm) -> None:
    pids = warm.home / "pids"
    warm.script("parent", "import subprocess, sys\nchild = subprocess.Popen(['sleep', '600'])\n"
                          f"open({str(pids)!r}, 'w').write(str(child.pid))\n")  # fmt: skip
    warm.run("t-1", "parent")
    assert warm.ended("t-1") == 0
    until(lambda: gone(int(pids.read_text())))


def test_a_task_is_killed_with_what_it_started_also_when_it_will_not_end(warm: Warm) -> None:
    pids = warm.home / "pids"
    warm.script("stubborn", "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                            f"open({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")  # fmt: skip
    warm.run("t-1", "stubborn")
    until(pids.exists)
    assert warm.ask("kill", "t-1") == {"state": "running"}
    assert warm.ended("t-1") == 128 + signal.SIGKILL
    assert gone(int(pids.read_text() or 0))


def test_tasks_end_with_their_interpreter(warm: Warm) -> None:
    pids = warm.home / "pids"
    warm.script("long", f"import os, time\nopen({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    warm.run("t-1", "long")
    until(lambda: pids.exists() and pids.read_text())
    warm.close()
    until(lambda: gone(int(pids.read_text())))


def test_one_that_is_to_end_does_once_its_tasks_have(warm: Warm) -> None:
    go = warm.home / "go"
    warm.script("long", f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\n")
    warm.run("t-1", "long")
    # How it ended can be asked for once it has.
    assert warm.ask("end", "", after_s=3600) == {"state": "ends"}
    assert warm.ask("wait", "t-1", bound_s=0) == {"state": "running"}
    go.touch()
    assert warm.ended("t-1") == 0
    assert warm.ask("wait", "t-1", bound_s=0)["state"] == "ended"
    warm.ask("end", "", after_s=0)
    assert warm.process.wait(10) == 0


def test_one_that_is_to_end_stays_where_another_task_is_to_run_in_it(warm: Warm) -> None:
    go = warm.home / "go"
    warm.script("long", f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\n")
    warm.run("t-1", "long")
    assert warm.ask("end", "", after_s=0) == {"state": "ends"}
    assert warm.run("t-2", "long") == {"state": "running"}
    go.touch()
    assert warm.ended("t-1") == warm.ended("t-2") == 0
    assert warm.run("t-3", "long") == {"state": "running"}
    assert warm.ended("t-3") == 0


def test_one_that_is_to_end_and_has_no_task_ends_at_once(warm: Warm) -> None:
    warm.ask("end", "", after_s=3600)
    assert warm.process.wait(10) == 0


def test_who_waits_is_answered_as_the_task_ends_or_when_the_time_is_over(warm: Warm) -> None:
    warm.script("short", "import time\ntime.sleep(0.5)\n")
    warm.run("t-1", "short")
    assert warm.ask("wait", "t-1", bound_s=0.05) == {"state": "running"}
    began = time.monotonic()
    assert warm.ended("t-1") == 0
    assert time.monotonic() - began < 10


def test_what_cannot_run_in_a_child_is_refused_with_the_reason(warm: Warm) -> None:
    warm.script("mine", "")
    for command, reason in (("sleep 1", "foreign_command"), ("no-such-command", "foreign_command"),
                            ("mine $HOME", "needs_shell"), ("mine; mine", "needs_shell"),
                            ("mine 'open", "needs_shell")):  # fmt: skip
        assert warm.run("t-1", command)["reason"] == reason
    assert warm.run("t-1", "mine", PYTHONHASHSEED="1")["reason"] == "needs_variable"
    assert warm.run("t-1", "mine", PYTHONPATH="/x")["state"] == "running"
    other = warm.bin / "other"
    other.write_text("#!/usr/bin/python3-of-another\n")
    other.chmod(0o755)
    assert warm.run("t-2", "other")["reason"] == "foreign_command"


def test_only_who_has_the_clusters_token_is_answered(warm: Warm) -> None:
    warm.script("mine", "")
    answer = warm.ask("run", "t-1", token="another", command="mine", environment={}, unpacks=True)
    assert answer == {"state": "error", "why": "PermissionError: The token is not the cluster's."}
    assert warm.ask("wait", "t-1", bound_s=0) == {"state": "unknown"}


def test_a_task_that_raises_shows_its_traceback(warm: Warm) -> None:
    warm.script("broken", "raise KeyError('of the task')\n")
    warm.run("t-1", "broken")
    assert warm.ended("t-1") == 1
    assert "KeyError: 'of the task'" in warm.log("t-1")


def test_modules_are_preloaded_where_they_are_and_each_task_draws_other_random_numbers(tmp_path: Path) -> None:
    warm = Warm(tmp_path, ["json", "no_such_module"])
    try:
        assert warm.loaded == ["json"]
        warm.script("draw", "import random\nprint('drew', random.random())\n")
        drawn = set()
        for task in ("t-1", "t-2"):
            warm.run(task, "draw")
            assert warm.ended(task) == 0
            drawn.add(warm.log(task).split("drew ")[1])
        assert len(drawn) == 2
    finally:
        warm.close()


def test_what_a_task_leaves_of_resident_data_is_told_with_its_end(warm: Warm) -> None:
    warm.script("leave", "import os\nwith open(os.environ['WARMPOOL_RESIDENCY'] + '/a.json', 'w') as f: f.write('{}')\n"
                         "open(os.environ['WARMPOOL_RESIDENCY'] + '/b.part', 'w').close()\n")  # fmt: skip
    warm.script(
        "flood", "import os\nwith open(os.environ['WARMPOOL_RESIDENCY'] + '/a.json', 'w') as f: f.write('x' * 10**6)\n"
    )
    warm.run("t-1", "leave")
    assert warm.ended("t-1") == 0
    assert warm.ask("wait", "t-1", bound_s=0)["residency"] == ["{}"]
    warm.run("t-2", "flood")
    assert warm.ended("t-2") == 0
    assert "residency" not in warm.ask("wait", "t-2", bound_s=0)

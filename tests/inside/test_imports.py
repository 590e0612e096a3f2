"""What tasks import, the warm interpreter imports for the next ones: as a process of its own, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inside.warm import Warm, until

SLOW = """
import os, time
with open(os.environ["HOME"] + "/imports", "a") as file:
    file.write("x")
time.sleep(0.1)
from slow_too import value
"""
PACKAGES = {
    "slow": SLOW,
    "slow_too": "import time\ntime.sleep(0.1)\nvalue = 'of the image'\n",
    "threads": "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n",
    "sockets": "import socket\nopened = socket.socket()\n",
    "reads": "import os, time\ntime.sleep(0.1)\nvalue = os.environ.get('READ')\n",
    "reads_too": "import os, time\ntime.sleep(0.1)\nvalue = os.getenv('READ_TOO')\n",
}


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    one = Warm(tmp_path, packages=PACKAGES)
    yield one
    one.close()


def ran(warm: Warm, task: str, text: str, **environment: str) -> tuple[list[str], list[str]]:
    """Run a script to its end, and return what it imported of the image, and what it found imported."""
    warm.run(task, warm.script(task, text), **environment)
    return warm.told(task)


def test_what_a_task_imported_the_next_one_has_at_once_and_as_if_it_had_not_been_imported(warm: Warm) -> None:
    own = warm.home / "own"
    own.mkdir()
    (own / "mine.py").write_text("")
    imports = warm.home / "imports"
    # What is brought along, what ships with Python, and what is not imported to its end, is not told.
    text = "import sys, mine, sqlite3\nprint('slow' in sys.modules, 'slow_too' in sys.modules)\nimport slow"
    assert ran(warm, "t-1", text, PYTHONPATH=str(own)) == (["slow", "slow_too"], [])
    assert imports.read_text() == "x"
    until(lambda: "preloaded slow, which tasks import: 0." in warm.said())
    # By a child that tried it, and by the interpreter.
    assert imports.read_text() == "xxx"
    text += "\nimport slow, slow_too\nprint(slow.value, slow.__spec__.origin, sys.modules['slow'] is slow)"
    assert ran(warm, "t-2", text, PYTHONPATH=str(own)) == ([], ["slow", "slow_too"])
    assert imports.read_text() == "xxx"
    site = f"{warm.home}/lib/python"
    first, second = warm.log("t-2").splitlines()[-2:]
    assert first == "False False"
    assert second.startswith(f"of the image {site}")
    assert second.endswith("True")
    assert "mine" not in warm.said()


def test_what_starts_a_thread_or_opens_a_socket_is_left_to_the_tasks(warm: Warm) -> None:
    # One that ends without an end tells nothing.
    warm.run("t-1", warm.script("t-1", "import slow, os\nos._exit(0)"))
    assert warm.ask("wait", "t-1", bound_s=20) == {"state": "ended", "code": 0}
    ran(warm, "t-2", "import threads, sockets")
    for line in ("threads starts a thread", "sockets opens a socket"):
        until(lambda line=line: f"not preloaded: {line}\n" in warm.said())
    assert "preloaded slow" not in warm.said()
    assert ran(warm, "t-3", "import threads") == (["threads"], [])


def test_what_tasks_elsewhere_import_is_imported_too(warm: Warm) -> None:
    warm.ask("run", "t-1", command=warm.script("t-1", ""), environment={}, unpacks=True, modules=["slow", "no_such", 7])
    assert warm.told("t-1") == ([], [])
    until(lambda: "preloaded slow" in warm.said() and "not preloaded: no_such cannot be imported" in warm.said())
    assert ran(warm, "t-2", "import slow") == ([], ["slow"])


def test_a_tasks_own_module_of_the_same_name_is_its_own(warm: Warm) -> None:
    ran(warm, "t-1", "import slow")
    until(lambda: "preloaded slow" in warm.said())
    own = warm.home / "own"
    own.mkdir()
    (own / "slow_too.py").write_text("value = 'of the task'\n")
    text = "import slow_too, os\nprint('value is', slow_too.value)"
    assert ran(warm, "t-2", text, PYTHONPATH=str(own)) == ([], [])
    assert "value is of the task" in warm.log("t-2")
    # Also one that it installs.
    place = next((warm.home / "lib").glob("*/site-packages/slow_too/__init__.py"))
    place.write_text("value = 'installed since'\n")
    assert ran(warm, "t-3", text) == (["slow_too"], [])
    assert "value is installed since" in warm.log("t-3")


def test_a_module_that_reads_a_tasks_variable_is_imported_by_the_task(warm: Warm) -> None:
    # Tasks are known to bring the one, not yet the other.
    ran(warm, "t-1", "import reads, reads_too", READ_TOO="mine")
    until(lambda: "not preloaded: reads_too reads READ_TOO as it is imported" in warm.said())
    until(lambda: "preloaded reads," in warm.said())
    warm.script("value", "import os\nos.environ['READ'] = 'set'\nimport reads\nprint('it is', reads.value)\n")
    refused = warm.run("t-2", "value", READ="mine")
    assert (refused["state"], refused["reason"]) == ("refused", "needs_variable")
    assert "READ" in refused["why"]
    # One that sets it first, itself, reads that.
    warm.run("t-3", "value")
    assert warm.told("t-3") == (["reads"], [])
    assert "it is set" in warm.log("t-3")


def test_it_learns_nothing_where_it_is_told_so(tmp_path: Path) -> None:
    warm = Warm(tmp_path, packages=PACKAGES, learns=False)
    try:
        ran(warm, "t-1", "import slow")
        assert ran(warm, "t-2", "import slow") == (["slow", "slow_too"], [])
        assert "preloaded" not in warm.said()
    finally:
        warm.close()

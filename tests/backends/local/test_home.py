"""Everything that a cluster leaves is found and ended, whoever started it and wherever that one died.

The nodes are plain programs here, which the supervisor starts, watches and ends just as it does Ray's.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pool.backends.local.launch import Home
from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import Process, marks, owned, read
from pool.backends.local.trail import Running, delete_temp_dir

from .conftest import make_key, wait_for

KEY = make_key()
ID = f"c-{KEY.digest}-1"


@pytest.fixture
def program(state_dir: Path) -> str:
    """A program that stands for Python with Ray: it leaves a file, starts a child in its own session, and waits."""
    path = state_dir / "python"
    path.write_text('#!/bin/sh\n: > "$TMPDIR/left"\nsetsid sleep 1000 &\nexec sleep 1000\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def home(state_dir: Path, program: str) -> Any:
    made = home_of(state_dir, program)
    yield made
    made.end(ID)


def home_of(state_dir: Path, program: str, store_id: str = "", **options: Any) -> Home:
    options = {"python": program, "stop_grace_s": 0.5} | options
    made = Home(state_dir, store_id or f"s-{state_dir.name}", LocalOptions(**options))
    made.open()
    return made


def running(home: Home) -> Running:
    return home.files(ID).running()


def launched(home: Home) -> Running:
    home.launch(ID, KEY, "secret")
    wait_for(lambda: running(home).head)
    wait_for(lambda: len(owned(home.store_id).get(ID, {})) == 3)
    return running(home)


def test_the_end_leaves_no_process_and_no_directory(home: Home) -> None:
    launched(home)
    temp_dir = home.files(ID).trail().temp_dir  # type: ignore[union-attr]
    assert Path(temp_dir).is_dir()
    home.end(ID)
    assert owned(home.store_id) == {}
    assert not home.files(ID).directory.exists()
    assert not Path(temp_dir).exists()
    home.end(ID)  # what is gone is gone already


@pytest.mark.parametrize("killed", [False, True])
def test_what_processes_put_into_the_temporary_directory_goes_with_the_cluster(home: Home, killed: bool) -> None:
    launched(home)
    left = Path(home.files(ID).trail().tasks_temp_dir, "left")  # type: ignore[union-attr]
    assert left.exists()
    while killed and (processes := owned(home.store_id).get(ID)):
        for entry in processes.values():
            entry.process.send(signal.SIGKILL)
    home.end(ID)
    assert not left.exists()


def test_under_the_longest_temp_root_pythons_own_sockets_fit_into_the_temporary_directory(
    state_dir: Path, program: str
) -> None:
    def launch(length: int) -> Home:
        root = f"{state_dir}/".ljust(length, "x")
        Path(root).mkdir()
        made = home_of(state_dir, program, f"s-{state_dir.name}-{length}", temp_root=root)
        made.launch(ID, KEY, "secret")
        return made

    with pytest.raises(OSError, match="too long"):
        launch(25)
    home = launch(24)
    temp_dir = home.files(ID).trail().tasks_temp_dir  # type: ignore[union-attr]
    # As `multiprocessing` names those of its managers and of its fork server.
    with socket.socket(socket.AF_UNIX) as listener:
        Path(f"{temp_dir}/pymp-12345678").mkdir()
        listener.bind(f"{temp_dir}/pymp-12345678/listener-12345678")
    home.end(ID)


def test_the_token_is_a_file_for_its_user_alone_and_stands_in_no_command_or_environment(home: Home) -> None:
    launched(home)
    assert home.files(ID).token.stat().st_mode & 0o777 == 0o600
    assert home.files(ID).directory.stat().st_mode & 0o777 == 0o700
    for pid in owned(home.store_id)[ID]:
        seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert b"secret" not in seen


def test_a_killed_supervisor_leaks_nothing(home: Home) -> None:
    supervisor = launched(home).supervisor
    assert supervisor is not None
    supervisor.send(signal.SIGKILL)
    wait_for(lambda: not supervisor.alive())
    assert [seen.cluster_id for seen in home.listing().seen] == [ID]
    home.end(ID)
    assert owned(home.store_id) == {}


def test_a_new_supervisor_goes_on_with_the_nodes_that_run(home: Home) -> None:
    before = launched(home)
    assert before.supervisor is not None
    before.supervisor.send(signal.SIGKILL)
    wait_for(lambda: not before.supervisor.alive())  # type: ignore[union-attr]
    adopted = home.adopt(ID, KEY.digest)
    wait_for(lambda: running(home).supervisor == adopted)
    assert running(home).nodes == before.nodes


def test_a_lost_trail_does_not_hide_processes_or_the_temp_dir(home: Home) -> None:
    launched(home)
    temp_dir = home.files(ID).trail().temp_dir  # type: ignore[union-attr]
    for path in home.files(ID).directory.glob("*.json"):
        path.unlink()
    assert [seen.cluster_id for seen in home.listing().seen] == [ID]
    home.end(ID)
    assert owned(home.store_id) == {}
    assert not Path(temp_dir).exists()


def test_the_end_of_the_head_ends_the_rest(home: Home) -> None:
    head = launched(home).head
    assert head is not None
    head.send(signal.SIGKILL)
    wait_for(lambda: not owned(home.store_id))
    assert running(home).ended == {"head": "was killed by SIGKILL"}
    assert [seen.boot_id for seen in home.listing().seen] == [""]  # listed until it is stopped


def test_clusters_that_nobody_claims_end_themselves_and_leave_nothing(state_dir: Path, program: str) -> None:
    home = home_of(state_dir, program, unclaimed_s=0.5)
    launched(home)
    temp_dir = home.files(ID).trail().temp_dir  # type: ignore[union-attr]
    wait_for(lambda: not owned(home.store_id) and not home.files(ID).directory.exists())
    assert not Path(temp_dir).exists()


def test_clusters_of_another_store_are_neither_listed_nor_ended(home: Home, state_dir: Path, program: str) -> None:
    launched(home)
    other = home_of(state_dir, program, store_id=f"{home.store_id}-other")
    assert other.listing().seen == ()
    other.end(ID)
    assert len(owned(home.store_id)[ID]) == 3


def test_an_end_reaches_children_that_hid_their_marks(home: Home, state_dir: Path) -> None:
    launched(home)
    temp = home.files(ID).trail().temp_dir  # type: ignore[union-attr]
    env = {"WARMPOOL_CLUSTER": f"{home.store_id}/{ID}", "WARMPOOL_TEMP": temp, "PATH": os.environ["PATH"]}
    parent = subprocess.Popen(["sh", "-c", "env -i sleep 1000 & wait"], env=env, start_new_session=True)
    try:
        hidden = unmarked_child(parent.pid)
        home.end(ID)
        assert not hidden.alive()
    finally:
        parent.kill()
        parent.wait()


def unmarked_child(parent: int) -> Process:
    def find() -> list[Process]:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        # While `env` becomes `sleep`, its environment cannot be read for a moment: only the latter hid its marks.
        sleeping = [pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]
        entries = [read(int(pid)) for pid in sleeping if not marks(int(pid))]
        return [entry.process for entry in entries if entry is not None]

    wait_for(find)
    return find()[0]


CRASH = """
import os, signal, sys
from pathlib import Path
from pool.backends.local import launch, trail
from pool.backends.local.options import LocalOptions
from tests_key import KEY
state_dir, program, store_id, place = sys.argv[1:]
home = launch.Home(Path(state_dir), store_id, LocalOptions(python=program))
home.open()
owner, name = {"files": (trail.Files, place), "launch": (launch, place), "os": (os, place)}[OWNER]
real = getattr(owner, name)
def dies(*args, **kwargs):
    real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, dies)
home.launch(ID, KEY, "secret")
"""


@pytest.mark.parametrize(
    ("owner", "place"),
    [("files", "write_trail"), ("launch", "make_temp_dir"), ("files", "write_token"), ("os", "posix_spawn")],
)
def test_a_daemon_killed_anywhere_in_a_start_leaks_nothing(
    state_dir: Path, program: str, owner: str, place: str
) -> None:
    store_id = f"s-{state_dir.name}"
    key = "from pool.core.key import key_from\nKEY = key_from({'image': 'any', 'tenant': 'p/d', 'shape': {}})\n"
    code = CRASH.replace("from tests_key import KEY\n", key).replace("OWNER", repr(owner)).replace("ID,", f"{ID!r},")
    killed = subprocess.run([sys.executable, "-c", code, str(state_dir), program, store_id, place], check=False)
    assert killed.returncode == -signal.SIGKILL

    home = home_of(state_dir, program, store_id=store_id)
    assert [seen.cluster_id for seen in home.listing().seen] == [ID]
    trail = home.files(ID).trail()
    assert trail is not None
    home.end(ID)
    assert owned(store_id) == {}
    assert home.listing().seen == ()
    assert not Path(trail.temp_dir).exists()


def test_a_directory_without_a_trail_is_listed_and_ended(home: Home) -> None:
    home.files(ID).directory.mkdir()
    assert [seen.cluster_id for seen in home.listing().seen] == [ID]
    home.end(ID)
    assert home.listing().seen == ()


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    entry = read(os.getpid())
    assert entry is not None
    assert entry.process.alive()
    assert not Process(entry.pid, entry.start + 1).alive()


def test_processes_of_an_earlier_boot_of_the_machine_do_not_count(home: Home) -> None:
    files = home.files(ID)
    files.directory.mkdir()
    entry = read(os.getpid())
    assert entry is not None
    files.write_running(Running(nodes={"head": entry.process}))
    assert files.running().head == entry.process
    path = files.directory / "processes.json"
    path.write_text(path.read_text().replace('"kernel_boot": "', '"kernel_boot": "another-'))
    assert files.running() == Running()


def test_a_deleted_state_directory_ends_its_clusters(home: Home) -> None:
    launched(home)
    temp_dir = home.files(ID).trail().temp_dir  # type: ignore[union-attr]
    shutil.rmtree(home.root)
    wait_for(lambda: not owned(home.store_id) and not Path(temp_dir).exists())


def test_a_temp_dir_that_is_not_ours_is_left_alone(state_dir: Path) -> None:
    theirs = state_dir / "theirs"
    theirs.mkdir()
    (theirs / "file").touch()
    delete_temp_dir(str(theirs))
    assert theirs.exists()

"""Nothing of the demo is left behind: no process, whatever it did to hide, and no directory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pool.demo.place import MARK, Place, marked


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    place.make()
    try:
        yield place
    finally:
        place.end(grace_s=0.0)
        place.remove()


def within(bound_s: float, true: Callable[[], bool]) -> bool:
    until = time.monotonic() + bound_s
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.02)
    return true()


def test_the_directory_is_for_its_user_alone_and_goes_with_all_in_it(place: Place) -> None:
    assert place.root.stat().st_mode & 0o077 == 0
    (place.root / "s").mkdir()
    (place.root / "s" / "x").touch()
    place.remove()
    assert not place.root.exists()


def test_a_program_carries_the_mark_and_no_settings_of_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("WARMPOOL_URL", "http://10.0.0.1")
    monkeypatch.setenv("FLYTE_ADMIN_ENDPOINT", "10.0.0.1")
    env = place.environment(WARMPOOL_GROUP="g")
    assert env[MARK] == str(place.root)
    assert env["WARMPOOL_GROUP"] == "g"
    assert not env.keys() & {"RAY_ADDRESS", "WARMPOOL_URL", "FLYTE_ADMIN_ENDPOINT"}


def test_an_orphan_in_a_session_of_its_own_is_found_and_ended(place: Place) -> None:
    told = place.root / "pid"
    nap = f"import os, time; os.setsid(); open({str(told)!r} + '.new', 'w').write(str(os.getpid())); " \
          f"os.rename({str(told)!r} + '.new', {str(told)!r}); time.sleep(600)"  # fmt: skip
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {nap!r}])"
    process = place.start("parent", [sys.executable, "-c", parent], place.environment())
    process.wait(30)
    assert within(30, told.exists)
    pid = int(told.read_text())
    assert pid in {found.pid for found in place.living()}
    place.end(grace_s=5.0)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_orphan_without_the_mark_is_found_by_its_parents(place: Place) -> None:
    told = place.root / "pid"
    nap = f"env -i sleep 600 & echo $! > {told}.new; mv {told}.new {told}"
    clean = {"PATH": os.environ["PATH"]}
    place.start("parent", ["sh", "-c", nap], clean).wait(30)
    pid = int(told.read_text())
    assert within(30, lambda: pid not in {found.pid for found in marked(place.root)})
    assert pid in {found.pid for found in place.living()}
    place.end(grace_s=5.0)
    assert pid not in {found.pid for found in place.living()}


def test_a_program_that_ignores_the_request_is_killed(place: Place) -> None:
    ready = place.root / "ready"
    stubborn = f"trap '' TERM HUP INT; touch {ready}; while :; do sleep 0.1; done"
    place.start("stubborn", ["sh", "-c", stubborn], place.environment())
    assert within(30, ready.exists)
    place.end(grace_s=0.2)
    assert place.living() == []


def test_what_ran_before_is_nobodys_business() -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    place = Place()
    try:
        place.make()
        assert bystander.pid not in {found.pid for found in place.living()}
        place.end(grace_s=0.0)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        place.remove()


def test_the_temporary_directory_is_short_enough_for_rays_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/a/very/long/way/to/a/temporary/directory")
    assert Place().root.parent == Path("/tmp")

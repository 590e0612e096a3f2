"""A real PostgreSQL server for the tests that want one."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

GUARD = """
import shutil, subprocess, sys
sys.stdin.read()
home, user, *stop = sys.argv[1:]
subprocess.run(stop, user=user or None, cwd="/", capture_output=True)
shutil.rmtree(home)
"""
# Waits for the end of its input, which comes however the tests end: a killed run leaves no server behind.


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The directory of the socket of a PostgreSQL server of our own."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("there is no PostgreSQL server; `apt install postgresql` provides it")
    if importlib.util.find_spec("asyncpg") is None:
        pytest.skip("there is no driver for PostgreSQL; `pip install asyncpg` provides it")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    home = Path(tempfile.mkdtemp(prefix="warmpool-pg-", dir="/tmp"))  # a socket's path must be short
    if os.geteuid() == 0:
        shutil.chown(home, user)

    def run(*command: str) -> None:
        subprocess.run(command, user=user if os.geteuid() == 0 else None, check=True, capture_output=True, cwd="/")

    pg_ctl = str(programs[-1] / "pg_ctl")
    stop = [pg_ctl, "-D", f"{home}/data", "-w", "-m", "immediate", "stop"]
    guarding = [sys.executable, "-c", GUARD, str(home), user if os.geteuid() == 0 else "", *stop]
    guard = subprocess.Popen(guarding, stdin=subprocess.PIPE, start_new_session=True)
    try:
        run(str(programs[-1] / "initdb"), "-D", f"{home}/data", "-U", "warmpool", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses= -c fsync=off -k {home}"
        run(pg_ctl, "-D", f"{home}/data", "-w", "-o", options, "-l", f"{home}/log", "start")
        yield str(home)
    finally:
        guard.communicate()


@pytest.fixture
def postgres_url(postgres: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    name = f"t{abs(hash(request.node.nodeid))}"
    command = ["psql", "-h", postgres, "-U", "warmpool", "-d", "postgres", "-c", f"CREATE DATABASE {name}"]
    subprocess.run(command, check=True, capture_output=True)
    return f"postgresql://warmpool@/{name}?host={postgres}"


def sql(url: str, statement: str) -> str:
    """Run a statement in the database of `url`, and return what it says."""
    name, _, home = url.partition("@/")[2].partition("?host=")
    command = ["psql", "-h", home, "-U", "warmpool", "-d", name, "-Atc", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

"""What stays in a cluster to sweep it: who may ask, and what becomes of a sweep."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

TOKEN = "the-clusters-token"
# Everything but the sweep itself, which needs a cluster.
PROGRAM = f"""
import os, socket, sys, time
from pool.inside import sweeper

def sweep(given):
    if "fails" in given:
        raise RuntimeError(given["fails"])
    print("sweeping", os.getpid(), file=sys.stderr, flush=True)
    time.sleep(given.get("sleep_s", 0))
    return {{"pid": os.getpid(), "parent": os.getppid(), "given": given}}

sweeper.sweep_cluster = sweep
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sweeper.serve(server, {TOKEN!r})
"""


class Sweeper:
    """One that runs."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.port, self.log = int(self.process.stdout.readline()), self.process.stderr

    def connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, **message: Any) -> str:
        with self.connected() as connection:
            connection.sendall(json.dumps(message).encode() + b"\n")
            return connection.makefile().readline()


@pytest.fixture
def sweeper() -> Iterator[Sweeper]:
    made = Sweeper()
    yield made
    made.process.kill()
    made.process.communicate()


def test_each_sweep_is_a_child_and_is_given_what_was_asked_without_the_token(sweeper: Sweeper) -> None:
    first, second = (json.loads(sweeper.ask(token=TOKEN, bound_s=number)) for number in (1, 2))
    assert first["parent"] == second["parent"] == sweeper.process.pid
    assert first["pid"] != second["pid"]
    assert (first["given"], second["given"]) == ({"bound_s": 1}, {"bound_s": 2})


@pytest.mark.parametrize(
    "said", [b'{"token": "another"}\n', b'{"token": ""}\n', b"{}\n", b"[]\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff\n", b""]
)
def test_who_does_not_know_the_token_has_nothing_swept_and_no_answer(sweeper: Sweeper, said: bytes) -> None:
    with sweeper.connected() as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert json.loads(sweeper.ask(token=TOKEN))["given"] == {}


def test_a_sweep_that_nobody_waits_for_ends(sweeper: Sweeper) -> None:
    with sweeper.connected() as connection:
        connection.sendall(json.dumps({"token": TOKEN, "sleep_s": 600}).encode() + b"\n")
        child = int(sweeper.log.readline().split()[1])
    # The next one has its turn once that one has ended.
    assert json.loads(sweeper.ask(token=TOKEN))["pid"] != child
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_sweep_that_fails_has_no_answer_and_its_log_says_why(sweeper: Sweeper) -> None:
    assert sweeper.ask(token=TOKEN, fails="the GCS is away") == ""
    end = time.monotonic() + 30
    while "RuntimeError: the GCS is away" not in sweeper.log.readline():
        assert time.monotonic() < end
    assert json.loads(sweeper.ask(token=TOKEN))["given"] == {}


def test_a_first_sweep_that_fails_ends_the_job_and_the_last_that_its_log_says_is_why() -> None:
    first = """
import sys
from pool.inside import sweeper

def sweep(given):
    raise RuntimeError("the GCS is away")

sweeper.preload, sweeper.host, sweeper.token, sweeper.sweep_cluster = (lambda: None), (lambda: "127.0.0.1"), str, sweep
sys.argv = ["", '{"first": {}, "stays": true}']
sweeper.main()
"""
    done = subprocess.run([sys.executable, "-c", first], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("RuntimeError: the GCS is away")

"""Real Ray clusters of one node each, as a pod's head is: with a token, and with Ray Client."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def head(name: str) -> Iterator[Callable[[], Json]]:
    """Start a head of two cpus with a token of its own; nothing of it is left afterwards."""
    temp = tempfile.mkdtemp(prefix="wpf-", dir="/tmp")
    token = secrets.token_hex(16)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WARMPOOL_"))}
    options = ("port", "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
               "runtime-env-agent-port", "node-manager-port", "object-manager-port", "metrics-export-port")  # fmt: skip
    ports = dict(zip(options, _free_ports(len(options)), strict=True))
    log = Path(temp, "out")
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2",
             f"--temp-dir={temp}", "--object-store-memory=100000000", "--include-dashboard=false",
             "--disable-usage-stats", *(f"--{option}={port}" for option, port in ports.items())],
            # Ray gives a raylet 30 s to start, which is little on a busy machine.
            env=env | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_raylet_start_wait_time_s": "120"},
            cwd="/",
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def await_ready() -> Json:
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The cluster did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        client = f"ray://127.0.0.1:{ports['ray-client-server-port']}"
        return {"id": f"c-{name}", "address": f"127.0.0.1:{ports['port']}", "token": token, "client_address": client}

    try:
        yield await_ready
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(temp, ignore_errors=True)

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

from pool.backends.kuberay.spec import CLIENT_SERVERS
from pool.wire.leases import ClusterAccess
from tests.serving import environment

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
def head(name: str, home: Path | None = None) -> Iterator[Callable[[], Json]]:
    """Start a head of two cpus with a token of its own, in `home` or in `/`; nothing of it is left afterwards."""
    temp = tempfile.mkdtemp(prefix="wpf-", dir="/tmp")
    token = secrets.token_hex(16)
    env = environment() | {one["name"]: one["value"] for one in CLIENT_SERVERS}
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
            cwd=home or "/",
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


@contextmanager
def by_init(home: Path, cpus: int, store_bytes: int) -> Iterator[ClusterAccess]:
    """Run a cluster in a process of its own, as `ray.init` starts it, without a dashboard.

    Args:
        home: Ray's temporary directory, which is there.
        cpus: of its one node.
        store_bytes: of its object store.
    """
    env = environment() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret", "RAY_TMPDIR": str(home)}
    code = (
        "import ray, sys\n"
        f"ray.init(num_cpus={cpus}, object_store_memory={store_bytes}, include_dashboard=False, "
        f"_temp_dir={str(home)!r})\n"
        "print(ray.get_runtime_context().gcs_address, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"The cluster did not start: {(home / 'log').read_text()[-2000:]}")
        yield ClusterAccess(id="c-1", address=address, client_address="", token="secret")
    finally:
        process.communicate()

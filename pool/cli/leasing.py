"""``warmpool lease -- COMMAND``: any command, with a leased cluster in its environment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.context import where
from pool.cli.errors import CommandError, tell
from pool.cli.shape import Cpu, Gpu, Image, Memory, Tenant, Workers, shape_of, tenant_or_own, user
from pool.cli.talk import find
from pool.inside.place import RESIDENCY

if TYPE_CHECKING:
    from pool.client import HeldLease
    from pool.wire.leases import ClusterAccess

GRACE_S = 10.0
"""How long a command whose lease is over may take to end before it is killed."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def lease(
    ctx: typer.Context,
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after `--`.")],
    image: Image = "local",
    tenant: Tenant = None,
    cpu: Cpu = "1",
    memory: Memory = "0",
    gpu: Gpu = 0,
    workers: Workers = 0,
    group: Annotated[str, typer.Option("--group", "-g", help="Leases of a group like to share a cluster.")] = "",
    hold: Annotated[str | None, typer.Option("--hold", help="Hold the cluster for the group so long: 5m.")] = None,
    mode: Annotated[str, typer.Option("--mode", help="warm_only, wait or wait_or_create.")] = "wait_or_create",
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait for the cluster: 90s, 10m.")] = "10m",
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="Higher is served sooner.")] = 0,
    holder: Annotated[
        str | None, typer.Option(help="Who has it.", show_default="you, this machine and process")
    ] = None,
) -> None:
    """Run a command with a leased cluster.

    RAY_ADDRESS and the cluster's token are in the command's environment. The lease is renewed while the command
    runs and released when it ends, however it ends. Signals go to the command, and its exit code is this one's.

    \b
    Examples:
      warmpool lease -- python train.py
      warmpool lease --cpu 2 --workers 2 --timeout 5m -- python -c "import ray; ray.init(); print(ray.nodes())"
    """
    if shutil.which(command[0]) is None:
        tell(f"error: {command[0]}: there is no such command.")
        raise typer.Exit(127)
    from pool.client import Client, LeaseRequest, waiting_display
    from pool.client.renewal import changes_log
    from pool.client.residency import left_in

    request = LeaseRequest(
        image=image,
        tenant=tenant_or_own(tenant),
        holder=holder if holder is not None else f"{user()}@{socket.gethostname()}:{os.getpid()}",
        shape=shape_of(cpu, memory, gpu, workers),
        group=group,
        priority=priority,
        mode=mode,
        timeout_s=_seconds("--timeout", timeout),
        hold_s=_seconds("--hold", hold) if hold is not None else None,
    )
    found = find(where(ctx))
    with Client(found.url, token=found.token) as client, contextlib.ExitStack() as stack:
        # They are told below.
        changes_log.disabled = True
        stack.callback(setattr, changes_log, "disabled", False)
        with waiting_display() as show:
            held = stack.enter_context(client.lease(request, progress=show))
        _tell_how_to_reach(held.cluster)
        with tempfile.TemporaryDirectory(prefix="warmpool-lease-") as told:
            code = _run(command, held, told)
            # The command used the cluster, and knows what it kept there.
            if (seen := left_in(Path(told))) is not None:
                held.tell_residency(seen)
    raise typer.Exit(code)


def _tell_how_to_reach(cluster: ClusterAccess) -> None:
    """Tell who is outside of the cluster's network how to get in; the command may know another way."""
    from pool.client.outside import known_here, port_forward

    command = port_forward(cluster.client_address, cluster.dashboard_url)
    if command and not known_here(cluster.address):
        port = cluster.client_address.rpartition(":")[2]
        tell(
            f"warmpool: {cluster.id} is inside Kubernetes, and its address {cluster.address} is not known here. "
            f"Run `{command}` beside this, and connect to ray://127.0.0.1:{port} instead."
        )


def _seconds(option: str, text: str) -> float:
    from pool.config.values import seconds

    try:
        return seconds(float(text) if text.replace(".", "", 1).isdecimal() else text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}.", remedy="Correct it.") from None


def _run(command: list[str], held: HeldLease, told: str) -> int:
    environment = {**os.environ, **held.environment(), "WARMPOOL_LEASE": held.id, RESIDENCY: told}
    for name in held.unset_environment:
        environment.pop(name, None)
    # The token of the daemon is ours, not the command's.
    environment.pop("WARMPOOL_TOKEN", None)
    process = subprocess.Popen(command, env=environment)
    lost = threading.Event()
    killer: list[threading.Timer] = []

    def on_change(change: object) -> None:
        what, explanation = getattr(change, "what", ""), getattr(change, "explanation", "")
        tell(f"warmpool: {explanation}")
        if what in ("lost", "unreachable"):
            # Another holder may get the cluster now: the command must not go on using it.
            lost.set()
            _signal(process, signal.SIGTERM)
            timer = threading.Timer(GRACE_S, _signal, (process, signal.SIGKILL))
            timer.daemon = True
            timer.start()
            killer.append(timer)

    try:
        with _forwarding(process):
            held.on_change(on_change)
            code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for timer in killer:
            timer.cancel()
    if lost.is_set() and code in (0, -signal.SIGTERM, -signal.SIGKILL):
        return 1
    return code if code >= 0 else 128 - code


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


@contextlib.contextmanager
def _forwarding(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Hand signals on to the command while it runs; it decides what they mean."""

    def forward(number: int, _frame: FrameType | None) -> None:
        if number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground():
            return  # the terminal sent it to the command as well
        _signal(process, number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    try:
        with open("/dev/tty", "rb") as terminal:  # noqa: PTH123
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False

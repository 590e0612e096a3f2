"""Sweeps the cluster that it is in, and stays for more where told to: a job's start takes Ray longer than a sweep does.

Its text is run on the head by ``python -c`` as the entrypoint of a submitted job. Argument: a JSON object.

    ``first``  what the first sweep is given; see `pool.inside.sweep.sweep_cluster`
    ``stays``  whether it then waits to be asked for more

It prints `MARK` and a JSON object: what the sweep told, and, if it stays, ``host`` and ``port``. There it is asked over
TCP, one line of JSON each way: what a sweep is given, with the cluster's ``token``; the answer is what the sweep told.
A connection that closes without an answer says that there was no sweep, and the job's log why.

Each sweep of one that stays is a child: with it ends all that Ray has in a process that was a driver once. It ends also
when nobody waits for it any more: the cluster may be another holder's then.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from typing import Any

from pool.inside.place import host, token
from pool.inside.sweep import sweep_cluster
from pool.inside.tables import generated

MARK = "warmpool-swept "
STAYS = "warmpool-sweeper-"
"""The job's id begins so, if it stays."""
SWEEP_S = 25.0
"""So long a sweep may take, with all that it waits for."""
HEAR_S = 2.0
MOST_BYTES = 1 << 20


def preload() -> None:
    """Import what a sweep needs, so that each child has it.

    Raises:
        RuntimeError: if that has started a thread: a child would lack it.
    """
    import ray._private.grpc_utils
    import ray.util.scheduling_strategies  # noqa: F401

    for service in ("gcs_service", "node_manager"):
        generated(service)
    if threading.active_count() > 1:
        raise RuntimeError("Ray starts a thread as it is imported: a sweep cannot be a child.")


def sweep_for(connection: socket.socket, given: dict[str, Any]) -> None:
    """Sweep in a child, which answers. Returns once that has ended."""
    ended, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            connection.setblocking(True)
            connection.sendall(json.dumps(sweep_cluster(given)).encode() + b"\n")
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    # The child's end closes it. (Not every sandbox of containers knows pidfd_open(2).)
    os.close(held)
    try:
        # What is heard of the connection is its end: who has asked waits for nothing any more.
        watched: list[Any] = [ended, connection]
        ready, _, _ = select.select(watched, [], [], SWEEP_S)
        if ended not in ready:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    finally:
        os.close(ended)


def asked_of(connection: socket.socket, secret: str) -> dict[str, Any] | None:
    """Return the argument of a sweep that somebody with the token asks for, None if nobody does."""
    connection.settimeout(HEAR_S)
    try:
        with connection.makefile("rb") as said:
            given = json.loads(said.readline(MOST_BYTES))
        if hmac.compare_digest(str(given.pop("token")).encode(), secret.encode()):
            return dict(given)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        pass
    return None


def serve(server: socket.socket, secret: str) -> None:
    """Sweep for one after the other, until this process ends."""
    while True:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                given = asked_of(connection, secret)
                if given is not None:
                    sweep_for(connection, given)


def main() -> None:
    """Sweep, say what came of it and where more can be asked for, and serve."""
    given = json.loads(sys.argv[1])
    if not given["stays"]:
        print(MARK + json.dumps(sweep_cluster(given["first"])), flush=True)
        return
    preload()
    where, secret = host(), token()
    server = socket.create_server((where, 0), backlog=16)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sweep_for(theirs, given["first"])
        theirs.shutdown(socket.SHUT_WR)
        with ours.makefile("rb") as said:
            answer = said.readline()
    if not answer:
        # The child has said why, and that shall be the end of the log.
        sys.exit(1)
    told = json.loads(answer)
    print(MARK + json.dumps(told | {"host": where, "port": server.getsockname()[1]}), flush=True)
    serve(server, secret)


if __name__ == "__main__":
    main()

"""Disconnecting this process's Ray from a cluster that it may no longer use. Ray is never imported for it."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

from pool.client.greeting import greeted
from pool.wire.leases import ClusterAccess

log = logging.getLogger("warmpool.client")


def disconnect_ray(cluster: ClusterAccess) -> bool:
    """Shut this process's Ray down if it is connected to `cluster`; tell whether it was.

    Never raises: the lease is given up whatever Ray does. A thread that waits in ``ray.get`` meanwhile is woken with
    ``SystemExit``.
    """
    ray = sys.modules.get("ray")
    if ray is None:
        return False
    try:
        if not ray.is_initialized() or not connected_to(ray, cluster):
            return False
        let_go()
        ray.shutdown()
    except Exception:
        log.exception("Ray could not be disconnected from %s", cluster.id)
        return False
    log.info("disconnected Ray from %s", cluster.id)
    return True


def let_go() -> None:
    """Have nobody hold references any more: one that a thread drops after the disconnect ends the whole process.

    Nor is a thread to be asking Ray for something then.
    """
    greeted()
    remembered = sys.modules.get("pool.resident.remembered")
    if remembered is not None:
        remembered.remembered.forget()


def connected_to(ray: Any, cluster: ClusterAccess) -> bool:
    """Tell whether this process's Ray is connected to `cluster`."""
    client = getattr(getattr(ray.util, "client", None), "ray", None)
    if client is not None and client.is_connected():
        # Ray Client keeps no other note of the server that it was connected to.
        server = getattr(getattr(client.get_context(), "client_worker", None), "_conn_str", "")
        return _same(str(server), cluster.client_address)
    return _same(str(ray.get_runtime_context().gcs_address), cluster.address)


def _same(one: str, other: str) -> bool:
    """Tell whether two addresses name one endpoint: Ray replaces a loopback address by the machine's own."""
    (host, port), (other_host, other_port) = _split(one), _split(other)
    if not host or not other_host or port != other_port:
        return False
    return host == other_host or (_is_here(host) and _is_here(other_host))


def _split(address: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


def _is_here(host: str) -> bool:
    """Tell whether `host` is this machine: only its own addresses can be bound."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True

"""Reaching a cluster from outside of Kubernetes, where the names of its Services mean nothing."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


def port_forward(*urls: str) -> str:
    """Return the command that brings what listens at a Service's `urls` to this machine, under the same ports.

    Args:
        *urls: of one cluster, as a lease names them: ``http://<service>.<namespace>.svc:8265``, ``ray://...``.

    Returns:
        The ``kubectl`` command; empty if they are not a Service's, and so reachable as they are or not at all.
    """
    found = [_service(url) for url in urls if url]
    if not found or not all(service == found[0][0] for service, _ in found):
        return ""
    (service, namespace), _ = found[0]
    if not service:
        return ""
    return f"kubectl port-forward -n {namespace} service/{service} {' '.join(port for _, port in found)}"


def known_here(url: str) -> bool:
    """Tell whether the host of `url` can be found from this machine."""
    try:
        socket.getaddrinfo(urlsplit(url if "://" in url else f"//{url}").hostname, None)
    except (OSError, ValueError):
        return False
    return True


def _service(url: str) -> tuple[tuple[str, str], str]:
    """Return ((service, namespace), port) of a Service's URL, empty texts for any other."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        labels, port = (parts.hostname or "").split("."), parts.port
    except ValueError:
        return ("", ""), ""
    if port is None or len(labels) < 3 or labels[2] != "svc":
        return ("", ""), ""
    return (labels[0], labels[1]), str(port)

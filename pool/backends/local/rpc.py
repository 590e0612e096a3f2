"""Calls to Ray's own gRPC services, in a short process of the clusters' Python: it has gRPC, which the daemon need not.

``python rpc.py strangers PORT``                   exits with 3 if the GCS there answers somebody without a token
``python rpc.py prestart TOKEN COUNT:PORT ...``    has the node manager at each port start idle workers

Messages are written out byte by byte: importing Ray to make them would take longer than all the rest. `TOKEN` is the
file that holds the cluster's token. A Ray without one of these calls answers UNIMPLEMENTED.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ANSWERED = 3
TIMEOUT_S = 5.0
KEEP_S = 30
"""So long no idle worker is ended; after that Ray keeps as many as the node has cpus."""

_GET_CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_PRESTART_WORKERS = "/ray.rpc.NodeManagerService/PrestartWorkers"


def strangers(port: str) -> int:
    """Call the GCS without a token, and return `ANSWERED` if it answers, 0 if it refuses."""
    import grpc

    try:
        _call(port, _GET_CLUSTER_ID, b"", ())
    except grpc.RpcError as error:
        refused: bool = error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        if refused:
            return 0
        print(f"{error.code().name}: {error.details()}")
        return 1
    return ANSWERED


def prestart(token: str, *nodes: str) -> int:
    """Have each node start as many idle workers as it says."""
    bearer = Path(token).read_text(encoding="utf-8").strip()
    for node in nodes:
        count, _, port = node.partition(":")
        _call(port, _PRESTART_WORKERS, prestart_request(int(count)), (("authorization", f"Bearer {bearer}"),))
    return 0


def prestart_request(count: int) -> bytes:
    """Return a `PrestartWorkersRequest` of node_manager.proto for Python workers without a runtime_env."""
    runtime_env_info = b"\x1a\x04\x0a\x02{}"
    return runtime_env_info + b"\x20" + _varint(KEEP_S) + b"\x28" + _varint(count)


def _varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def _call(port: str, method: str, request: bytes, metadata: tuple[tuple[str, str], ...]) -> Any:
    import grpc

    # A proxy is for the world, not for this machine.
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        return channel.unary_unary(method)(request, timeout=TIMEOUT_S, metadata=metadata, wait_for_ready=True)


if __name__ == "__main__":
    verb, *given = sys.argv[1:]
    sys.exit(strangers(*given) if verb == "strangers" else prestart(*given))

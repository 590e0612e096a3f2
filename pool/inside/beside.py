"""Calls of Ray's own services from beside a cluster, on its machine, in a short process of the clusters' Python.

That has gRPC and Ray's messages, which the daemon need not have. It is the text of this file and of
`pool.inside.tables`, run by ``python -c``.

Argument: a JSON object.

    ``call``     ``strangers``  does the GCS answer somebody without a token?
                 ``prestart``   have the node managers start idle workers
                 ``sweep``      end actors and placement groups, and see the object stores empty
    ``gcs``      address of the GCS
    ``token``    the file that holds the cluster's token; not for ``strangers``
    ``workers``  for ``prestart``: by address of a node manager, how many
    ``bound_s``  for ``sweep``: how long to wait for what goes by itself, seconds
    ``spare``    for ``sweep``: namespace and beginning of the name of the actors that stay; null for none

Prints, as its last line, `TOLD` and a JSON object: ``answered``; nothing; ``removed``, ``left`` and ``wear`` as
`pool.inside.sweep` gives them. If a service refuses, or does not answer, what it said, and the exit code is 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pool.inside.tables import TIMEOUT_S, Tables, generated

TOLD = "warmpool-told "


def main(given: dict[str, Any]) -> dict[str, Any]:
    """Make the call, and return what it told."""
    _do_without_ray()
    if given["call"] == "strangers":
        return {"answered": answers_strangers(given["gcs"])}
    tables = Tables(given["gcs"], _opener(given["token"]))
    if given["call"] == "prestart":
        for node_manager, count in given["workers"].items():
            tables.prestart_on(node_manager, count)
        return {}
    removed, left = tables.sweep(given["bound_s"], given["spare"])
    # What the spared own stays.
    wear = {} if given["spare"] else {"store_left_bytes": tables.store_left_bytes(given["bound_s"])}
    return {"removed": removed, "left": left, "wear": wear}


def _do_without_ray() -> None:
    """Make Ray's messages importable without Ray itself: to import that takes longer than all the rest."""
    found = find_spec("ray")
    if found is None:
        raise ModuleNotFoundError("the clusters' Python has no Ray")
    package = ModuleType("ray")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["ray"] = package


def answers_strangers(gcs: str) -> bool:
    """Tell whether the GCS answers a call without a token."""
    import grpc

    messages, services = generated("gcs_service")

    with _channel(gcs) as opened:
        stub = services.NodeInfoGcsServiceStub(opened)
        try:
            stub.GetClusterId(messages.GetClusterIdRequest(), timeout=TIMEOUT_S, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return False
            raise
    return True


def _channel(address: str) -> Any:
    import grpc

    # A proxy is for the world, not for this machine.
    return grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])


class Details(NamedTuple):
    """Of one call, as gRPC's interceptors have them."""

    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str], ...]
    credentials: None = None
    wait_for_ready: bool = True
    compression: None = None


def _opener(token: str) -> Callable[[str], Any]:
    """Return what opens a channel whose calls prove themselves with the token in a file."""
    import grpc

    bearer = Path(token).read_text(encoding="utf-8").strip()

    class Proves(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        """Adds the token."""

        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            metadata = (*(details.metadata or ()), ("authorization", f"Bearer {bearer}"))
            return continuation(Details(details.method, details.timeout, metadata), request)

    return lambda address: grpc.intercept_channel(_channel(address), Proves())


def run(given: str) -> int:
    """Make the call, print what it told, and return the exit code."""
    import grpc

    try:
        print(TOLD + json.dumps(main(json.loads(given))), flush=True)
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))

"""Connecting this process to a leased cluster, and away from it again.

Ray allows one connection per process, and reads its token from the environment once: both are handled here.
"""

from __future__ import annotations

import importlib
import logging
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pool.client.disconnect import let_go
from pool.client.greeting import greet

if TYPE_CHECKING:
    from pool.wire.leases import ClusterAccess

log = logging.getLogger("warmpool.client")

_VARIABLES = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

_TRIES = 3
# What Ray Client says where the process that serves the connection did not start, was not there in time, or ended
# before it answered: then the head forgets the connection before it tells of it, and cannot find it again.
_NOT_SERVED = (
    "Initialization failure from server",
    "ray client connection timeout",
    "Ray client has already been disconnected",
)
# What would fail again.
_FOR_GOOD = ("Failed to create runtime_env",)

# What Flyte's Ray plugins leave out of the working_dir that they upload.
_EXCLUDES = ("script_mode.tar.gz", "fast*.tar.gz", ".python_history", ".code-server")


@contextmanager
def connected(access: ClusterAccess, runtime_env: Mapping[str, Any] | None, *, local: bool) -> Iterator[None]:
    """Hold a connection of this process to a cluster.

    Locally, workers find the user's modules where this process finds them: the import path is handed over, which
    costs nothing. Remotely they need a copy of the code: the working directory is uploaded, as Flyte's plugin does.

    Args:
        access: the leased cluster's address and token.
        runtime_env: of the task's `RayJobConfig`; wins over what is set here.
        local: this process and the cluster share a file system.

    Raises:
        ConnectionError: if the cluster cannot be reached, or the process is connected to another one already.
    """
    with let_in(access):
        try:
            connect(access, runtime_env, local=local)
            yield
        finally:
            with suppress(Exception):
                # The cluster may be gone; the lease must still be released.
                let_go()
                importlib.import_module("ray").shutdown()


@contextmanager
def let_in(access: ClusterAccess) -> Iterator[None]:
    """Have Ray in this process, and in those that it starts, know a cluster's address and token.

    Raises:
        ConnectionError: if the process is connected to another cluster already.
    """
    if importlib.import_module("ray").is_initialized():
        raise ConnectionError(
            "This process is connected to another Ray cluster already. Call ray.shutdown() before it uses a leased one."
        )
    before = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        _set_environment({"RAY_ADDRESS": access.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": access.token})
        yield
    finally:
        _set_environment(before)


def connect(access: ClusterAccess, runtime_env: Mapping[str, Any] | None, *, local: bool | None = None) -> None:
    """Connect this process to a cluster that it was let in to.

    Args:
        access: the leased cluster's address and token.
        runtime_env: of the connection; wins over what is set here.
        local: as in `connected`; None to look whether the cluster's head is on this host.

    Raises:
        ConnectionError: if the cluster cannot be reached.
    """
    if local is None:
        local = is_here(access.address)
    with _quiet():
        _connect(importlib.import_module("ray"), access, _init_arguments(access, runtime_env, local))
    greet()


def _connect(ray: Any, access: ClusterAccess, arguments: dict[str, Any]) -> None:
    """Connect, and try again where the head could not start the process that serves this connection.

    Ray Client needs one for each, and now and then its start fails. Nothing of the task has run by then.
    """
    for left in reversed(range(_TRIES)):
        try:
            ray.init(**arguments)
        except ConnectionError as error:
            if not left or not _may_pass(str(error)):
                raise
            log.warning(
                "connecting to %s again: its head did not serve the connection: %s", access.id, _last_line(error)
            )
            with suppress(Exception):
                ray.shutdown()
        else:
            return


def _may_pass(told: str) -> bool:
    """Tell whether a connection that failed so may succeed when it is tried again."""
    return any(said in told for said in _NOT_SERVED) and not any(said in told for said in _FOR_GOOD)


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from telling of each connection that it cannot handle SIGTERM off the main thread: others do."""

    def other(line: logging.LogRecord) -> bool:
        return "SIGTERM handler is not set" not in str(line.msg)

    log = logging.getLogger("ray._private.worker")
    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)


def _set_environment(values: Mapping[str, str | None]) -> None:
    """Set what Ray reads to `values`, remove the rest, and have Ray read it again."""
    for name in _VARIABLES:
        value = values.get(name)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    # Ray keeps mode and token for the life of the process: the next cluster would refuse the last one's token.
    raylet = importlib.import_module("ray._raylet")
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def _init_arguments(access: ClusterAccess, runtime_env: Mapping[str, Any] | None, local: bool) -> dict[str, Any]:
    env = dict(runtime_env or {})
    # Our own lines say more than Ray's about connecting; its warnings still come through.
    arguments: dict[str, Any] = {"address": access.address, "logging_level": logging.WARNING}
    if local:
        job_config = importlib.import_module("ray.job_config").JobConfig
        if "working_dir" not in env:
            arguments["job_config"] = job_config(_py_driver_sys_path=user_paths())
    else:
        env.setdefault("working_dir", str(Path.cwd()))
        env.setdefault("excludes", list(_EXCLUDES))
        if access.client_address and not is_here(access.address):
            # A driver needs a raylet on its own host; Ray Client needs none.
            arguments["address"] = access.client_address
    if env:
        arguments["runtime_env"] = env
    return arguments


def user_paths() -> list[str]:
    """Return the directories that this process imports the user's modules from: not Python's own, nor packages'.

    Also those it imported from before: Flyte's commands take a file's directory off the path once they have read it.
    """
    installed = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *site.getsitepackages()}
    roots = tuple(os.path.realpath(path) + os.sep for path in installed)
    seen = [entry or "." for entry in sys.path]
    for name, module in list(sys.modules.items()):
        if "." in name or name == "__main__":
            continue
        # Not getattr: it would load the modules that flytekit has put off.
        known = object.__getattribute__(module, "__dict__")
        file = known.get("__file__") or ""
        # A package without a file of its own is one or more directories.
        homes = [file] if file and not file.endswith("__init__.py") else list(known.get("__path__") or ())
        seen += [os.path.dirname(home) for home in homes]  # noqa: PTH120 - there are a thousand of them
    found = dict.fromkeys(os.path.realpath(path) for path in dict.fromkeys(seen))
    return [path for path in found if not f"{path}{os.sep}".startswith(roots) and Path(path).is_dir()]


def is_here(address: str) -> bool:
    """Tell whether a cluster's address is of this host."""
    host = urlsplit(f"//{address}").hostname or ""
    if host in {"127.0.0.1", "localhost", "::1"}:
        return True
    with suppress(Exception):
        return bool(importlib.import_module("ray.util").get_node_ip_address() == host)
    return False

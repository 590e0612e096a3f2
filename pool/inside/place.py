"""Where a job of ours is, and the token of its cluster: sent into clusters with the programs that ask."""

from __future__ import annotations

import os
from pathlib import Path

RESIDENCY = "WARMPOOL_RESIDENCY"
"""Variable: the directory in which a process leaves what it has to tell of resident data to who holds its lease."""
LINE_BYTES = 8 << 20
"""The longest line in which a program of ours is asked, or answers."""


def of_the_raylet() -> tuple[str, str]:
    """Return the working directory of the image, in which Ray was started, and the address of this node if known."""
    pid = os.getppid()
    while pid > 1:
        try:
            folder = Path("/proc", str(pid))
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(command[0]).name == "raylet":
                option = "--node_ip_address="
                address = [part.removeprefix(option) for part in command if part.startswith(option)]
                return str((folder / "cwd").readlink()), address[0] if address else ""
            # ppid is the second field after the name, see proc_pid_stat(5).
            pid = int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            break
    return str(Path.home()), ""


def host() -> str:
    """Return the address of this node, where a program of ours listens.

    Ray tells its jobs an address of the machine even where the node has only that of the loopback.
    """
    _, found = of_the_raylet()
    return found or os.environ["RAY_ADDRESS"].rpartition(":")[0].strip("[]")


def token() -> str:
    """Return the cluster's token, from where Ray takes it."""
    value = os.environ.get("RAY_AUTH_TOKEN", "")
    if value:
        return value
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path.home() / ".ray/auth_token")
    return Path(path).read_text(encoding="utf-8").strip()


def logs() -> Path:
    """Return the directory of Ray's logs, where the dashboard shows every file: Ray keeps a job's output there."""
    return Path("/proc/self/fd/1").readlink().parent

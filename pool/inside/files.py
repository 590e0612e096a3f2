"""What a holder's code wrote where its tasks ran: removed, and named.

Its text is sent into clusters with that of `pool.inside.sweep`: it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
from importlib.util import source_from_cache
from pathlib import Path, PurePath

from pool.inside.processes import Process, raylets

SKEW_S = 1.0
"""By so much the clocks of a cluster's nodes may differ."""
SHOWN = 5
UNPACKED = ("RAY_RUNTIME_ENV_WORKING_DIR_CACHE_SIZE_GB", "RAY_RUNTIME_ENV_PY_MODULES_CACHE_SIZE_GB")
"""Variables by which Ray keeps the directories that it unpacked for jobs which ended, their tasks' files in them."""
KEEP_NOTHING = "-1000"
"""Value of these. Ray counts files that a job added when they go, not when they come: 0 is not always exceeded."""


def sweep_node_files(table: dict[int, Process], where: str, first_s: float | None) -> tuple[list[str], list[str]]:
    """Remove the files that holders wrote on this node, and return what was removed and what would not go.

    Tasks and jobs run where their raylet does, or below the session's artifacts (Ray Train); what Ray unpacked for a
    job it removes itself (`UNPACKED`). What was there before the cluster's first job, or on a node that came later
    before its raylet could be reached, is the image's or the node's own. Ray itself writes nothing in either place.

    Args:
        table: the node's processes by pid.
        where: what the node is called.
        first_s: when the cluster's first job began by the clock of its head, seconds since the epoch; None if there was
            none.
    """
    nodes = raylets(table)
    if not nodes or first_s is None:
        return [], []
    raylet = nodes[0]
    options = dict(part.split("=", 1) for part in raylet.command if part.startswith("--") and "=" in part)
    try:
        # Bound before there is any worker, and dated by the clock that dates the files: a process's start is not.
        reached_s = os.stat(options["--raylet_socket_name"]).st_mtime  # noqa: PTH116 - a path as text
    except (KeyError, OSError):
        return [], [f"files that cannot be told from the node's own: its raylet's socket is gone on the {where}"]
    since_s = max(reached_s, first_s - SKEW_S)
    home = os.readlink(f"/proc/{raylet.pid}/cwd")  # noqa: PTH115 - likewise
    places = [] if in_a_mount(home) else [home]
    if session := options.get("--session_dir"):
        places.append(f"{session}/artifacts")
    removed, left = [], []
    for place in places:
        gone, stay = sweep_files(place, since_s)
        removed += [f"{said} on the {where}" for said in gone]
        left += [f"{said} on the {where}" for said in stay]
    return removed, left


def sweep_files(place: str, since_s: float) -> tuple[list[str], list[str]]:
    """Remove what is newer than `since_s` in a directory and in those below that changed since.

    What is mounted there is somebody's to keep, as is whatever holds it, and the bytecode of modules that stay.

    Args:
        place: the directory; it may be missing.
        since_s: seconds since the epoch; 0 for everything, directories too. Else these stay, empty: which of them were
            there before is not known.

    Returns:
        What was removed and what would not go, a phrase each.
    """
    mounts = mounted()
    gone: list[str] = []
    left: list[str] = []
    size_bytes = 0
    if place in ("", "/") or not Path(place).is_dir():
        return [], []
    waiting = [place]
    directories: list[str] = []
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
                if about.st_ctime <= since_s or entry.path in mounts:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    directories.append(entry.path)
                    continue
                if since_s and is_of_the_image(entry.path, since_s):
                    continue
                os.unlink(entry.path)  # noqa: PTH108 - thousands of them
                gone.append(os.path.relpath(entry.path, place))
                size_bytes += about.st_size
            except FileNotFoundError:
                continue
            except OSError as error:
                left.append(f"file {entry.path}, which could not be removed: {error.strerror}")
    for directory in reversed(directories) if not since_s else ():
        # What is in one that is not empty is said.
        with contextlib.suppress(OSError):
            os.rmdir(directory)  # noqa: PTH106
    if not gone:
        return [], left
    more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
    count = "1 file" if len(gone) == 1 else f"{len(gone)} files"
    return [f"{count} of {size_bytes} bytes in {place}: {', '.join(sorted(gone)[:SHOWN])}{more}"], left


def is_of_the_image(path: str, since_s: float) -> bool:
    """Tell whether a file is the bytecode of a module that is older: who imports it first has Python write that."""
    try:
        return path.endswith(".pyc") and os.lstat(source_from_cache(path)).st_ctime <= since_s
    except (ValueError, OSError):
        return False


def mounted() -> set[str]:
    """Return where something is mounted, with the directories above it."""
    points = mount_points()
    return points.union(*(map(str, PurePath(point).parents) for point in points))


def in_a_mount(place: str) -> bool:
    """Tell whether a directory, or one above it but the root, is where something is mounted."""
    return not mount_points().isdisjoint([place, *map(str, PurePath(place).parents)][:-1])


def mount_points() -> set[str]:
    """Return where something is mounted."""
    try:
        rows = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return set()
    # The fifth field, with octal escapes: see proc_pid_mountinfo(5).
    return {row.split(" ")[4].encode().decode("unicode_escape") for row in rows}

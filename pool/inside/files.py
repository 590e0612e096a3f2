"""What a holder's code wrote where its tasks ran: removed, and named.

Its text is sent into clusters with that of `pool.inside.sweep`: it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path, PurePath

from pool.inside.processes import Process, raylets

SETTLED_S = 10.0
"""For so long after its raylet's start a node's own files may be written."""
SHOWN = 5
UNPACKED = ("RAY_RUNTIME_ENV_WORKING_DIR_CACHE_SIZE_GB", "RAY_RUNTIME_ENV_PY_MODULES_CACHE_SIZE_GB")
"""Variables by which Ray keeps the directories that it unpacked for jobs which ended, their tasks' files in them."""
KEEP_NOTHING = "-1000"
"""Value of these. Ray counts files that a job added when they go, not when they come: 0 is not always exceeded."""


def sweep_node_files(table: dict[int, Process], where: str) -> tuple[list[str], list[str]]:
    """Remove the files that holders wrote on this node, and return what was removed and what would not go.

    Tasks and jobs run where their raylet does, or below the session's artifacts (Ray Train); what Ray unpacked for a
    job it removes itself (`UNPACKED`). Only what is newer than the raylet is a holder's: the rest is the image's.
    """
    nodes = raylets(table)
    if not nodes:
        return [], []
    raylet = nodes[0]
    options = dict(part.split("=", 1) for part in raylet.command if part.startswith("--") and "=" in part)
    since_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + raylet.started_s + SETTLED_S
    places = [os.readlink(f"/proc/{raylet.pid}/cwd")]  # noqa: PTH115 - a path as text
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

    What is mounted there is somebody's to keep, as is whatever holds it.

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


def mounted() -> set[str]:
    """Return where something is mounted, with the directories above it."""
    found: set[str] = set()
    try:
        rows = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return found
    for row in rows:
        # The fifth field, with octal escapes: see proc_pid_mountinfo(5).
        point = row.split(" ")[4].encode().decode("unicode_escape")
        found |= {point, *map(str, PurePath(point).parents)}
    return found
